"""Which variant, on which execution provider, with how many workers: measured, not believed."""
