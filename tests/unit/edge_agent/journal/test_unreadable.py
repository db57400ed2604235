"""A row that a disk or another program has damaged is named, and hides no other."""

from __future__ import annotations

import io
import json
import sqlite3
from contextlib import closing

import pytest

from edge_agent.journal import Archive, Journal, Outbox, Selection, Unreadable, export, stats, tail
from edge_agent.journal.archive import RANKS
from edge_agent.system.ownclock import Moment
from edge_agent.types import Recorded, Verdict
from tests.inspections import inspection, plain

FAULTS = {
    "another verdict": ("verdict = 'oj'", "verdict is 'oj'"),
    "no verdict": ("verdict = NULL", "verdict is nothing"),
    "no text": ("verdict = CAST(x'6f6bff' AS TEXT)", "verdict is 'ok\\\\xff'"),
    "text for a number": ("score = 'high'", "score is 'high'"),
    "no name": ("name = NULL", "name is nothing"),
    "bytes for a name": ("name = x'00ff'", "name is b'\\x00\\xff'"),
    "no time": ("completed = NULL", "completed is nothing"),
    "a time without end": ("completed = 9e999", "completed is inf"),
    "half a list": ("""regions = '[{"x": 1'""", """regions is '[{"x": 1'"""),
    "another list": ("regions = '[1, 2]'", "regions is '[1, 2]'"),
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "journal.db"
    with Journal(path) as journal:
        journal.record([inspection(n, Verdict.DEFECT) for n in range(1, 6)], plain)
    return path


@pytest.fixture(params=FAULTS)
def fault(request, path):
    change, said = FAULTS[request.param]
    with closing(sqlite3.connect(path)) as db:
        # As a damaged page does: without asking what a column takes.
        db.execute("PRAGMA writable_schema = ON")
        db.execute(
            "UPDATE sqlite_master SET sql = replace(sql, ' NOT NULL', '') "
            "WHERE name = 'inspections'"
        )
        db.commit()
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"UPDATE inspections SET {change} WHERE sequence = 3")
        db.commit()
    return said


def test_tail(path, fault):
    found = tail(path, 9)
    assert [row.sequence for row in found] == [1, 2, 3, 4, 5]
    assert found[2] == Unreadable(3, fault)


def test_export(path, fault):
    stream, told = io.StringIO(), []
    assert export(path, stream, "jsonl", tell=told.append) == 5
    rows = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [row["sequence"] for row in rows] == [1, 2, 3, 4, 5]
    assert rows[2]["reason"] == f"this row can't be read: {fault}"
    assert rows[2].keys() == rows[1].keys()
    assert told == [Unreadable(3, fault)]
    stream = io.StringIO(newline="")
    assert export(path, stream, "csv") == 5
    assert len(stream.getvalue().splitlines()) == 6


def test_stats(path, fault):
    found = stats(path)
    used = not fault.startswith(("score", "name", "regions"))
    assert found.count == (4 if used else 5)
    assert found.unreadable == ((Unreadable(3, fault),) if used else ())


def test_the_archive_leaves_it_and_goes_on(path, fault):
    with closing(Archive(path)) as archive:
        archive.take_up(None, Moment(9e12, 9e12, 1.0, "boot"))
        images = archive.images(rank=RANKS[1], after=0, upto=9, limit=9)
        assert {1, 2, 4, 5} <= {filed.sequence for filed in images}
        assert archive.prune(9, ranks=(), unsent=True) in (4, 5)


def test_the_writer_finds_it_and_says_so(path):
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE inspections SET verdict = 'oj' WHERE sequence = 3")
        db.commit()
    with Journal(path) as journal:
        assert journal.find(inspection(3).id) == Recorded(
            Verdict.ERROR, "its row in the journal can't be read: verdict is 'oj'", "", ""
        )


@pytest.mark.parametrize(
    "change", ["payload = 'words'", "id = x'00'", "alarm = 'loud'", "reply = x'00'"]
)
def test_a_message_that_can_not_be_read_holds_up_no_other(path, caplog, change):
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"UPDATE outbox SET {change} WHERE sequence = 3")
        db.commit()
    with closing(Outbox(path)) as outbox:
        found = [m.sequence for m in outbox.pending(0, 3)]
        more = [m.sequence for m in outbox.pending(found[-1], 3)]
    assert (found, more) == ([1, 2, 4], [5])
    assert caplog.text.count("message 3 can't be published: its row") == 1


def test_a_selection_shows_rows_that_can_not_be_told_apart(path):
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE inspections SET verdict = 'oj' WHERE sequence = 3")
        db.commit()
    stream = io.StringIO()
    assert export(path, stream, "jsonl", Selection(verdicts=frozenset({Verdict.OK}))) == 1
    assert json.loads(stream.getvalue())["sequence"] == 3


def test_a_number_of_many_digits_is_all_of_them(path):
    assert len(tail(path, 10**20)) == 5
