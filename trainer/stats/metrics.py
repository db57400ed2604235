"""How good scores are, in numpy alone. A score at or above the threshold is a defect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_agent.bundle import Accuracy

if TYPE_CHECKING:
    from numpy.typing import NDArray


def average_precision(labels: NDArray[np.bool_], scores: NDArray[np.floating]) -> float:
    """Area under the precision-recall curve, by steps, as scikit-learn defines it.

    AP = sum over thresholds n of (R_n - R_{n-1}) P_n; equal scores are one threshold.
    0 where there is no defect.
    """
    hits, alarms = _counts(labels, scores)
    if not labels.any():
        return 0.0
    recall = np.concatenate([[0.0], hits / labels.sum()])
    return _unit(float(np.sum(np.diff(recall) * hits / alarms)))


def auroc(labels: NDArray[np.bool_], scores: NDArray[np.floating]) -> float:
    """Chance that a random defect scores above a random ok image, ties counted half.

    0.5 where one of the two is missing.
    """
    hits, alarms = _counts(labels, scores)
    defects, oks = int(labels.sum()), int((~labels).sum())
    if not defects or not oks:
        return 0.5
    true_rate = np.concatenate([[0.0], hits / defects])
    false_rate = np.concatenate([[0.0], (alarms - hits) / oks])
    return _unit(float(np.trapezoid(true_rate, false_rate)))


def accuracy_at(
    labels: NDArray[np.bool_], scores: NDArray[np.floating], threshold: float
) -> Accuracy:
    """Every figure of a set of scores at one threshold.

    F1, precision and recall are 0 where they would be 0 / 0.
    """
    alarms = scores >= threshold
    hits = int(np.sum(alarms & labels))
    escapes = int(np.sum(~alarms & labels))
    overkills = int(np.sum(alarms & ~labels))
    images, defects = len(labels), int(labels.sum())
    return Accuracy(
        ap=average_precision(labels, scores),
        auroc=auroc(labels, scores),
        f1=_share(2 * hits, 2 * hits + escapes + overkills),
        precision=_share(hits, hits + overkills),
        recall=_share(hits, defects),
        accuracy=_share(images - escapes - overkills, images),
        threshold=threshold,
        escapes=escapes,
        overkills=overkills,
        images=images,
        defects=defects,
    )


def _counts(
    labels: NDArray[np.bool_], scores: NDArray[np.floating]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Defects found, and alarms raised, at each distinct score as threshold, from the highest."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    hits = np.cumsum(labels[order])[last]
    return hits, last + 1


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _unit(value: float) -> float:
    """Rounding of sums may leave 1 by an ulp."""
    return min(1.0, max(0.0, value))
