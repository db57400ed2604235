"""``trainer synth``: draw surfaces with and without flaws."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.system.numbers import whole
from edge_agent.system.text import say
from trainer.commands.options import size_of

if TYPE_CHECKING:
    import argparse

    from edge_agent.system.arguments import Subcommands


def add(commands: Subcommands) -> None:
    """Its options."""
    parser = commands.add_parser("synth", help="draw synthetic surfaces with and without flaws")
    parser.set_defaults(carry_out=synth)
    parser.add_argument("out", type=Path, metavar="OUT", help="new folder")
    parser.add_argument("--good", type=int, required=True, metavar="N", help="images without flaws")
    parser.add_argument("--defect", type=int, required=True, metavar="N", help="images with flaws")
    parser.add_argument("--seed", type=whole(0, 2**31 - 1), default=0, help="(default: 0)")
    parser.add_argument(
        "--size", type=size_of, default=(256, 384), metavar="WxH", help="(default: 256x384)"
    )


def synth(arguments: argparse.Namespace) -> int:
    """Draw surfaces with and without flaws."""
    from trainer.data.synth import make_surfaces
    from trainer.progress import progress

    width, height = arguments.size
    with progress("drawing", arguments.good + arguments.defect) as advance:
        make_surfaces(
            arguments.out,
            arguments.good,
            arguments.defect,
            arguments.seed,
            width=width,
            height=height,
            made=lambda _: advance(""),
        )
    say(f"{arguments.good} good and {arguments.defect} flawed surfaces in {arguments.out}")
    return 0
