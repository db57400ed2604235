"""``trainer export``: write a run's FP32 graph again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.system.numbers import whole
from edge_agent.system.text import say

if TYPE_CHECKING:
    import argparse

    from edge_agent.system.arguments import Subcommands


def add(commands: Subcommands) -> None:
    """Its options."""
    parser = commands.add_parser("export", help="write the FP32 graph of a finished run")
    parser.set_defaults(carry_out=export)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder that `trainer train` wrote")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("model.fp32.onnx"),
        metavar="FILE",
        help="new file (default: model.fp32.onnx)",
    )
    parser.add_argument(
        "--fold",
        type=whole(1, 20),
        help="the model of this fold, from 1 (default: the final model)",
    )


def export(arguments: argparse.Namespace) -> int:
    """Write the FP32 graph of a finished run again."""
    from edge_agent.bundle import read_manifest
    from trainer.config import read_config
    from trainer.errors import UsageError
    from trainer.run.rebuild import rebuild

    config = read_config(arguments.run / "config.json")
    spec = read_manifest(arguments.run / "bundle").preprocess
    if arguments.fold is not None and not 1 <= arguments.fold <= config.folds:
        raise UsageError(f"--fold: there are folds 1 to {config.folds}")
    fold = None if arguments.fold is None else arguments.fold - 1
    if arguments.out.exists():
        raise UsageError(f"{arguments.out} exists: give --out another name")
    graph = rebuild(arguments.run, config, spec, fold).SerializeToString(deterministic=True)
    try:
        arguments.out.write_bytes(graph)
    except OSError as error:
        raise UsageError(f"{arguments.out} can't be written: {error.strerror}") from None
    say(f"{arguments.out}  {len(graph) / 1e6:.1f} MB")
    return 0
