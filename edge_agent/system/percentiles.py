"""Percentiles by nearest rank: each is a value that was really seen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Percentiles:
    """Milliseconds."""

    p50: float
    p95: float
    p99: float

    def rounded(self, digits: int) -> Percentiles:
        """The same, to so many digits behind the point."""
        return Percentiles(*(round(value, digits) for value in (self.p50, self.p95, self.p99)))


def percentiles(values: Iterable[float]) -> Percentiles:
    """Of at least one value, in any order."""
    ordered = sorted(values)
    p50, p95, p99 = (ordered[math.ceil(len(ordered) * q) - 1] for q in (0.50, 0.95, 0.99))
    return Percentiles(p50, p95, p99)
