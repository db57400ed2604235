"""RUN/report.html: what a run is worth, for people who look rather than read."""

from trainer.report.page import write_report

__all__ = ["write_report"]
