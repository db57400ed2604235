"""What every room may use: no stage of the way, nothing of a station."""
