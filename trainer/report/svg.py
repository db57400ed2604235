"""Charts as SVG, by hand: a few hundred bytes each instead of a library in every report."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

CLAMP = math.log((1 - 1e-4) / 1e-4)
"""A score's place on the axis goes no further: 0.0001 to 0.9999."""
SCORE_TICKS = (0.0001, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999)


def straight(value: float) -> float:
    """Place of a value on an even axis."""
    return value


def logit(score: float) -> float:
    """Place of a score: as far apart near 0 and 1, where most scores are, as in the middle."""
    if score <= 0.0:
        return -CLAMP
    if score >= 1.0:
        return CLAMP
    return min(CLAMP, max(-CLAMP, math.log(score / (1 - score))))


def log_count(count: float) -> float:
    """Place of a count, so that one image is still seen beside a thousand."""
    return math.log10(1 + count)


@dataclass(frozen=True)
class Axis:
    """From values to places between 0 and 1."""

    low: float
    high: float
    label: str
    ticks: tuple[tuple[float, str], ...]
    warp: Callable[[float], float] = straight

    def at(self, value: float) -> float:
        """Where a value lies, 0-1."""
        low, high = self.warp(self.low), self.warp(self.high)
        return min(1.0, max(0.0, (self.warp(value) - low) / (high - low)))


@dataclass(frozen=True)
class Frame:
    """A plot's rectangle inside of its picture, in the picture's units."""

    left: float
    top: float
    right: float
    bottom: float
    x: Axis
    y: Axis

    def at(self, x: float, y: float) -> tuple[float, float]:
        """A point in the picture."""
        return (
            self.left + self.x.at(x) * (self.right - self.left),
            self.bottom - self.y.at(y) * (self.bottom - self.top),
        )

    def path(self, points: Iterable[tuple[float, float]]) -> str:
        """A polyline as path data."""
        placed = [self.at(x, y) for x, y in points]
        return "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in placed) if placed else ""

    def axes(self) -> Markup:
        """Lines, ticks, labels; the grid behind everything."""
        parts = []
        for value, text in self.y.ticks:
            _, y = self.at(self.x.low, value)
            parts.append(
                Markup(
                    '<path class="grid" d="M{:.1f},{:.1f}H{:.1f}"/>'
                    '<text class="end" x="{:.1f}" y="{:.1f}">{}</text>'
                ).format(self.left, y, self.right, self.left - 6, y + 4, text)
            )
        for value, text in self.x.ticks:
            x, _ = self.at(value, self.y.low)
            parts.append(
                Markup(
                    '<path class="grid" d="M{:.1f},{:.1f}V{:.1f}"/>'
                    '<text class="mid" x="{:.1f}" y="{:.1f}">{}</text>'
                ).format(x, self.top, self.bottom, x, self.bottom + 16, text)
            )
        middle = (self.left + self.right) / 2
        parts.append(
            Markup(
                '<path class="axis" d="M{:.1f},{:.1f}V{:.1f}H{:.1f}"/>'
                '<text class="mid label" x="{:.1f}" y="{:.1f}">{}</text>'
                '<text class="label" x="{:.1f}" y="{:.1f}">{}</text>'
            ).format(
                *(self.left, self.top, self.bottom, self.right),
                *(middle, self.bottom + 34, self.x.label),
                *(max(4.0, self.left - 38), self.top - 8, self.y.label),
            )
        )
        return Markup("").join(parts)


@dataclass
class Picture:
    """An SVG in the making."""

    width: int
    height: int
    title: str
    """What a screen reader says."""
    kind: str = ""
    """Class names: what the page's script looks for."""
    parts: list[Markup] = field(default_factory=list)

    def add(self, template: str, *values: object) -> None:
        """Append markup; the values are escaped."""
        self.parts.append(Markup(template).format(*values))  # noqa: S704  templates are our own

    def markup(self) -> Markup:
        """The element."""
        return Markup(
            '<svg class="chart {}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
        ).format(self.kind, self.width, self.height, self.title, Markup("").join(self.parts))


def score_axis(scores: Sequence[float], label: str = "score") -> Axis:
    """An axis that holds all scores and 0.5."""
    places = [logit(score) for score in scores]
    low, high = min(*places, 0.0) - 0.3, max(*places, 0.0) + 0.3
    low, high = max(low, -CLAMP), min(high, CLAMP)
    ticks = tuple((tick, f"{tick:g}") for tick in SCORE_TICKS if low <= logit(tick) <= high)
    return Axis(_score(low), _score(high), label, ticks, logit)


def count_axis(most: int, label: str) -> Axis:
    """A logarithmic axis from 0 to at least ``most``."""
    ticks = [0]
    while ticks[-1] < most and len(ticks) < 8:
        ticks.append(10 ** (len(ticks) - 1))
    shown = tuple((tick, f"{tick:,}") for tick in ticks if 0 < tick <= most)
    return Axis(0, max(most, 1) * 1.15, label, shown, log_count)


def share_axis(label: str, low: float = 0.0) -> Axis:
    """Percent, from ``low`` to 1."""
    step = (1 - low) / 5
    ticks = tuple((low + step * n, f"{(low + step * n) * 100:.0f} %") for n in range(6))
    return Axis(low, 1.0, label, ticks)


def even_axis(low: float, high: float, label: str) -> Axis:
    """An axis over a range, widened to round numbers, with about five ticks."""
    rough = (high - low) / 4 or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * part for part in (1, 2, 2.5, 5, 10) if power * part >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    ticks = tuple((n * step, f"{n * step:.4g}") for n in range(first, last + 1))
    return Axis(first * step, last * step, label, ticks)


def log_axis(low: float, high: float, label: str) -> Axis:
    """A logarithmic axis over a range above 0, with ticks at 1, 2 and 5."""
    steps = [part * 10**power for power in range(-6, 10) for part in (1, 2, 5)]
    inside = [step for step in steps if low <= step <= high]
    if len(inside) > 6:
        inside = [step for step in inside if math.log10(step) % 1 in {0.0, 1.0}]
    ticks = tuple((float(step), f"{step:,}") for step in inside)
    return Axis(low, high, label, ticks, log)


def log(value: float) -> float:
    """Place of a value above 0."""
    return math.log10(max(value, 1e-9))


def _score(place: float) -> float:
    return 1 / (1 + math.exp(-place))


def plotted(picture: Picture, frame: Frame) -> Markup:
    """With what the page's script needs to place things: the frame, in the SVG's own units."""
    plot = {
        "left": frame.left,
        "right": frame.right,
        "top": frame.top,
        "bottom": frame.bottom,
        "x": [frame.x.warp(frame.x.low), frame.x.warp(frame.x.high)],
        "y": [frame.y.warp(frame.y.low), frame.y.warp(frame.y.high)],
    }
    picture.add("<desc>{}</desc>", json.dumps(plot))
    return picture.markup()


def thinned(points: Sequence[tuple[float, float]], frame: Frame) -> list[tuple[float, float]]:
    """Without points that a reader can't see: those on the very place of their predecessor."""
    kept: list[tuple[float, float]] = []
    before = None
    for point in points:
        place = tuple(round(side, 1) for side in frame.at(*point))
        if place != before:
            kept.append(point)
            before = place
    return kept
