"""``edge-agent demo``: the whole way on this machine, nothing to set up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.system.numbers import address, real

if TYPE_CHECKING:
    import argparse

    from edge_agent.system.arguments import Subcommands


def add(commands: Subcommands) -> None:
    """Its options."""
    command = commands.add_parser("demo", help="end-to-end demo on this machine, no setup")
    command.add_argument(
        "--seconds", type=real(0.1, 86_400), default=10.0, help="duration in seconds (default: 10)"
    )
    command.add_argument(
        "--pace", type=real(0.01, 1000), default=2.0, help="images per second (default: 2)"
    )
    command.add_argument(
        "--broker",
        type=address(1883),
        metavar="HOST[:PORT]",
        help="publish to this broker (default: one on loopback, if any)",
    )
    command.add_argument("--keep", metavar="DIR", type=Path, help="keep the station's files in DIR")
    command.set_defaults(command=demo)


def demo(parsed: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    from edge_agent.demo.station import run_demo

    return run_demo(
        seconds=parsed.seconds, pace=parsed.pace, broker=parsed.broker, keep=parsed.keep
    )
