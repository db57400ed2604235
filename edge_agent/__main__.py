"""``edge-agent`` and ``python -m edge_agent``."""

from __future__ import annotations

import sys

from edge_agent.cli import run


def main() -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
