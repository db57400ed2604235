"""Make the graphs of a finished run again, from what it kept of its PyTorch modules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.graphs.export import to_onnx, with_head
from trainer.networks.checkpoint import load_model
from trainer.networks.model import Inspector

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import onnx

    from edge_agent.bundle import Preprocess
    from trainer.config import RunConfig


def rebuild(
    run: Path, config: RunConfig, spec: Preprocess, fold: int | None = None
) -> onnx.ModelProto:
    """The FP32 graph of a run: the one that ships, or the one of a fold.

    Raises:
        UsageError: RUN/model.pt is missing or of another kind.
    """
    module = load_model(run, config, fold)
    return to_onnx(module, spec)


def rebuild_folds(
    run: Path, config: RunConfig, spec: Preprocess, folder: Path, advance: Callable[[str], None]
) -> tuple[Path, ...]:
    """Write the FP32 graphs of all folds into ``folder``.

    Raises:
        UsageError: RUN/model.pt is missing or of another kind.
    """
    first = rebuild(run, config, spec, 0)
    files = []
    for fold in range(config.folds):
        module = load_model(run, config, fold)
        if fold == 0:
            graph = first
        elif isinstance(module, Inspector):
            graph = with_head(first, module.head)  # all that differs
        else:
            graph = to_onnx(module, spec)
        file = folder / f"fp32-{fold}.onnx"
        file.write_bytes(graph.SerializeToString(deterministic=True))
        files.append(file)
        advance("")
    return tuple(files)
