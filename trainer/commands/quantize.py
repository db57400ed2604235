"""``trainer quantize``: make a run's variants again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.system.text import say, say_json
from trainer.commands.figures import (
    variant_lines,
)
from trainer.commands.options import VARIANTS, add_limit, add_variants, given

if TYPE_CHECKING:
    import argparse

    from edge_agent.system.arguments import Subcommands


def add(commands: Subcommands) -> None:
    """Its options."""
    parser = commands.add_parser("quantize", help="make new variants for a finished run")
    parser.set_defaults(carry_out=quantize)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder that `trainer train` wrote")
    parser.add_argument("data", type=Path, metavar="DATA", help="the images it was trained on")
    add_limit(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="BUNDLE", help="folder for the new bundle"
    )
    parser.add_argument(
        "--version", metavar="X.Y.Z", help="version of the new bundle (default: the next)"
    )
    parser.add_argument(
        "--bundle", type=Path, help="another bundle of this run (default: RUN/bundle)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_variants(parser)


def quantize(arguments: argparse.Namespace) -> int:
    """Make the variants of a finished run again, in a new bundle; 1 if one was left out."""
    from trainer.run.requantize import requantize

    settings = given(arguments, VARIANTS)
    made = requantize(
        arguments.run,
        arguments.data,
        settings,
        arguments.out,
        arguments.version,
        arguments.bundle,
        arguments.max_pixels,
    )
    if arguments.json:
        say_json({"bundle": str(made.bundle.path), "variants": made.variants})
    else:
        for line in variant_lines(made.variants):
            say(line)
        say(f"bundle        {made.bundle.path}, version {made.bundle.manifest.version}")
    return 1 if any(found["fault"] for found in made.variants.values()) else 0
