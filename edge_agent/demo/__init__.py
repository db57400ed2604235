"""``edge-agent demo``: a small bundle and sample images that ship, and a station to try them on."""
