"""``trainer fetch``: download a published data set."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.system.text import say

if TYPE_CHECKING:
    import argparse

    from edge_agent.system.arguments import Subcommands


def add(commands: Subcommands) -> None:
    """Its options."""
    parser = commands.add_parser("fetch", help="download a published data set")
    parser.set_defaults(carry_out=fetch)
    parser.add_argument("name", choices=["ksdd2"], help="KolektorSDD2, CC BY-NC-SA 4.0")
    parser.add_argument("dir", type=Path, metavar="DIR", help="a new folder")
    parser.add_argument(
        "--accept-licence", action="store_true", help="accept the licence without being asked"
    )


def fetch(arguments: argparse.Namespace) -> int:
    """Download a published data set, after its licence was accepted."""
    from trainer.data.fetch import SOURCES, fetch
    from trainer.errors import UsageError
    from trainer.progress import transfer

    source = SOURCES[arguments.name]
    say(source.licence, stream=sys.stderr)
    if not arguments.accept_licence:
        if not sys.stdin.isatty():
            raise UsageError("read the licence above; if you accept it, add --accept-licence")
        print("Do you accept it? Type yes: ", end="", file=sys.stderr, flush=True)  # noqa: T201
        if sys.stdin.readline().strip().lower() != "yes":
            raise UsageError("the licence was not accepted: nothing was downloaded")
    with transfer(f"fetching {source.name}") as advance:
        fetch(source, arguments.dir, advance)
    say(f"{source.name} is in {arguments.dir}: `trainer train {arguments.dir} --out RUN`")
    return 0
