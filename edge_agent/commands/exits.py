"""Exit codes of ``edge-agent``."""

OK, FOUND_DEFECT, MISTAKE, FAILED = 0, 1, 2, 3
