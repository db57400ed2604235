"""Choose the threshold, on scores of images that the model did not learn from."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.bundle import Decision
from trainer.errors import UsageError
from trainer.stats.bootstrap import cost_at, figure_intervals, interval
from trainer.stats.metrics import accuracy_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trainer.config import Aim


class RuleError(UsageError):
    """No threshold keeps the rule on these scores; the message says what can be had."""


@dataclass(frozen=True)
class Calibration:
    """A threshold and what speaks for it."""

    threshold: float
    rule: str
    figures: dict[str, float]
    """``f1``, ``recall`` and ``precision`` at the threshold, each with ``_low`` and ``_high``, its
    95 % confidence interval (and so ``cost``, for each image judged, where that is the rule);
    ``gap_low`` and ``gap_high``: between these neighbouring scores every threshold does equally
    well. With a review band: ``review_images``, the share of images in it, and ``review_errors``,
    the share of the errors that a person who looks at them will meet."""
    intervals: dict[str, tuple[float, float]]
    """See `figure_intervals`."""
    review: tuple[float, float] | None = None
    """Scores from the first up to (not including) the second are for a person to look at."""

    @property
    def decision(self) -> Decision:
        """As a manifest has it."""
        return Decision(
            threshold=self.threshold, review=self.review, rule=self.rule, figures=self.figures
        )


@dataclass(frozen=True)
class CarriedOver:
    """What became of thresholds on images that had no say in them."""

    thresholds: tuple[float, ...]
    """By fold, as the others alone choose it."""
    escapes: int
    overkills: int


@dataclass(frozen=True)
class Cuts:
    """Every way to part the images by score: the n-th calls the first few of them defects.

    From the highest score downwards, equal scores together; the first calls none a defect, the
    last all.
    """

    hits: NDArray[np.int64]
    """Defects that are found."""
    alarms: NDArray[np.int64]
    """Images that are called defects."""
    high: NDArray[np.float64]
    """The lowest score that is called a defect; 1 where none is."""
    low: NDArray[np.float64]
    """The highest that isn't; 0 where all are called defects."""


def calibrate(
    labels: NDArray[np.bool_], scores: NDArray[np.floating], groups: Sequence[str], aim: Aim
) -> Calibration:
    """Choose the threshold by the rule of ``aim``, in the middle of the gap between two scores.

    Of thresholds that do equally well, it is the one with the fewest escapes: a missed defect is
    what hurts.

    Args:
        labels: (N,), out-of-fold images.
        scores: (N,), by a model that did not see the image's group.
        groups: (N,): confidence intervals are by group.
        aim: rule, prices and review band.

    Raises:
        RuleError: the rule can't be kept.
        ValueError: there is no defect.
    """
    if not labels.any():
        raise ValueError("a threshold can't be chosen without a single defect")
    precise = np.asarray(scores, np.float64)
    cuts = make_cuts(labels, precise)
    place = _choose(cuts, labels, aim)
    low, high = float(cuts.low[place]), float(cuts.high[place])
    threshold = _between(low, high)
    reached = accuracy_at(labels, precise, threshold)
    intervals = figure_intervals(labels, precise, groups, threshold)
    figures = {"gap_low": low, "gap_high": high}
    for name in ("f1", "recall", "precision"):
        figures[name] = getattr(reached, name)
        figures[f"{name}_low"], figures[f"{name}_high"] = intervals[name]
    if aim.rule == "cost":
        prices = aim.prices
        figures |= {"escape_cost": prices[0], "overkill_cost": prices[1]}
        spent = reached.escapes * prices[0] + reached.overkills * prices[1]
        figures["cost"] = spent / len(labels)
        statistic = cost_at(threshold, *prices)
        figures["cost_low"], figures["cost_high"] = interval(labels, precise, groups, statistic)
    review = None
    if aim.review is not None:
        review = review_band(labels, precise, threshold, (low, high), aim.review)
        inside = (precise >= review[0]) & (precise < review[1])
        wrong = (precise >= threshold) != labels
        figures["review_images"] = float(inside.mean())
        figures["review_errors"] = float(inside[wrong].mean()) if wrong.any() else 1.0
    return Calibration(threshold, aim.rule, figures, intervals, review)


def calibrate_own(
    labels: NDArray[np.bool_], scores: NDArray[np.floating], groups: Sequence[str], aim: Aim
) -> Decision | None:
    """As `calibrate`, for a variant; None where its scores, unlike FP32's, can't keep the rule."""
    if not np.isfinite(scores).all():
        return None
    try:
        return calibrate(labels, np.clip(scores, 0.0, 1.0), groups, aim).decision
    except RuleError:
        return None


def carry_over(
    labels: NDArray[np.bool_], scores: NDArray[np.floating], folds: NDArray[np.int64], aim: Aim
) -> CarriedOver | None:
    """Judge each fold by the threshold that the rule chooses on the others alone.

    A threshold that is chosen on the scores that it is then counted on looks a little better than
    it will be. This is what to expect of it on images that had no say in it.

    Args:
        labels: (N,), out-of-fold images.
        scores: (N,), by a model that did not see the image's group.
        folds: (N,): in which fold the image was held out.
        aim: the rule.

    Returns:
        None where the rule can't be kept without one of the folds.
    """
    precise = np.asarray(scores, np.float64)
    called = np.zeros(len(labels), bool)
    thresholds = []
    for fold in np.unique(folds):
        held, rest = folds == fold, folds != fold
        if not labels[rest].any():
            return None
        cuts = make_cuts(labels[rest], precise[rest])
        try:
            place = _choose(cuts, labels[rest], aim)
        except RuleError:
            return None
        thresholds.append(_between(*_ends(cuts, place)))
        called[held] = precise[held] >= thresholds[-1]
    return CarriedOver(
        tuple(thresholds), int(np.sum(labels & ~called)), int(np.sum(~labels & called))
    )


