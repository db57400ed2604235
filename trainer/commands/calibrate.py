"""``trainer calibrate``: choose the threshold of a run again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.system.text import say, say_json
from trainer.commands.figures import (
    gate_lines,
    line_of,
    review_of,
)
from trainer.commands.options import AIM, add_aim, given

if TYPE_CHECKING:
    import argparse

    from edge_agent.system.arguments import Subcommands


def add(commands: Subcommands) -> None:
    """Its options."""
    parser = commands.add_parser("calibrate", help="choose a new threshold for a finished run")
    parser.set_defaults(carry_out=calibrate)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder that `trainer train` wrote")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="BUNDLE", help="folder for the new bundle"
    )
    parser.add_argument(
        "--version",
        metavar="X.Y.Z",
        help="version of the new bundle (default: the next, such as 1.0.1)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_aim(parser)


def calibrate(arguments: argparse.Namespace) -> int:
    """Choose the threshold of a finished run again, in a new bundle; 1 if a variant is left out."""
    from trainer.config import aim_of
    from trainer.run.recalibrate import recalibrate

    aim = aim_of(given(arguments, AIM))
    made = recalibrate(arguments.run, aim, arguments.out, arguments.version)
    bundle, code = made.bundle, 1 if made.left_out else 0
    decision = bundle.manifest.decision
    found = {
        "rule": decision.rule,
        "threshold": decision.threshold,
        "review": decision.review,
        "figures": decision.figures,
        "version": bundle.manifest.version,
        "left_out": made.left_out,
    }
    if arguments.json:
        say_json(found)
        return code
    say(f"rule          {decision.rule}")
    say(f"threshold     {decision.threshold:.4f}")
    for name in ("recall", "precision", "f1", "cost"):
        if name in decision.figures:
            figure, low, high = (decision.figures[name + end] for end in ("", "_low", "_high"))
            say(f"{name:<13} {figure:.4f}   95 % interval {low:.4f} to {high:.4f}")
    if decision.review is not None:
        say(f"review        {review_of(found)}")
    for name, fault in made.left_out.items():
        say(f"{name:<13} LEFT OUT: {fault}")
    for one in bundle.manifest.variants:
        if one.decision and one.accuracy:
            say(f"{one.name:<13} {line_of(one.accuracy.model_dump())}")
        for line in gate_lines(one.name, one.gate):
            say(line)
    say(f"bundle        {bundle.path}, version {bundle.manifest.version}")
    return code
