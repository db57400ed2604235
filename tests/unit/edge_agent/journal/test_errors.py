"""What fails is told in words that say what to do."""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import closing

import pytest

from edge_agent.journal import Journal, JournalError
from edge_agent.journal.errors import explained, storage_failed
from tests.inspections import inspection, plain


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "journal.db"
    with Journal(path) as journal:
        journal.record([inspection(1)], plain)
    return path


def said(path, error):
    with pytest.raises(JournalError) as caught, explained(path):
        raise error
    return caught.value


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.EDQUOT, "quota"), (errno.ENOSPC, "is full: free some space")],
)
def test_an_io_error_that_is_one_of_room_is_waited_for(path, monkeypatch, code, words):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("edge_agent.journal.errors.os.pwrite", refuse)
    found = said(path, sqlite3.OperationalError("disk I/O error"))
    assert words in str(found)
    assert found.temporary
    assert "dmesg" not in str(found)


def test_any_other_io_error_is_the_disks(path):
    found = said(path, sqlite3.OperationalError("disk I/O error"))
    assert "Look at the disk (`dmesg`)" in str(found)
    assert not found.temporary


@pytest.mark.parametrize(
    "text",
    [
        "no such table: meta",
        "no such column: reason",
        "table inspections has no column named reason",
        "UNIQUE constraint failed: inspections.sequence",
        "database disk image is malformed",
        "malformed database schema (meta)",
    ],
)
def test_a_file_that_is_no_journal_is_no_matter_for_dmesg(path, text):
    found = said(path, sqlite3.OperationalError(text))
    assert "is damaged" in str(found)
    assert "docs/troubleshooting.md" in str(found)
    assert "dmesg" not in str(found)


def test_a_journal_without_a_table_is_refused_in_words(path):
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TABLE meta")
    with pytest.raises(JournalError, match=r"is damaged \(no such table: meta\)"):
        Journal(path)


def test_a_journal_that_is_gone_is_not_one_without_rights(path):
    error = sqlite3.OperationalError("attempt to write a readonly database")
    assert "not writable by this user" in str(said(path, error))
    path.unlink()
    assert "was moved or removed while it was in use" in str(said(path, error))


@pytest.mark.parametrize(
    ("code", "words", "temporary"),
    [
        (errno.ENOSPC, "is full", True),
        (errno.EDQUOT, "quota", True),
        (errno.EACCES, "not writable by this user", False),
        (errno.EIO, "dmesg", False),
    ],
)
def test_what_is_beside_the_journal(path, code, words, temporary):
    found = storage_failed(path, OSError(code, os.strerror(code)))
    assert words in str(found)
    assert found.temporary == temporary
