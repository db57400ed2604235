"""``trainer``, or ``python -m trainer``."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run the command line and exit with its code."""
    try:  # Ctrl-C may come before all is there
        from edge_agent.system.streams import insist_on_utf8, open_streams

        insist_on_utf8()
        # As Ctrl-C: what a run keeps on the disk for itself alone, gigabytes perhaps, goes with it.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        open_streams()
        from trainer.cli import run

        code = run()
    except KeyboardInterrupt:
        code = 1
    sys.exit(code)


if __name__ == "__main__":
    main()
