"""Which images prove, on the line PC, that a provider computes what the trainer computed."""

from __future__ import annotations

import hashlib
import io
import math
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.bundle import Golden
from edge_agent.bundle.preprocess import MAX_PIXELS, decode, fit
from trainer.data import load_image
from trainer.graphs.evaluate import open_graph

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from edge_agent.bundle import Preprocess
    from trainer.data import Sample
    from trainer.graphs.made import Made

TOLERANCE = 0.02
"""How far a score on another provider may be from the score here."""
WIDEST = 0.2
"""Of any tolerance: a provider that is further off computes something else."""


def make_golden(
    samples: Sequence[Sample],
    scores: NDArray[np.floating],
    threshold: float,
    variants: Sequence[Made],
    spec: Preprocess,
) -> tuple[tuple[Golden, ...], dict[str, bytes]]:
    """Choose them among ``samples``; with each variant's score, and their files' contents by name.

    Args:
        samples: all that was learned from.
        scores: (samples,): of FP32 as it ships.
        threshold: of the bundle.
        variants: all that the bundle is to have.
        spec: of their graphs.
    """
    labels = np.array([sample.defect for sample in samples], bool)
    predict = {one.name: open_graph(one.file) for one in variants}
    elsewhere = [
        check.shipped_scores
        for one in variants
        for check in one.checks.values()
        if check.shipped_scores is not None and not check.fault
    ]
    golden = []
    files = {}
    for number, image in enumerate(choose_golden(labels, scores, threshold)):
        png = golden_png(samples[image])
        # From the PNG, not the file that it was made from: this is what the agent will have.
        frame = fit(decode(png), spec).tensor
        said = {name: float(run(frame[None]).score[0]) for name, run in predict.items()}
        name = f"golden/{number}-{'defect' if labels[image] else 'ok'}.png"
        files[name] = png
        golden.append(
            Golden(
                file=name,
                sha256=hashlib.sha256(png).hexdigest(),
                scores=said,
                tolerance=tolerance(said, [float(found[image]) for found in elsewhere]),
            )
        )
    return tuple(golden), files


def tolerance(scores: Mapping[str, float], elsewhere: Iterable[float] = ()) -> float:
    """How far a golden image's score may be off on another provider.

    Each provider rounds 8 bits in its own places. So an image whose score rounding has moved may
    move as far again, in the other direction; one that stands firm is held firmly.

    Args:
        scores: by variant, on the CPU provider.
        elsewhere: the variants' scores on other providers, where they passed the gate.
    """
    moved = max(abs(score - scores["fp32"]) for score in (*scores.values(), *elsewhere))
    return min(WIDEST, max(TOLERANCE, 2 * moved))


def choose_golden(
    labels: NDArray[np.bool_], scores: NDArray[np.floating], threshold: float
) -> list[int]:
    """Pick about six: of each class the clearest, the middle one and the nearest to the threshold.

    The borderline ones are where a wrong provider shows first, the clear ones where it would hurt.
    """
    chosen: list[int] = []
    for defect in (False, True):
        images = np.flatnonzero(labels == defect)
        ordered = images[np.argsort(scores[images], kind="stable")]
        clearest = ordered[-1] if defect else ordered[0]
        nearest = images[np.argmin(np.abs(scores[images] - threshold))]
        for image in (clearest, ordered[len(ordered) // 2], nearest):
            if int(image) not in chosen:
                chosen.append(int(image))
    return chosen


def golden_png(sample: Sample) -> bytes:
    """The decoded frame, losslessly, without whatever else the camera wrote into its file.

    One of more pixels than any station decodes unless it is told to is made smaller: what it
    proves, the provider, is proved as well by a smaller one.
    """
    frame = load_image(sample)
    if (pixels := frame.width * frame.height) > MAX_PIXELS:
        frame = frame.reduce(math.ceil(math.sqrt(pixels / MAX_PIXELS)))
    frame.info = {}
    stream = io.BytesIO()
    frame.save(stream, "PNG", optimize=True)
    return stream.getvalue()
