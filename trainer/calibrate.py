"""Choose the threshold, on scores of images that the model did not learn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Calibration:
    """A threshold and what spoke for it."""

    threshold: float
    rule: str
    figures: dict[str, float]
    """``f1`` at the threshold; ``gap_low`` and ``gap_high``: between these neighbouring scores
    every threshold does equally well."""


def max_f1(labels: NDArray[np.bool_], scores: NDArray[np.floating]) -> Calibration:
    """The threshold with the best F1, in the middle of the gap between two scores.

    Of equals the one with the fewest escapes: a missed defect is what hurts.
    """
    if not labels.any():
        raise ValueError("a threshold can't be chosen without a single defect")
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order].astype(np.float64)
    hits = np.cumsum(labels[order])
    alarms = np.arange(1, len(ordered) + 1)
    f1 = 2 * hits / (alarms + labels.sum())
    # A threshold can't separate equal scores.
    possible = np.append(ordered[:-1] > ordered[1:], True)
    best = float(f1[possible].max())
    place = int(np.flatnonzero(possible & (f1 == best))[-1])
    high = float(ordered[place])
    low = float(ordered[place + 1]) if place + 1 < len(ordered) else 0.0
    # Halfway between two adjacent floats rounds to one of them: the upper one still fits.
    middle = (low + high) / 2
    threshold = middle if low < middle <= high else high
    return Calibration(threshold, "max-f1", {"f1": best, "gap_low": low, "gap_high": high})