def make_cuts(labels: NDArray[np.bool_], scores: NDArray[np.float64]) -> Cuts:
    """All cuts of scores in 0-1. One that calls no image a defect is there if no score is 1."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    # A threshold can't separate equal scores.
    last = np.append(np.flatnonzero(ordered[:-1] > ordered[1:]), len(ordered) - 1)
    hits = np.append(0, np.cumsum(labels[order])[last])
    alarms = np.append(0, last + 1)
    high = np.append(1.0, ordered[last])
    low = np.append(ordered[np.append(0, last[:-1] + 1)], 0.0)
    first = 1 if ordered[0] >= 1.0 else 0
    return Cuts(hits[first:], alarms[first:], high[first:], low[first:])


def review_band(
    labels: NDArray[np.bool_],
    scores: NDArray[np.float64],
    threshold: float,
    gap: tuple[float, float],
    share: float,
) -> tuple[float, float]:
    """The band that holds at least ``share`` of the errors and, of such, the fewest images.

    It always holds the gap around the threshold: no image with such a score was ever seen.
    Where there is no error, that is all of it.
    """
    distinct = np.unique(scores)
    # Nearest to the threshold first.
    escapes = np.sort(scores[labels & (scores < threshold)])[::-1]
    overkills = np.sort(scores[~labels & (scores >= threshold)])
    # A band ends below its upper end, and that can't be above 1.
    overkills = overkills[overkills < 1.0]
    errors = int(np.sum((scores >= threshold) != labels))
    needed = min(int(np.ceil(share * errors - 1e-9)), len(escapes) + len(overkills))
    best: tuple[int, float] | None = None
    # With no error at all the loop runs once, for the gap.
    band = gap
    for below in range(max(0, needed - len(overkills)), min(needed, len(escapes)) + 1):
        above = needed - below
        low, high = float(np.nextafter(gap[0], 1.0)), gap[1]
        if below:
            place = int(np.searchsorted(distinct, escapes[below - 1]))
            low = _between(float(distinct[place - 1]) if place else 0.0, float(distinct[place]))
        if above:
            place = int(np.searchsorted(distinct, overkills[above - 1]))
            over = float(distinct[place + 1]) if place + 1 < len(distinct) else 1.0
            high = _between(float(distinct[place]), over)
        images = int(np.sum((scores >= low) & (scores < high)))
        if best is None or (images, high - low) < best:
            best, band = (images, high - low), (min(low, threshold), max(high, threshold))
    return band


def _choose(cuts: Cuts, labels: NDArray[np.bool_], aim: Aim) -> int:
    """The place of the cut that the rule asks for."""
    defects = int(labels.sum())
    if aim.rule == "max-f1":
        f1 = 2 * cuts.hits / (cuts.alarms + defects)
        return int(np.flatnonzero(f1 == f1.max())[-1])
    if aim.rule == "cost":
        # In whole numbers: 3 overkills at 0.1 are as dear as an escape at 0.3, but not in floats.
        escape, overkill = (Fraction(repr(price)) for price in aim.prices)
        ratio = escape / overkill
        escapes, overkills = (defects - cuts.hits).astype(object), cuts.alarms - cuts.hits
        cost = ratio.numerator * escapes + ratio.denominator * overkills.astype(object)
        return int(np.flatnonzero(cost == cost.min())[-1])
    kind, least = aim.bound
    if kind == "recall":
        # There is always one, since the last cut finds every defect. Fewer overkills come first,
        # and of cuts with equally many the last: a defect that costs none is not left out.
        overkills = cuts.alarms - cuts.hits
        fewest = overkills[cuts.hits >= least * defects - 1e-9][0]
        return int(np.flatnonzero(overkills == fewest)[-1])
    found = cuts.alarms > 0
    precision = np.where(found, cuts.hits / np.maximum(cuts.alarms, 1), 0.0)
    kept = found & (precision >= least - 1e-12) & (cuts.hits > 0)
    if not kept.any():
        best = int(np.flatnonzero(precision == precision.max())[-1])
        raise RuleError(
            f"{aim.rule} can't be met on these images: the best precision is "
            f"{precision[best]:.4f}, at a threshold of {_between(*_ends(cuts, best)):.4f}, which "
            f"finds {cuts.hits[best]} of {defects} defects with "
            f"{cuts.alarms[best] - cuts.hits[best]} overkills"
        )
    most = cuts.hits == cuts.hits[kept].max()
    return int(np.flatnonzero(kept & most)[0])


def _ends(cuts: Cuts, place: int) -> tuple[float, float]:
    return float(cuts.low[place]), float(cuts.high[place])


def _between(low: float, high: float) -> float:
    """Halfway; of two adjacent floats the upper one, so that ``low`` stays below."""
    middle = (low + high) / 2
    return middle if low < middle <= high else high
