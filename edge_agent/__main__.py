"""``edge-agent`` and ``python -m edge_agent``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    try:  # Ctrl-C may come before all is there
        from edge_agent.system.streams import insist_on_utf8, open_streams

        insist_on_utf8()
        open_streams()
        from edge_agent.cli import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
