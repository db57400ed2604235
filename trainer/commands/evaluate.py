"""``trainer evaluate``: judge labelled images with a bundle, through the agent's own runtime."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.system.text import say, say_json
from trainer.commands.figures import (
    implausible,
    line_of,
)
from trainer.commands.options import add_limit

if TYPE_CHECKING:
    import argparse

    from edge_agent.system.arguments import Subcommands


def add(commands: Subcommands) -> None:
    """Its options."""
    parser = commands.add_parser("evaluate", help="judge labelled images with a bundle")
    parser.set_defaults(carry_out=evaluate)
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="such as RUN/bundle")
    parser.add_argument("data", type=Path, metavar="DATA", help="a folder of labelled images")
    add_limit(parser)
    parser.add_argument("--variant", default="fp32", help="variant of the model (default: fp32)")
    parser.add_argument(
        "--split",
        choices=["train", "test"],
        help="only this part of an official split (default: both parts)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--scores", type=Path, metavar="FILE", help="write image, label and score to a CSV file"
    )


def evaluate(arguments: argparse.Namespace) -> int:
    """Judge labelled images through the agent's own runtime."""
    from edge_agent.bundle import open_bundle
    from edge_agent.engine.worker.predictor import Predictor
    from trainer.data import open_dataset
    from trainer.data.learned import describe, learned_from
    from trainer.errors import UsageError
    from trainer.graphs.evaluate import evaluate_bundle, write_scores
    from trainer.progress import progress
    from trainer.stats.escapes import escapes_among

    predictor = Predictor(open_bundle(arguments.bundle), arguments.variant)
    dataset = open_dataset(arguments.data, max_pixels=arguments.max_pixels)
    samples = dataset.subset(arguments.split) if arguments.split else dataset.samples
    if not samples:
        raise UsageError(f"--split: {arguments.data} has no {arguments.split} split")
    with progress("judging", len(samples)) as advance:
        judged, accuracy = evaluate_bundle(predictor, samples, advance)
    if arguments.scores is not None:
        write_scores(arguments.scores, samples, judged.scores)
    odd, first = judged.odd(samples)
    figures = accuracy.model_dump()
    learned = learned_from(predictor.bundle, dataset, samples)
    passed = escapes_among(samples, judged.scores, accuracy.threshold)
    new = learned == 0
    if arguments.json:
        bound = passed.bound if new else None
        say_json({**figures, "learned_from": learned, "escape_bound": bound})
    else:
        say(line_of(figures))
        if new:
            say(passed.sentence())
    if odd:
        say(f"trainer evaluate: {implausible(odd, len(samples), first)}", stream=sys.stderr)
    if note := describe(learned, len(samples)):
        say(f"trainer evaluate: {note}", stream=sys.stderr)
    return 0
