"""Judge labelled images with an ONNX graph, as the agent would, and count what was right."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.bundle.plausible import why_implausible
from edge_agent.engine.runtime.session import CPU, open_session
from edge_agent.engine.worker.predictor import Scored
from trainer.data.expects import look_at
from trainer.data.frames import seen
from trainer.stats.metrics import accuracy_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edge_agent.bundle import Accuracy
    from edge_agent.engine.worker.predictor import Predictor
    from trainer.data import Sample


@dataclass(frozen=True)
class Judged:
    """What a graph says of some images, one after the other."""

    scores: NDArray[np.float64]
    """(N,)"""
    heatmaps: NDArray[np.float32]
    """(N, h, w)"""
    implausible: tuple[str, ...] = ()
    """Why each is no picture that the bundle was made for; "" where it is one, or nobody knows."""

    def odd(self, samples: Sequence[Sample]) -> tuple[int, str]:
        """How many are no such pictures, and of the first its name and why."""
        found = [
            f"{sample.name}: {why}"
            for sample, why in zip(samples, self.implausible, strict=True)
            if why
        ]
        return len(found), found[0] if found else ""


def open_graph(file: Path, provider: str = CPU) -> Callable[[NDArray[np.uint8]], Scored]:
    """A graph that is not in a bundle yet.

    Raises:
        ProviderError: the provider can't be had, or can't run it.
    """
    session = open_session(file.read_bytes(), name=file.name, provider=provider)

    def predict(images: NDArray[np.uint8]) -> Scored:
        score, heatmap = session.run(["score", "heatmap"], {"image": images})
        return Scored(score, heatmap)

    return predict


def judge(
    predict: Callable[[NDArray[np.uint8]], Scored],
    frames: Iterable[NDArray[np.uint8]],
    advance: Callable[[str], None],
) -> Judged:
    """Score images one by one, as they arrive on a line.

    Args:
        predict: scores fitted frames, (N, height, width, 3).
        frames: each (height, width, 3).
        advance: called after each image.
    """
    scores, heatmaps = [], []
    for frame in frames:
        scored = predict(frame[None])
        scores.append(float(scored.score[0]))
        heatmaps.append(scored.heatmap[0])
        advance("")
    return Judged(np.array(scores), np.stack(heatmaps))


def evaluate_bundle(
    predictor: Predictor, samples: Sequence[Sample], advance: Callable[[str], None]
) -> tuple[Judged, Accuracy]:
    """Scores and figures of a bundle's variant, at the threshold that it is judged by.

    Raises:
        DatasetError: an image can't be read.
    """
    manifest = predictor.bundle.manifest
    implausible: list[str] = []

    def frames() -> Iterator[NDArray[np.uint8]]:
        for frame, fitted in seen(samples, manifest.preprocess):
            expects = manifest.expects
            odd = why_implausible(look_at(frame, fitted).sight, expects) if expects else ""
            implausible.append(odd)
            yield fitted.tensor

    judged = judge(predictor.predict, frames(), advance)
    judged = replace(judged, implausible=tuple(implausible))
    labels = np.array([sample.defect for sample in samples], bool)
    threshold = manifest.decision_of(predictor.variant.name).threshold
    return judged, accuracy_at(labels, judged.scores, threshold)


def write_scores(file: Path, samples: Sequence[Sample], scores: NDArray[np.floating]) -> None:
    """Write image, label, score as CSV; the scores read back as the very same numbers."""
    with file.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "label", "score"])
        for sample, score in zip(samples, scores, strict=True):
            writer.writerow([sample.name, int(sample.defect), repr(float(score))])


def localised(heatmaps: NDArray[np.float32], targets: NDArray[np.bool_]) -> float | None:
    """Share of drawn defects whose heatmap peaks inside, or in a cell that touches the mask.

    Args:
        heatmaps: (N, h, w).
        targets: (N, h, w), the masks in the heatmap's cells; images without a mark don't count.

    Returns:
        0-1, or None where nothing is marked.
    """
    inside = [
        bool(_dilated(target).ravel()[heatmap.argmax()])
        for heatmap, target in zip(heatmaps, targets, strict=True)
        if target.any()
    ]
    return sum(inside) / len(inside) if inside else None


def _dilated(target: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """With the eight neighbours of every marked cell."""
    height, width = target.shape
    padded = np.pad(target, 1)
    grown = np.zeros_like(target)
    for row in range(3):
        for column in range(3):
            grown |= padded[row : row + height, column : column + width]
    return grown
