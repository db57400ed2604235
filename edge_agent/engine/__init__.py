"""What judges now: workers, execution providers, their measurement, and what takes their place."""
