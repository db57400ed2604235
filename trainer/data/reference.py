"""How the training images looked: what the agent measures drift against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from edge_agent.bundle import Distribution, Reference
from edge_agent.bundle.appearance import SHARPEST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edge_agent.bundle.appearance import Appearance
    from trainer.data import Sample

BINS = 20
MOST_BITS = 1024.0
"""A pixel: no format of the trade needs more, but for a tiny image with a large header."""


def make_reference(
    good: Sequence[Sample], looks: Sequence[Appearance], scores: NDArray[np.floating]
) -> Reference:
    """Histograms of how the good training images look, and of their out-of-fold scores.

    Of the good ones alone: a training set has many more defects than a line.
    """
    return Reference(
        score=distribution(scores, 1.0),
        brightness=distribution([one.brightness for one in looks], 255.0),
        contrast=distribution([one.contrast for one in looks], 127.5),
        sharpness=distribution([one.sharpness for one in looks], SHARPEST),
        compression=distribution([_bits_per_pixel(sample) for sample in good], MOST_BITS),
    )


def distribution(values: Sequence[float] | NDArray[np.floating], highest: float) -> Distribution:
    """A histogram of values between 0 and ``highest``, its edges at the values' quantiles.

    About the same number of images in every bin is what the population stability index and its
    like want: bins of equal width would put all images of a steady line into one.
    """
    array = np.asarray(values, np.float64)
    inner = np.quantile(array, np.linspace(0, 1, BINS + 1)[1:-1])
    edges = np.unique(np.concatenate([[0.0], np.clip(inner, 0.0, highest), [highest]]))
    counts, _ = np.histogram(np.clip(array, 0.0, highest), edges)
    return Distribution(edges=tuple(edges.tolist()), counts=tuple(counts.tolist()))


def _bits_per_pixel(sample: Sample) -> float:
    with Image.open(sample.image) as image:
        return 8 * sample.image.stat().st_size / (image.width * image.height)
