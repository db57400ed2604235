"""Counts by hour, day or shift. Read-only, beside the daemon."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_agent.journal.errors import explained
from edge_agent.journal.reports import defect_rate, select
from edge_agent.journal.rows import fault_of
from edge_agent.journal.schema import open_reader
from edge_agent.types import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge_agent.journal.reports import Selection

_COLUMNS = ("verdict", "completed")
_GRAIN = 60.0  # seconds: periods begin with whole minutes


@dataclass(frozen=True)
class PeriodCount:
    """What was judged in one stretch of time."""

    start: float
    """Seconds since the epoch."""
    verdicts: dict[Verdict, int]
    defect_rate: float | None
    """Defects per image that could be judged; None where there is none."""


def count_periods(
    path: Path, begin: Callable[[float], float], selection: Selection
) -> list[PeriodCount]:
    """Counts of the selected inspections by when they were completed, in order of time.

    Args:
        path: of the journal.
        begin: of the period that a time lies in; both seconds since the epoch.
        selection: which inspections. Rows that can't be read are passed over: `stats` names them.

    Raises:
        JournalError: there is no journal, or it can't be read.
    """
    begins: dict[float, float] = {}
    found: dict[float, dict[Verdict, int]] = {}
    with explained(path), closing(open_reader(path)) as db:
        for row in select(db, _COLUMNS, selection):
            if fault_of(dict(zip(_COLUMNS, row, strict=True))):
                continue
            verdict, completed = row
            minute = completed // _GRAIN
            if minute not in begins:
                begins[minute] = begin(completed)
            verdicts = found.setdefault(begins[minute], dict.fromkeys(Verdict, 0))
            verdicts[Verdict(verdict)] += 1
    return [
        PeriodCount(start, counts, defect_rate(counts)) for start, counts in sorted(found.items())
    ]
