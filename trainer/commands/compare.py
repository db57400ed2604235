"""``trainer compare``: PyTorch beside every variant on every provider of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.system.numbers import whole
from edge_agent.system.text import say, say_json
from trainer.commands.options import add_limit

if TYPE_CHECKING:
    import argparse

    from edge_agent.system.arguments import Subcommands


def add(commands: Subcommands) -> None:
    """Its options."""
    parser = commands.add_parser("compare", help="compare PyTorch with every variant")
    parser.set_defaults(carry_out=compare)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder that `trainer train` wrote")
    parser.add_argument("data", type=Path, metavar="DATA", help="a folder of labelled images")
    add_limit(parser)
    parser.add_argument(
        "--bundle", type=Path, help="another bundle of this run (default: RUN/bundle)"
    )
    parser.add_argument(
        "--threads",
        type=whole(0, 256),
        default=1,
        help="threads per inference (default: 1); 0: all cores",
    )
    parser.add_argument(
        "--rounds",
        type=whole(1, 1000),
        default=3,
        help="rounds of timing; the median counts (default: 3)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def compare(arguments: argparse.Namespace) -> int:
    """PyTorch beside every variant on every provider of this machine."""
    from edge_agent.bundle import open_bundle
    from trainer.data import open_dataset
    from trainer.data.learned import describe, learned_from
    from trainer.graphs.compare import compare, contenders, table
    from trainer.progress import progress

    bundle = arguments.bundle or arguments.run / "bundle"
    made = open_bundle(bundle)
    dataset = open_dataset(arguments.data, max_pixels=arguments.max_pixels)
    total = arguments.rounds * len(contenders(bundle))
    with progress("comparing", total) as advance:
        rows = compare(
            arguments.run,
            dataset.samples,
            advance,
            bundle=bundle,
            threads=arguments.threads,
            rounds=arguments.rounds,
        )
    if arguments.json:
        say_json({"threads": arguments.threads, "rows": [row.as_json() for row in rows]})
        return 0
    say(table(rows))
    say(
        f"{len(dataset.samples)} images, one at a time, {arguments.threads or 'all'} thread(s); "
        f"times are for inference alone, medians of {arguments.rounds} rounds"
    )
    if note := describe(learned_from(made, dataset, dataset.samples), len(dataset.samples)):
        say(note)
    return 0
