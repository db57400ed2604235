"""The way of an image through the station: claimed, judged, recorded, filed away."""
