"""Which images prove, on the line PC, that a provider computes what the trainer computed."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from trainer.data import load_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trainer.data import Sample


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
    """The decoded frame, losslessly, without whatever else the camera wrote into its file."""
    frame = load_image(sample)
    frame.info = {}
    stream = io.BytesIO()
    frame.save(stream, "PNG", optimize=True)
    return stream.getvalue()
