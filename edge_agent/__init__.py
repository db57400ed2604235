"""The line PC's half: watches, judges, records and publishes. Never imports torch."""

__version__ = "0.1.0"
