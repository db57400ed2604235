"""Opening a journal: made, migrated, or refused in words. Never silently empty."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from edge_agent.journal import Journal, JournalError, Outbox, tail
from edge_agent.journal.rows import COLUMNS, to_row
from edge_agent.journal.schema import MIGRATIONS, VERSION, open_writer
from tests.inspections import MODEL, inspection, plain

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "journal.db"
    with Journal(path) as journal:
        journal.record([inspection(n) for n in range(300)], plain)
    return path


def test_opening_again_keeps_everything(path):
    with Journal(path) as journal:
        assert journal._db.execute("PRAGMA user_version").fetchone() == (VERSION,)
    assert len(tail(path, 999)) == 300


@pytest.mark.parametrize("needs", [VERSION + 1, None])
def test_a_newer_journal_that_was_changed_is_refused(path, needs):
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE meta SET value = ? WHERE key = 'goes_with'", (needs or 1,))
        if needs is None:  # saved from a damaged one
            db.execute("DELETE FROM meta WHERE key = 'goes_with'")
        db.commit()
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    for opener in (Journal, Outbox, lambda p: tail(p, 1)):
        with pytest.raises(JournalError, match=r"newer edge-agent.*upgrade edge-inspect"):
            opener(path)


def test_a_journal_that_a_newer_program_only_added_to_goes_on(path, monkeypatch):
    """An upgrade that does not start is taken back: the station must run."""
    with monkeypatch.context() as patch:
        scripts = (*MIGRATIONS, "ALTER TABLE inspections ADD COLUMN weight REAL;")
        patch.setattr("edge_agent.journal.schema.MIGRATIONS", scripts)
        patch.setattr("edge_agent.journal.schema.VERSION", VERSION + 1)
        with Journal(path) as newer:
            newer.record([inspection(1000)], plain)

    with Journal(path) as journal:
        (message,) = journal.record([inspection(1001)], plain)

    assert message.sequence == 302
    assert len(tail(path, 999)) == 302
    with closing(Outbox(path)) as outbox:
        assert [one.sequence for one in outbox.pending(300, 9)] == [301, 302]
    with closing(sqlite3.connect(path)) as db:  # and the newer one finds what it made
        assert db.execute("PRAGMA user_version").fetchone() == (VERSION + 1,)


def test_flipped_bytes_are_refused(path):
    with path.open("r+b") as stream:
        for page in range(1, path.stat().st_size // 4096):
            stream.seek(page * 4096)
            stream.write(os.urandom(64))
    with pytest.raises(JournalError, match=r"is damaged.*troubleshooting"):
        Journal(path)


def test_a_flipped_header_is_refused(path):
    with path.open("r+b") as stream:
        stream.write(b"\0" * 100)
    with pytest.raises(JournalError, match=r"is damaged.*not a database"):
        Journal(path)


def test_a_truncated_file_is_refused(path):
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(JournalError, match="is damaged"):
        Journal(path)


@pytest.mark.parametrize("removed", [True, False])
def test_a_wal_without_its_database_is_refused(path, tmp_path, removed):
    with Journal(path) as journal:
        journal.record([inspection(1000)], plain)
        wal = (tmp_path / "journal.db-wal").read_bytes()
    assert wal
    (tmp_path / "journal.db-wal").write_bytes(wal)
    path.unlink() if removed else os.truncate(path, 0)
    with pytest.raises(JournalError, match=r"missing or empty, but journal\.db-wal is not"):
        Journal(path)
    assert (tmp_path / "journal.db-wal").read_bytes() == wal


def test_another_programs_database_is_left_alone(tmp_path):
    path = tmp_path / "theirs.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE customers (name TEXT)")
    before = path.read_bytes()
    with pytest.raises(JournalError, match="not a journal"):
        Journal(path)
    assert path.read_bytes() == before


def test_an_empty_file_is_a_start_that_was_cut_short(tmp_path):
    path = tmp_path / "journal.db"
    path.touch()
    with Journal(path) as journal:
        assert journal.record([inspection(1)], plain)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(JournalError, match="state is not a folder"):
        Journal(tmp_path / "state" / "journal.db")


def test_nobody_but_the_writer_makes_a_journal(tmp_path):
    path = tmp_path / "journal.db"
    with pytest.raises(JournalError, match="can't be opened"):
        Outbox(path)
    with pytest.raises(JournalError, match="there is no journal"):
        tail(path, 1)
    assert not path.exists()


def test_a_journal_that_may_not_be_seen_is_said_so(unprivileged):
    (unprivileged / "state").mkdir(mode=0)

    with pytest.raises(JournalError, match="can't be opened: Permission denied"):
        tail(unprivileged / "state" / "journal.db", 1)


def test_a_migration_that_fails_changes_nothing(tmp_path, monkeypatch):
    path = tmp_path / "journal.db"
    Journal(path).close()
    scripts = (*MIGRATIONS, "CREATE TABLE more (x); INSERT INTO nowhere VALUES (1);")
    monkeypatch.setattr("edge_agent.journal.schema.MIGRATIONS", scripts)
    monkeypatch.setattr("edge_agent.journal.schema.VERSION", VERSION + 1)
    with pytest.raises(JournalError, match="nowhere"):
        Journal(path)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (VERSION,)
        assert db.execute("SELECT * FROM sqlite_master WHERE name = 'more'").fetchone() is None


@pytest.mark.parametrize(
    "lost", ["DELETE FROM meta", "UPDATE meta SET value = 7 WHERE key = 'sequence'"]
)
def test_a_saved_journal_that_has_lost_its_count_goes_on_behind_its_rows(path, lost):
    with closing(sqlite3.connect(path)) as db:
        db.execute(lost)
        db.commit()

    with Journal(path) as journal:
        (message,) = journal.record([inspection(1000)], plain)

    assert message.sequence == 301


@pytest.mark.parametrize("version", range(1, VERSION))
def test_a_journal_of_an_earlier_version_is_migrated_and_keeps_everything(
    tmp_path, monkeypatch, version
):
    path = tmp_path / "journal.db"
    with monkeypatch.context() as patch:
        patch.setattr("edge_agent.journal.schema.MIGRATIONS", MIGRATIONS[:version])
        patch.setattr("edge_agent.journal.schema.VERSION", version)
        open_writer(path)[0].close()
    with closing(sqlite3.connect(path)) as db:
        columns = [row[1] for row in db.execute("PRAGMA table_info(inspections)")]
        for number in range(1, 6):
            row = dict(zip(COLUMNS, to_row(number, inspection(number)), strict=True))
            marks = ", ".join("?" * len(columns))
            values = [row[column] for column in columns]
            db.execute(f"INSERT INTO inspections VALUES ({marks})", values)
            message = (number, row["id"], 0, b"payload", None)
            names = "sequence, id, alarm, payload, acknowledged"
            db.execute(f"INSERT INTO outbox ({names}) VALUES (?, ?, ?, ?, ?)", message)
        db.execute("UPDATE outbox SET acknowledged = 50 WHERE sequence = 1")
        db.execute("UPDATE meta SET value = 5 WHERE key = 'sequence'")
        db.commit()

    with Journal(path) as journal:
        assert journal._db.execute("PRAGMA user_version").fetchone() == (VERSION,)
        (message,) = journal.record([inspection(6)], plain)

    assert message.sequence == 6
    kept = tail(path, 99)
    assert sorted(record.sequence for record in kept) == [1, 2, 3, 4, 5, 6]
    assert {record.inspection.id for record in kept} == {inspection(n).id for n in range(1, 7)}
    # What did not say which bundle judged is read as saying nothing of it.
    said = {record.inspection.model.digest for record in kept}
    assert said == ({MODEL.digest} if "digest" in columns else {"", MODEL.digest})
    with closing(Outbox(path)) as outbox:
        assert [one.sequence for one in outbox.pending(0, 99)] == [2, 3, 4, 5, 6]
        assert [one.payload for one in outbox.pending(0, 99)][:4] == [b"payload"] * 4
        assert outbox.replay(1, 1, 1).messages == 1
        outbox.acknowledge([1])
        assert outbox.prune(keep_seconds=10, now=100) == 1  # as old as it was
