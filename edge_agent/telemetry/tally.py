"""What has been inspected since the start, counted: some microseconds an inspection."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import deque
from typing import TYPE_CHECKING

from edge_agent.system.percentiles import Percentiles, percentiles
from edge_agent.types import Verdict
from edge_agent.types.reading import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.types import Inspection

STAGES = ("wait", "decode", "preprocess", "infer", "total")
BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Upper ends of a histogram's buckets, seconds."""
_BOUNDS_MS = tuple(bound * 1e3 for bound in BOUNDS)
_RECENT = 500


class Tally:
    """Counts in the loop's thread; may be read from any other."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts = [[0] * (len(BOUNDS) + 1) for _ in STAGES]
        self._sums = [0.0] * len(STAGES)  # ms
        self._recent: deque[tuple[float, ...]] = deque(maxlen=_RECENT)
        self.verdicts = dict.fromkeys(Verdict, 0)
        self.last: float | None = None
        """When the last inspection was counted, monotonic."""
        self.gpu_memory: int | None = None
        """Of the worker that judged last."""

    def latest(self) -> float | None:
        """When the last inspection was counted, monotonic; None: none yet."""
        return self.last

    def add(self, inspection: Inspection) -> None:
        """It is in the journal."""
        self.last = self._clock()
        self.verdicts[inspection.verdict] += 1
        self.gpu_memory = inspection.gpu_memory
        own = inspection.latency
        spent = (own.wait, own.decode, own.preprocess, own.infer, own.total)
        for place, ms in enumerate(spent):
            self._counts[place][bisect_left(_BOUNDS_MS, ms)] += 1
            self._sums[place] += ms
        self._recent.append(spent)

    def histograms(self) -> tuple[Histogram, ...]:
        """Of every stage."""
        return tuple(
            Histogram(stage, tuple(self._counts[place]), self._sums[place] / 1e3)
            for place, stage in enumerate(STAGES)
        )

    def recent(self) -> dict[str, Percentiles]:
        """By stage, of the last inspections, at most 500."""
        rows = tuple(self._recent)
        if not rows:
            return {}
        columns = zip(STAGES, zip(*rows, strict=True), strict=True)
        return {stage: percentiles(column) for stage, column in columns}
