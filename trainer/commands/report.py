"""``trainer report``: write the report of a run again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.system.text import say
from trainer.commands.options import add_limit
from trainer.commands.summarise import summarise_data

if TYPE_CHECKING:
    import argparse

    from edge_agent.system.arguments import Subcommands


def add(commands: Subcommands) -> None:
    """Its options."""
    parser = commands.add_parser("report", help="rewrite the report of a finished run")
    parser.set_defaults(carry_out=report)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder that `trainer train` wrote")
    parser.add_argument("data", type=Path, metavar="DATA", help="the images it was trained on")
    add_limit(parser)


def report(arguments: argparse.Namespace) -> int:
    """Write the report of a finished run again."""
    from trainer.data import open_dataset
    from trainer.data.learned import trained_on
    from trainer.errors import UsageError
    from trainer.report import write_report
    from trainer.report.files import read_run

    manifest = read_run(arguments.run).manifest
    dataset = open_dataset(arguments.data, max_pixels=arguments.max_pixels)
    if manifest and trained_on(dataset, manifest) is False:
        raise UsageError(
            f"{arguments.data} is not what {arguments.run} was trained on, or has changed since: "
            "the report would show other images than its figures are of"
        )
    say(str(write_report(arguments.run, dataset, summarise_data(dataset))))
    return 0
