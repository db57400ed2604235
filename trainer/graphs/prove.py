"""Proof that the exported graphs say what PyTorch says, on every image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from trainer.errors import ParityError
from trainer.graphs.evaluate import Judged, judge, open_graph
from trainer.networks.features import batches
from trainer.networks.model import pool
from trainer.progress import progress
from trainer.stats.crossval import held_out

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from trainer.data.framefile import Frames
    from trainer.networks.model import Backbone, Head

PARITY = 1e-4
"""How far an ONNX score may be from PyTorch's."""


def torch_scores(
    backbone: Backbone,
    heads: Sequence[Head],
    top_k: int,
    frames: Frames,
) -> NDArray[np.float32]:
    """What PyTorch says, in full precision, of every image with every head: (heads, images)."""
    scores = []
    pixels = frames.pixels()
    with progress("scoring with PyTorch", len(pixels)) as advance, torch.inference_mode():
        for some in batches(len(pixels)):
            maps = backbone(torch.from_numpy(pixels[some]))
            scores.append([torch.sigmoid(pool(head(maps), top_k)).numpy() for head in heads])
            for _ in pixels[some]:
                advance("")
    return np.concatenate(scores, axis=1)


def judge_held_out(files: Sequence[Path], frames: Frames, folds: NDArray[np.int64]) -> Judged:
    """Judge every image with the graph of the fold in which it was held out, in ONNX Runtime.

    Args:
        files: a graph a fold.
        frames: all images.
        folds: (images,), the fold of each.
    """
    parts = []
    order = []
    with progress("scoring the held-out images", len(folds)) as advance:
        for file, (_, held) in zip(files, held_out(folds), strict=True):
            parts.append(judge(open_graph(file), frames.each(held), advance))
            order.append(held)
    place = np.argsort(np.concatenate(order))
    return Judged(
        np.concatenate([part.scores for part in parts])[place],
        np.concatenate([part.heatmaps for part in parts])[place],
    )


def hold(what: str, expected: NDArray[np.floating], found: NDArray[np.floating]) -> float:
    """Compare ONNX Runtime's scores with PyTorch's; return the largest difference."""
    worst = float(np.abs(expected - found).max())
    if not worst <= PARITY:
        raise ParityError(
            f"{what}: ONNX Runtime's scores differ from PyTorch's by up to {worst:.2g}, more than "
            f"{PARITY:g}. Check the versions of torch and onnxruntime against those pinned"
        )
    return worst
