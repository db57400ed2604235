"""The journal is held to what stands outside of it: no silent loss, no number twice."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest

from edge_agent.journal import Journal, JournalError, Outbox, mark_of, missing
from edge_agent.journal.mark import Entry, Mark, read_mark
from tests.inspections import inspection, plain

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.db"


def killed(path: Path, numbers: range, to: Path) -> Path:
    """The files as a kill leaves them behind so many commits, in a folder of their own."""
    with Journal(path) as journal:
        for number in numbers:
            journal.record([inspection(number)], plain)
        to.mkdir()
        for file in path.parent.iterdir():
            if file.is_file():
                shutil.copyfile(file, to / file.name)
    return to / path.name


def wal_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def flip(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


def frames(path: Path) -> int:
    return (wal_of(path).stat().st_size - 32) // (24 + 4096)


DAMAGES = {
    "a bit in the middle": lambda p: flip(wal_of(p), 32 + (frames(p) // 2) * 4120 + 1000),
    "a bit in the last frame": lambda p: flip(wal_of(p), 32 + (frames(p) - 1) * 4120 + 1000),
    "a bit in the first frame": lambda p: flip(wal_of(p), 32 + 30),
    "a bit in the log's header": lambda p: flip(wal_of(p), 17),
    "cut": lambda p: os.truncate(wal_of(p), wal_of(p).stat().st_size // 2),
    "cut in a frame's header": lambda p: os.truncate(wal_of(p), 32 + 4120 + 5),
    "no log": lambda p: wal_of(p).unlink(),
    "an empty log": lambda p: os.truncate(wal_of(p), 0),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_a_damaged_log_has_lost_is_said_and_no_number_is_given_twice(path, tmp_path, damage):
    Journal(path).close()
    left = killed(path, range(1, 31), tmp_path / "left")
    DAMAGES[damage](left)

    with Journal(left) as journal:
        (loss,) = journal.losses
        (new,) = journal.record([inspection(99)], plain)

    assert re.match(r"inspections? (\d+ to )?30 (is|are) missing from journal\.db", loss)
    assert new.sequence > 30
    assert missing(left) == (loss,)
    with Journal(left) as journal:  # over restarts, until a person has said so; and but once
        assert journal.losses == (loss,)
        assert journal.record([inspection(100)], plain)[0].sequence == new.sequence + 1
        journal.acknowledge_losses()
        assert journal.losses == ()
    with Journal(left) as journal:
        assert journal.losses == ()
    assert missing(left) == ()


def test_a_kill_is_no_loss(path, tmp_path):
    left = killed(path, range(1, 31), tmp_path / "left")

    with Journal(left) as journal:
        assert journal.losses == ()
        assert journal.record([inspection(99)], plain)[0].sequence == 31


@pytest.mark.parametrize("removed", [1, 2, 3, 4, 5])
def test_frames_of_a_transaction_that_was_never_finished_are_no_loss(path, tmp_path, removed):
    """What a kill in the middle of a commit leaves: the mark is of the commit before."""
    left = killed(path, range(1, 31), tmp_path / "left")
    entry = read_mark(mark_of(left))
    mark = Mark(mark_of(left))
    mark.create(Entry(entry.journal, 29, entry.reserved))
    mark.close()
    os.truncate(wal_of(left), 32 + (frames(left) - removed) * 4120 + 2000)

    with Journal(left) as journal:
        assert journal.losses == ()
        assert journal.record([inspection(30)], plain)[0].sequence == 30


def test_a_mark_that_a_power_cut_has_set_back_is_no_loss(path, tmp_path):
    left = killed(path, range(1, 31), tmp_path / "left")
    entry = read_mark(mark_of(left))
    Mark(mark_of(left)).create(Entry(entry.journal, 0, entry.reserved))

    with Journal(left) as journal:
        assert journal.losses == ()
        assert journal.record([inspection(31)], plain)[0].sequence == 31


def test_frames_behind_a_bad_one_tell_what_an_old_mark_does_not(path, tmp_path):
    """A power cut takes the mark's last seconds, and the disk was damaged by it."""
    left = killed(path, range(1, 31), tmp_path / "left")
    entry = read_mark(mark_of(left))
    Mark(mark_of(left)).create(Entry(entry.journal, 0, entry.reserved))
    flip(wal_of(left), 32 + (frames(left) // 2) * 4120 + 1000)

    with Journal(left) as journal:
        (loss,) = journal.losses
        assert "to 30 are missing from journal.db: journal.db-wal is damaged" in loss
        assert journal.record([inspection(99)], plain)[0].sequence > entry.reserved


def test_an_older_copy_that_is_put_back_is_noticed(path, tmp_path):
    old = killed(path, range(1, 11), tmp_path / "old")
    with Journal(path) as journal:
        for number in range(11, 31):
            journal.record([inspection(number)], plain)
    with closing(sqlite3.connect(old)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copyfile(old, path)

    with Journal(path) as journal:
        (loss,) = journal.losses
        assert loss.startswith("inspections 11 to 30 are missing from journal.db")
        assert journal.record([inspection(99)], plain)[0].sequence > 30


def test_an_older_copy_beside_the_newer_log_is_noticed(path, tmp_path):
    """The log's pages are the newest, and what lies between is not there."""
    old = killed(path, range(1, 200), tmp_path / "old")
    with closing(sqlite3.connect(old)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with Journal(path) as journal:
        for number in range(200, 400):
            journal.record([inspection(number)], plain)
    left = killed(path, range(400, 420), tmp_path / "left")
    shutil.copyfile(old, left)
    wal_of(old).unlink(missing_ok=True)

    with suppress(JournalError), Journal(left) as journal:  # or it is refused
        assert journal.losses
        assert journal.record([inspection(999)], plain)[0].sequence > 419


@pytest.mark.parametrize("how", ["removed", "empty"])
def test_a_journal_that_is_begun_anew_says_so_and_goes_on_above(path, how):
    with Journal(path) as journal:
        journal.record([inspection(n) for n in range(1, 31)], plain)
    path.unlink() if how == "removed" else os.truncate(path, 0)

    with Journal(path) as journal:
        (loss,) = journal.losses
        assert loss == "journal.db was begun anew: inspections up to number 30 are not in it"
        assert journal.record([inspection(1)], plain)[0].sequence > 30
    with Journal(path) as journal:
        assert journal.losses == (loss,)


def test_another_stations_journal_is_noticed(path, tmp_path):
    with Journal(path) as journal:
        journal.record([inspection(n) for n in range(1, 31)], plain)
    (tmp_path / "other").mkdir()
    with Journal(tmp_path / "other" / "journal.db") as other:
        other.record([inspection(n) for n in range(1, 501)], plain)
    shutil.copyfile(tmp_path / "other" / "journal.db", path)

    with Journal(path) as journal:
        assert journal.losses == (
            "journal.db is another journal than the one that gave numbers up to 30",
        )
        assert journal.record([inspection(999)], plain)[0].sequence > 500


@pytest.mark.parametrize("how", ["removed", "damaged", "empty"])
def test_without_its_mark_numbers_are_left_out(path, how):
    with Journal(path) as journal:
        journal.record([inspection(n) for n in range(1, 31)], plain)
    mark = mark_of(path)
    if how == "removed":
        mark.unlink()
    elif how == "damaged":
        flip(mark, 20)
    else:
        os.truncate(mark, 0)

    with Journal(path) as journal:
        (loss,) = journal.losses
        assert loss.startswith("journal.mark is missing or damaged")
        assert journal.record([inspection(99)], plain)[0].sequence == 1_000_031
    with Journal(path) as journal:
        assert journal.losses == (loss,)


def test_rows_that_are_missing_from_the_middle_are_counted(path):
    with Journal(path) as journal:
        journal.record([inspection(n) for n in range(1, 31)], plain)
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TRIGGER inspections_deleted")  # as no deletion of ours is
        db.execute("DELETE FROM inspections WHERE sequence BETWEEN 7 AND 9")
        db.commit()

    with Journal(path) as journal:
        assert journal.losses == ("3 inspections up to number 30 are missing from journal.db",)
        assert journal.record([inspection(99)], plain)[0].sequence == 31
        journal.acknowledge_losses()
    with Journal(path) as journal:
        assert journal.losses == ()


def test_what_was_deleted_is_not_missing(path):
    with Journal(path) as journal:
        journal.record([inspection(n) for n in range(1, 31)], plain)
    with closing(sqlite3.connect(path)) as db:
        db.execute("DELETE FROM inspections WHERE sequence BETWEEN 7 AND 9")
        db.commit()
    with Journal(path) as journal:
        assert journal.losses == ()


def test_an_index_that_does_not_fit_its_rows_is_said_and_made_anew(path):
    with Journal(path) as journal:
        journal.record([inspection(n) for n in range(1, 31)], plain)
    content = path.read_bytes()
    id_ = inspection(7).id.encode()
    place = content.index(id_)
    path.write_bytes(content[:place] + b"X" + content[place + 1 :])

    with Journal(path) as journal:
        (loss,) = journal.losses
        assert "indexes of journal.db did not fit its rows" in loss
        assert journal._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_nothing_is_published_before_the_mark_knows_of_it(path):
    """A kill between the commit and the mark would otherwise hide what was published."""
    with Journal(path) as journal, closing(Outbox(path)) as outbox:
        journal.record([inspection(1)], plain)
        journal._mark.committed = lambda sequence: None
        journal.record([inspection(2)], plain)
        assert [m.sequence for m in outbox.pending(0, 9)] == [1]


def test_numbers_are_reserved_on_the_disk_and_seldom(path, monkeypatch):
    synced = []
    fdatasync = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda file: synced.append(file) or fdatasync(file))
    with Journal(path) as journal:
        for number in range(0, 2500, 50):
            journal.record([inspection(n) for n in range(number, number + 50)], plain)
            assert read_mark(mark_of(path)).reserved >= read_mark(mark_of(path)).last
        assert len(synced) == 3
    assert read_mark(mark_of(path)).last == 2500
