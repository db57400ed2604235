"""``edge-agent run``: the station."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_agent.commands.exits import FAILED, OK
from edge_agent.commands.options import needs_config
from edge_agent.settings import load_settings
from edge_agent.telemetry.log import complain

if TYPE_CHECKING:
    import argparse

    from edge_agent.system.arguments import Subcommands


def add(commands: Subcommands) -> None:
    """Its options."""
    command = commands.add_parser("run", help="run the station (the daemon)")
    needs_config(command)
    command.set_defaults(command=run)


def run(parsed: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    from edge_agent.agent import Agent
    from edge_agent.engine.running import LostError
    from edge_agent.telemetry.log import set_up_logging

    settings = load_settings(parsed.config)
    set_up_logging(settings.log.level, settings.log.format)
    try:
        Agent(settings, parsed.config).run()
    except LostError as loss:
        complain(str(loss))
        return FAILED
    return OK
