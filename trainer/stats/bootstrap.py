"""How sure a figure is: confidence intervals by resampling groups, in numpy alone.

Images of one group (one part, one batch) resemble each other: a data set of 47 parts with 8
images each says less than one of 376 parts. So whole groups are drawn (cluster bootstrap: Davison
and Hinkley 1997, Bootstrap Methods and their Application, 3.8), and the interval is that of the
percentiles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Statistic = Callable[
        [NDArray[np.bool_], NDArray[np.floating], NDArray[np.float64]], NDArray[np.float64]
    ]
    """Of labels (N,), scores (N,) and weights (R, N), how often each image was drawn in each of R
    resamples: the figure in each, (R,); NaN where it has no meaning."""

Share = Literal["recall", "specificity", "precision", "f1", "accuracy"]
SHARES: tuple[Share, ...] = ("recall", "precision", "f1", "accuracy")
RESAMPLES = 2000
LEVEL = 0.95
_Z = 1.959963984540054  # of the normal distribution, two-sided, at LEVEL
CELLS = 4_000_000  # weights held at a time: 32 MB


def interval(
    labels: NDArray[np.bool_],
    scores: NDArray[np.floating],
    groups: Sequence[str],
    statistic: Statistic,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> tuple[float, float]:
    """Confidence interval of a figure, by drawing as many groups as there are, with replacement.

    Args:
        labels: (N,), whether an image is defective.
        scores: (N,).
        groups: (N,), the group of each.
        statistic: see ``Statistic``; `share_at`, `average_precision` and `auroc` make some.
        resamples: how many times.
        level: how often the interval is to hold the true figure.
        seed: same seed, same interval.

    Returns:
        Lower and upper end. A perfect figure stays perfect however it is resampled, and then both
        are the same: `figure_intervals` widens those.
    """
    _, member = np.unique(np.asarray(groups), return_inverse=True)
    count = int(member.max()) + 1
    rng = np.random.default_rng(seed)
    figures = []
    done = 0
    while done < resamples:
        some = min(resamples - done, max(1, CELLS // len(labels)))
        drawn = rng.multinomial(count, np.full(count, 1 / count), size=some)
        figures.append(statistic(labels, scores, drawn[:, member].astype(np.float64)))
        done += some
    found = np.concatenate(figures)
    found = found[~np.isnan(found)]
    if not len(found):
        return 0.0, 1.0
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def figure_intervals(
    labels: NDArray[np.bool_],
    scores: NDArray[np.floating],
    groups: Sequence[str],
    threshold: float,
) -> dict[str, tuple[float, float]]:
    """Intervals, at 95 %, of ap, auroc, and the ``SHARES`` at a threshold."""
    found = {
        "ap": interval(labels, scores, groups, average_precision),
        "auroc": interval(labels, scores, groups, auroc),
    }
    for name in SHARES:
        found[name] = share_interval(labels, scores, groups, threshold, name)
    return found


def share_interval(
    labels: NDArray[np.bool_],
    scores: NDArray[np.floating],
    groups: Sequence[str],
    threshold: float,
    name: Share,
) -> tuple[float, float]:
    """Interval, at 95 %, of a share of counts, joined with Wilson's (1927).

    Where no error was seen, resampling has none to draw, but 0 escapes in 52 defects do not mean
    that there will never be one.
    """
    low, high = interval(labels, scores, groups, share_at(threshold, name))
    part, whole = _parts(name, labels, scores >= threshold, np.ones((1, len(labels))))
    wilson_low, wilson_high = wilson(float(part[0]), float(whole[0]))
    return min(low, wilson_low), max(high, wilson_high)


def wilson(part: float, whole: float) -> tuple[float, float]:
    """Wilson's score interval of a share, at 95 %; all of 0-1 where ``whole`` is 0."""
    if not whole:
        return 0.0, 1.0
    share, square = part / whole, _Z**2 / whole
    middle = share + square / 2
    half = _Z * np.sqrt(share * (1 - share) / whole + square / whole / 4)
    low, high = (middle - half) / (1 + square), (middle + half) / (1 + square)
    # Exactly so at the borders, where the formula is, but for rounding.
    return float(low) if part else 0.0, float(high) if part < whole else 1.0


def share_at(threshold: float, name: Share) -> Statistic:
    """A share of counts at a threshold, as a statistic to resample.

    Specificity is that of the ok images that pass: what it lacks to 1 are the overkills.
    """

    def statistic(
        labels: NDArray[np.bool_], scores: NDArray[np.floating], weights: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        part, whole = _parts(name, labels, scores >= threshold, weights)
        return _divided(part, whole, np.nan)

    return statistic


def cost_at(threshold: float, escape_cost: float, overkill_cost: float) -> Statistic:
    """What the errors at a threshold cost, for each image judged."""

    def statistic(
        labels: NDArray[np.bool_], scores: NDArray[np.floating], weights: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        alarms = scores >= threshold
        price = escape_cost * (labels & ~alarms) + overkill_cost * (~labels & alarms)
        return (weights @ price) / weights.sum(axis=1)

    return statistic


def average_precision(
    labels: NDArray[np.bool_], scores: NDArray[np.floating], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """As `trainer.stats.metrics.average_precision`, of every resample at once."""
    hits, alarms = _weighted_counts(labels, scores, weights)
    precision = _divided(hits, alarms, 0.0)
    area = (np.diff(hits, axis=1, prepend=0.0) * precision).sum(axis=1)
    return _divided(area, hits[:, -1], np.nan)


def auroc(
    labels: NDArray[np.bool_], scores: NDArray[np.floating], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """As `trainer.stats.metrics.auroc`, of every resample at once."""
    hits, alarms = _weighted_counts(labels, scores, weights)
    false = alarms - hits
    before = np.pad(hits, ((0, 0), (1, 0)))[:, :-1]
    area = (np.diff(false, axis=1, prepend=0.0) * (hits + before) / 2).sum(axis=1)
    return _divided(area, hits[:, -1] * false[:, -1], np.nan)


def _weighted_counts(
    labels: NDArray[np.bool_], scores: NDArray[np.floating], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Defects found and alarms raised at each distinct score, from the highest: (R, distinct)."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    ordered = weights[:, order]
    hits = np.cumsum(ordered * labels[order], axis=1)[:, last]
    return hits, np.cumsum(ordered, axis=1)[:, last]


def _parts(
    name: Share,
    labels: NDArray[np.bool_],
    alarms: NDArray[np.bool_],
    weights: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    hits = weights @ (labels & alarms)
    overkills = weights @ (~labels & alarms)
    escapes = weights @ (labels & ~alarms)
    if name == "recall":
        return hits, hits + escapes
    if name == "specificity":
        passed = weights @ (~labels & ~alarms)
        return passed, passed + overkills
    if name == "precision":
        return hits, hits + overkills
    if name == "f1":
        return hits, hits + (escapes + overkills) / 2
    whole = weights.sum(axis=1)
    return whole - escapes - overkills, whole


def _divided(
    part: NDArray[np.float64], whole: NDArray[np.float64], otherwise: float
) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full_like(part, otherwise), where=whole > 0)
