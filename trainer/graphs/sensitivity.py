"""Which blocks of a graph lose accuracy in INT8: each quantized alone, compared with FP32."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import onnx

from trainer.graphs.evaluate import open_graph
from trainer.graphs.parts import blocks, float_nodes
from trainer.graphs.quantize import OPERATORS, quantize

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from trainer.graphs.quantize import Quantization

_SMALLEST = 1e-6
"""Of a score, so that its logit is finite."""


def scan(
    model: Path,
    frames: Sequence[NDArray[np.uint8]],
    settings: Quantization,
    advance: Callable[[str], None],
) -> dict[str, float]:
    """What each block costs: the mean difference of the frames' logits, the dearest block first.

    Args:
        model: the FP32 graph.
        frames: fitted training images; the ranges are taken from them too.
        settings: how to quantize.
        advance: called after each block.
    """
    names = quantizable_blocks(model)
    expected = _logits(model, frames)
    costs = {}
    with TemporaryDirectory(prefix="scan-") as scratch:
        for name in names:
            alone = replace(settings, in_float=tuple(other for other in names if other != name))
            file = Path(scratch) / "alone.onnx"
            quantize(model, file, frames, alone)
            costs[name] = float(np.abs(_logits(file, frames) - expected).mean())
            advance(name)
    return dict(sorted(costs.items(), key=lambda item: -item[1]))


def quantizable_blocks(model: Path) -> list[str]:
    """Names of the blocks with something in them that may be quantized."""
    graph = onnx.load(model, load_external_data=False)
    kept = float_nodes(graph)
    kinds = {node.name: node.op_type for node in graph.graph.node}
    return [
        block
        for block, nodes in blocks(graph).items()
        if any(kinds[node] in OPERATORS and node not in kept for node in nodes)
    ]


def dearest(costs: dict[str, float], share: float) -> tuple[str, ...]:
    """The fewest blocks that make up ``share`` of all costs; ``costs`` as `scan` gives them."""
    total, sum_, chosen = sum(costs.values()), 0.0, []
    for name, cost in costs.items():
        if sum_ >= share * total:
            break
        chosen.append(name)
        sum_ += cost
    return tuple(chosen)


def _logits(model: Path, frames: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
    predict = open_graph(model)
    scores = np.array([float(predict(frame[None]).score[0]) for frame in frames])
    scores = np.clip(scores, _SMALLEST, 1 - _SMALLEST)
    return np.log(scores / (1 - scores))
