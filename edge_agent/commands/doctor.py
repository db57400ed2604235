"""``edge-agent doctor``: what is wrong here, and how to fix it."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.commands.exits import MISTAKE, OK
from edge_agent.system.text import say_json

if TYPE_CHECKING:
    import argparse

    from edge_agent.system.arguments import Subcommands


def add(commands: Subcommands) -> None:
    """Its options."""
    command = commands.add_parser("doctor", help="find what is wrong here, and how to fix it")
    command.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="a station.toml (default: check the machine alone)",
    )
    command.add_argument("--json", action="store_true", help="print the findings as one JSON list")
    command.set_defaults(command=doctor)


def doctor(parsed: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    from edge_agent.doctor.examine import examine
    from edge_agent.doctor.show import show_sum, show_topic

    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    findings = []
    for topic in examine(parsed.config):
        findings += topic
        if not parsed.json:
            print(show_topic(topic, colour=colour), flush=True)  # noqa: T201  has made it printable
    if parsed.json:
        say_json([dataclasses.asdict(one) for one in findings], indent=2)
    else:
        print(show_sum(findings, colour=colour))  # noqa: T201
    return MISTAKE if any(one.level == "error" for one in findings) else OK
