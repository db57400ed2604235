"""Counts by stretches of time."""

from __future__ import annotations

from edge_agent.journal import Journal, Selection, count_periods
from edge_agent.types import Verdict
from tests.inspections import inspection, plain


def test_counts_by_when_they_were_completed(tmp_path):
    path = tmp_path / "journal.db"
    at = [(5.0, Verdict.OK), (7199.0, Verdict.DEFECT), (7200.0, Verdict.ERROR), (3.0, Verdict.OK)]
    at += [(3600.0, Verdict.OK), (3700.0, Verdict.ERROR), (1e300, Verdict.OK)]
    with Journal(path) as journal:
        journal.record([inspection(n, v, completed=t) for n, (t, v) in enumerate(at)], plain)

    found = count_periods(path, lambda t: t // 3600 * 3600, Selection(until=1e6))

    assert [one.start for one in found] == [0.0, 3600.0, 7200.0]
    assert [list(one.verdicts.values()) for one in found] == [
        *([2, 0, 0, 0], [1, 1, 0, 1], [0, 0, 0, 1])
    ]
    assert [one.defect_rate for one in found] == [0.0, 0.5, None]
    assert sum(found[1].verdicts.values()) == 3
    only = Selection(verdicts=frozenset({Verdict.ERROR}), until=1e6)
    assert [one.start for one in count_periods(path, lambda t: t // 3600 * 3600, only)] == [
        *(3600.0, 7200.0)
    ]
