"""``trainer``, or ``python -m trainer``."""

from __future__ import annotations

import signal
import sys

from trainer.cli import run


def main() -> None:
    """Run the command line and exit with its code."""
    # As Ctrl-C: what a run keeps on the disk for itself alone, gigabytes perhaps, goes with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(run())


if __name__ == "__main__":
    main()
