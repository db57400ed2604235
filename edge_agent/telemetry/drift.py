"""Drift: do the images, and the scores, still look like those that the bundle learned from?

Two questions are asked of each figure, over a sliding window of inspections and against the
histogram in the bundle's ``reference``:

- Is the difference real? The two-sample test of Kolmogorov and Smirnov: the largest distance D
  between the two distributions, of n and m values, exceeds
  ``sqrt(-ln(p / 2) / 2 * (n + m) / (n * m))`` with a chance of p or less (N. Smirnov, Table for
  estimating the goodness of fit of empirical distributions, Ann. Math. Statist. 19, 1948). D is
  taken at the histogram's edges alone, which only makes it smaller.
- Is it large? The population stability index ``sum((q - p) * ln(q / p))`` over bins; from 0.25 it
  is called a major shift (N. Siddiqi, Credit Risk Scorecards, 2006).

An alarm needs both. It ends when the first is no longer answered with yes, at a much weaker level:
that is the hysteresis.
"""

from __future__ import annotations

import logging
import math
from bisect import bisect_right
from collections import deque
from typing import TYPE_CHECKING

from edge_agent.types.reading import Drift

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge_agent.bundle import Distribution, Reference
    from edge_agent.types import Inspection

log = logging.getLogger(__name__)

WINDOW = 250
"""Inspections that are compared with the reference."""
FEWEST = 50
"""Before so many nothing is said."""
EVERY = 10
"""Inspections from one comparison to the next."""
RAISE, CLEAR = 1e-7, 1e-2
"""Chance of so large a distance without drift: an alarm below the first, none above the second."""
LARGE = 0.25
"""PSI."""
_BINS = 10
_NARROWEST = {"score": 0.05}
"""Of a bin. The reference's scores are of other models than the one that ships, each trained on a
part of the images: by less than this they differ without any drift, and no verdict hangs on it."""

_LOOK_AT = {
    "brightness": "lamp, exposure and aperture",
    "contrast": "lamp, lens and the parts' surface",
    "sharpness": "focus, lens and anything that shakes or moves too fast",
    "compression": "the camera's file format and JPEG quality, and at its focus",
    "score": "the parts' material and the camera; compare verdicts with what a person says",
}


class Figure:
    """One figure's window beside its reference."""

    def __init__(self, name: str, reference: Distribution, window: int = WINDOW) -> None:
        self.name = name
        edges, counts = _coarser(reference, _NARROWEST.get(name, 0.0))
        self._inner = edges[1:-1]
        self._reference = counts
        self._size = sum(counts)
        self._counts = [0] * len(counts)
        self._window: deque[int] = deque()
        self._most = window
        self._drifting = False

    def add(self, value: float) -> None:
        """One more inspection; the oldest leaves the window."""
        place = bisect_right(self._inner, value)
        self._counts[place] += 1
        self._window.append(place)
        if len(self._window) > self._most:
            self._counts[self._window.popleft()] -= 1

    def compare(self) -> Drift:
        """How the window differs from the reference."""
        frames = len(self._window)
        distance, higher = _distance(self._counts, self._reference)
        psi = _psi(self._counts, self._reference)
        if frames < FEWEST:
            self._drifting = False
        elif self._drifting:
            self._drifting = distance > critical(CLEAR, frames, self._size)
        else:
            limit = critical(RAISE, frames, self._size)
            self._drifting = distance > limit and psi > LARGE
        return Drift(self.name, frames, psi, distance, higher=higher, drifting=self._drifting)


class DriftWatch:
    """Counts in the loop's thread; ``figures`` may be read from any other."""

    def __init__(self, reference: Callable[[], Reference], window: int = WINDOW) -> None:
        """``reference`` is of the bundle that judges now: with another one all begins anew."""
        self._reference = reference
        self._window = window
        self._known: Reference | None = None
        self._figures: list[Figure] = []
        self._since = 0
        self.figures: tuple[Drift, ...] = ()
        """As of the last comparison."""

    def add(self, inspection: Inspection) -> None:
        """It is in the journal. What could not be judged has no looks."""
        looks, score, image = inspection.appearance, inspection.score, inspection.image
        if looks is None or score is None:
            return
        self._follow(self._reference())
        values = {
            "brightness": looks.brightness,
            "contrast": looks.contrast,
            "sharpness": looks.sharpness,
            "compression": 8 * image.bytes / (image.width * image.height),
            "score": score,
        }
        for figure in self._figures:
            figure.add(values[figure.name])
        self._since += 1
        if self._since >= EVERY:
            self._since = 0
            self._compare()

    def _follow(self, reference: Reference) -> None:
        if reference is not self._known:
            known = {name: getattr(reference, name) for name in _LOOK_AT}
            self._figures = [
                Figure(name, found, self._window)
                for name, found in known.items()
                if found is not None
            ]
            self._known, self._since, self.figures = reference, 0, ()

    def _compare(self) -> None:
        before = {one.figure for one in self.figures if one.drifting}
        self.figures = tuple(figure.compare() for figure in self._figures)
        for one in self.figures:
            if one.drifting and one.figure not in before:
                log.warning("drift: %s", sentence(one))
            elif one.figure in before and not one.drifting:
                log.info("drift: %s is as in the training images again", one.figure)


def sentence(drift: Drift) -> str:
    """What an operator is told of a figure that drifts."""
    how = "higher" if drift.higher else "lower"
    return (
        f"{drift.figure} is {how} than in the training images: look at {_LOOK_AT[drift.figure]}; "
        "if this is intended, train again with such images"
    )


def _coarser(reference: Distribution, narrowest: float) -> tuple[list[float], tuple[int, ...]]:
    """Edges and counts, with bins joined until each but the last is so wide."""
    edges, counts = [reference.edges[0]], [0]
    for edge, count in zip(reference.edges[1:], reference.counts, strict=True):
        counts[-1] += count
        if edge - edges[-1] >= narrowest:
            edges.append(edge)
            counts.append(0)
    if counts[-1] or len(counts) == 1:
        edges.append(reference.edges[-1])
    else:
        counts.pop()
    return edges, tuple(counts)


def critical(p: float, n: int, m: int) -> float:
    """The distance that two samples of n and m values of one distribution exceed with chance p."""
    return math.sqrt(-math.log(p / 2) / 2 * (n + m) / (n * m))


def _distance(counts: list[int], reference: tuple[int, ...]) -> tuple[float, bool]:
    """Kolmogorov and Smirnov's D, and whether it is the window that lies higher."""
    n, m = sum(counts) or 1, sum(reference)
    below = above = 0.0
    mine = theirs = 0
    for own, other in zip(counts, reference, strict=True):
        mine += own
        theirs += other
        gap = theirs / m - mine / n
        above, below = max(above, gap), max(below, -gap)
    return max(above, below), above > below


def _psi(counts: list[int], reference: tuple[int, ...]) -> float:
    """The population stability index over ten bins at most, with half a value more in each.

    With more bins, or with an empty one, chance alone makes it large.
    """
    own, other = _merged(counts), _merged(reference)
    n, m = sum(own), sum(other)
    return sum(
        (q / n - p / m) * math.log((q * m) / (p * n)) for q, p in zip(own, other, strict=True)
    )


def _merged(counts: Sequence[int]) -> list[float]:
    width = math.ceil(len(counts) / _BINS)
    return [sum(counts[at : at + width]) + 0.5 for at in range(0, len(counts), width)]
