"""One durable transaction: an inspection once, with its message, in a gapless sequence."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edge_agent.journal import Journal, JournalError, Outbox, tail
from edge_agent.types import Verdict
from tests.inspections import inspection, plain


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def test_a_batch_gets_sequence_and_messages(path):
    with Journal(path) as journal:
        messages = journal.record(
            [inspection(1), inspection(2, Verdict.DEFECT), inspection(3, Verdict.ERROR)], plain
        )
    assert [m.sequence for m in messages] == [1, 2, 3]
    assert [m.alarm for m in messages] == [False, True, True]
    assert messages[1].payload == f"2 {inspection(2).id}".encode()
    assert Outbox(path).pending(0, 10) == messages
    assert [r.inspection for r in tail(path, 10)] == [
        inspection(1),
        inspection(2, Verdict.DEFECT),
        inspection(3, Verdict.ERROR),
    ]


def test_the_first_inspection_of_a_frame_stands(path):
    with Journal(path) as journal:
        journal.record([inspection(1), inspection(2)], plain)
        again = journal.record(
            [inspection(2, Verdict.DEFECT), inspection(3), inspection(3, Verdict.DEFECT)], plain
        )
        assert [(m.sequence, m.id) for m in again] == [(3, inspection(3).id)]
        assert all(journal.has(inspection(n).id) for n in (1, 2, 3))
        assert not journal.has("other")
    assert [r.inspection.verdict for r in tail(path, 9)] == [Verdict.OK] * 3


def test_a_number_is_never_given_twice(path):
    with Journal(path) as journal:
        journal.record([inspection(1), inspection(2)], plain)
    with sqlite3.connect(path) as db:  # what pruning will do
        db.execute("DELETE FROM inspections")
        db.execute("DELETE FROM outbox")
    db.close()
    with Journal(path) as journal:
        assert journal.record([inspection(3)], plain)[0].sequence == 3


def test_a_batch_that_fails_leaves_nothing(path):
    def render(sequence, made):
        if sequence == 2:
            raise ValueError("no payload")
        return plain(sequence, made)

    with Journal(path) as journal:
        with pytest.raises(ValueError, match="no payload"):
            journal.record([inspection(1), inspection(2)], render)
        assert not journal.has(inspection(1).id)
        assert [m.sequence for m in journal.record([inspection(2)], plain)] == [1]


def test_attempts_survive_a_restart_and_end_with_the_inspection(path):
    frame = inspection(1).id
    with Journal(path) as journal:
        assert journal.attempts(frame) == 0
        assert [journal.add_attempts(frame), journal.add_attempts(frame)] == [1, 2]
    with Journal(path) as journal:
        assert journal.attempts(frame) == 2
        journal.record([inspection(1)], plain)
        assert journal.attempts(frame) == 0


def test_text_that_sqlite_would_refuse_is_made_printable(path):
    made = inspection(1, Verdict.ERROR, reason="can't read '\udcff\n'", name="a\x00b.png")
    with Journal(path) as journal:
        journal.record([made], plain)
    stored = tail(path, 1)[0].inspection
    assert stored.reason == "can't read '\\udcff\\n'"
    assert stored.name == "a\\x00b.png"


def test_every_commit_is_synced(path):
    with Journal(path) as journal:
        assert journal._db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        assert journal._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_threads_do_not_mix_their_transactions(path):
    with Journal(path) as journal:

        def write(start):
            for n in range(start, start + 40):
                journal.record([inspection(n), inspection(n + 1000)], plain)

        threads = [threading.Thread(target=write, args=(n,)) for n in (0, 100, 200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [r.sequence for r in tail(path, 999)] == list(range(1, 241))


def test_what_was_committed_is_there_after_a_kill(path):
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from edge_agent.journal import Journal\n"
        "from tests.inspections import inspection, plain\n"
        "journal = Journal(Path(sys.argv[1]))\n"
        "journal.record([inspection(n) for n in range(5)], plain)\n"
        "journal._db.execute('BEGIN IMMEDIATE')\n"
        "journal._db.execute('DELETE FROM inspections')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).parents[4]
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=root, check=False)
    assert done.returncode == -9
    with Journal(path) as journal:
        assert journal.record([inspection(9)], plain)[0].sequence == 6
    assert len(tail(path, 99)) == 6


def test_full_is_told_apart_rolled_back_and_got_over(path):
    with Journal(path) as journal:
        journal.record([inspection(1)], plain)
        pages = journal._db.execute("PRAGMA page_count").fetchone()[0]
        journal._db.execute(f"PRAGMA max_page_count = {pages + 1}")
        with pytest.raises(JournalError, match="full: free some space") as caught:
            journal.record([inspection(n) for n in range(2, 200)], plain)
        assert caught.value.full
        assert not journal.has(inspection(2).id)
        journal._db.execute("PRAGMA max_page_count = 1000000")
        assert [m.sequence for m in journal.record([inspection(2)], plain)] == [2]


def test_a_locked_journal_is_said(path, monkeypatch):
    monkeypatch.setattr("edge_agent.journal.schema.BUSY_SECONDS", 0.05)
    with Journal(path) as journal:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError, match="locked") as caught:
            journal.record([inspection(1)], plain)
        assert not caught.value.full
        assert caught.value.temporary
        other.execute("ROLLBACK")
        other.close()
        assert journal.record([inspection(1)], plain)
