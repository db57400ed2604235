"""How the training images looked: what the agent measures drift against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_agent.bundle import Distribution, Reference
from edge_agent.bundle.appearance import SHARPEST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edge_agent.bundle.appearance import Appearance

BINS = 20


def make_reference(appearances: Sequence[Appearance], scores: NDArray[np.floating]) -> Reference:
    """Histograms of the training images' looks and of their out-of-fold scores."""
    return Reference(
        score=distribution(scores, 1.0),
        brightness=distribution([one.brightness for one in appearances], 255.0),
        contrast=distribution([one.contrast for one in appearances], 127.5),
        sharpness=distribution([one.sharpness for one in appearances], SHARPEST),
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
