"""The end of a journal, and what comes to it."""

from __future__ import annotations

from itertools import islice

import pytest

from edge_agent.journal import Journal, follow, tail
from edge_agent.types import Verdict
from tests.inspections import inspection, plain


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "journal.db"
    with Journal(path) as journal:
        journal.record([inspection(n) for n in range(1, 21)], plain)
        journal.record([inspection(n, Verdict.DEFECT) for n in (21, 22)], plain)
        journal.record([inspection(23, Verdict.ERROR, name='a,"b".png')], plain)
    return path


def test_the_end_oldest_first(path):
    assert [r.sequence for r in tail(path, 3)] == [21, 22, 23]
    assert tail(path, 1)[0].inspection == inspection(23, Verdict.ERROR, name='a,"b".png')
    assert tail(path, 0) == []


def test_of_some_verdicts_alone(path):
    assert [r.sequence for r in tail(path, 2, {Verdict.OK})] == [19, 20]
    assert [r.sequence for r in tail(path, 9, {Verdict.DEFECT, Verdict.ERROR})] == [21, 22, 23]


@pytest.mark.parametrize(("count", "wanted"), [(1, [23, 25, 27, 28]), (0, [25, 27, 28])])
def test_what_comes_is_followed_and_nothing_is_given_twice(path, count, wanted):
    with Journal(path) as journal:
        more = iter(
            [
                [inspection(24), inspection(25, Verdict.ERROR)],
                [],
                [inspection(26)],
                [inspection(27, Verdict.DEFECT), inspection(28, Verdict.ERROR)],
            ]
        )
        followed = follow(
            path, count, {Verdict.DEFECT, Verdict.ERROR}, lambda: journal.record(next(more), plain)
        )
        assert [r.sequence for r in islice(followed, len(wanted))] == wanted


def test_a_journal_without_a_row_is_followed(tmp_path):
    with Journal(tmp_path / "journal.db") as journal:
        followed = follow(journal.path, 5, (), lambda: journal.record([inspection(1)], plain))
        assert next(followed).sequence == 1
