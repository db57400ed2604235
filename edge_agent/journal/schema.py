"""The journal's tables, one script a version, and how a database is opened."""

from __future__ import annotations

import os
import re
import sqlite3
import time
from typing import TYPE_CHECKING

from edge_agent.journal.errors import JournalError, damaged, explained, left_open

if TYPE_CHECKING:
    from pathlib import Path

# How long the writer waits for another program's lock at a time: its thread moves the images.
BUSY_SECONDS = 2.0
_PATIENCE = 10.0  # seconds that all others wait
# "EIJ1": tells a journal from any other SQLite file.
_APPLICATION = 0x45494A31
# How long the start may spend reading an old and large journal. Damage that lies behind it is
# refused when it is read.
_CHECK_SECONDS = 2.0
_FAULTS = 20  # of a damaged journal, to be looked at
# What can be wrong with rows, while the file as such is whole: an index can be made anew, and a
# row that can't be read is told when it is read.
_OF_INDEXES = re.compile(r"missing from index|wrong # of entries in index|non-unique entry")
_OF_VALUES = re.compile(r"^(NULL|TEXT|NUMERIC|non-\w+) value in ")

# Script N brings version N - 1 to N. A script that was released is never changed.
MIGRATIONS = (
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    INSERT INTO meta VALUES ('sequence', 0);

    CREATE TABLE inspections (
        sequence INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        verdict TEXT NOT NULL,
        score REAL,
        threshold REAL NOT NULL,
        reason TEXT NOT NULL,
        name TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        width INTEGER NOT NULL,
        height INTEGER NOT NULL,
        captured REAL NOT NULL,
        received REAL NOT NULL,
        completed REAL NOT NULL,
        model TEXT NOT NULL,
        version TEXT NOT NULL,
        variant TEXT NOT NULL,
        provider TEXT NOT NULL,
        device TEXT NOT NULL,
        wait REAL NOT NULL,
        decode REAL NOT NULL,
        preprocess REAL NOT NULL,
        infer REAL NOT NULL,
        total REAL NOT NULL,
        worker_rss INTEGER NOT NULL,
        agent_rss INTEGER NOT NULL,
        regions TEXT NOT NULL
    );
    CREATE INDEX inspections_completed ON inspections (completed);

    CREATE TABLE outbox (
        sequence INTEGER PRIMARY KEY,
        id TEXT NOT NULL,
        alarm INTEGER NOT NULL,
        payload BLOB NOT NULL,
        acknowledged REAL
    );
    CREATE INDEX outbox_pending ON outbox (sequence) WHERE acknowledged IS NULL;

    CREATE TABLE attempts (
        id TEXT PRIMARY KEY,
        count INTEGER NOT NULL,
        at REAL NOT NULL
    ) WITHOUT ROWID;
    """,
    "ALTER TABLE inspections ADD COLUMN gpu_memory INTEGER;",
    "CREATE TABLE pruned (id TEXT PRIMARY KEY) WITHOUT ROWID;",
    """
    ALTER TABLE outbox ADD COLUMN reply TEXT;
    ALTER TABLE outbox ADD COLUMN correlation BLOB;
    """,
    # When a message that was replayed had been acknowledged at first: from then on it is kept.
    # And the oldest version whose program can go on with this journal, so that an upgrade can be
    # taken back. A script that changes what is there must raise it to its own version.
    """
    ALTER TABLE outbox ADD COLUMN first_acknowledged REAL;
    INSERT INTO meta VALUES ('goes_with', 5);
    """,
    # What is missing: told until it is acknowledged. And of how many numbers there is no
    # inspection: those that are deleted count themselves, whichever version deletes them.
    """
    CREATE TABLE losses (at REAL NOT NULL, what TEXT NOT NULL, acknowledged REAL);
    CREATE TRIGGER inspections_deleted AFTER DELETE ON inspections BEGIN
        UPDATE meta SET value = value + 1 WHERE key = 'absent';
    END;
    """,
    # What retention goes by: the images that are still there, how old inspections are by the
    # station's own clock, and the last look at that clock. All of it can be made again.
    """
    CREATE TABLE images (
        sequence INTEGER PRIMARY KEY,
        rank INTEGER NOT NULL,
        quarantined INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        stuck INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX images_order ON images (stuck, rank, sequence);

    CREATE TABLE timeline (sequence INTEGER PRIMARY KEY, at REAL NOT NULL);
    CREATE INDEX timeline_at ON timeline (at);

    CREATE TABLE clock (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        own REAL NOT NULL,
        wall REAL NOT NULL,
        uptime REAL NOT NULL,
        boot TEXT NOT NULL,
        sure REAL NOT NULL
    );
    DELETE FROM meta WHERE key IN ('passed_ok', 'passed_others');
    """,
    # Which bundle judged: the SHA-256 of its manifest; empty in rows of programs that did not say.
    "ALTER TABLE inspections ADD COLUMN digest TEXT NOT NULL DEFAULT '';",
    "ALTER TABLE inspections ADD COLUMN stored TEXT;",
)
VERSION = len(MIGRATIONS)


def open_writer(path: Path) -> tuple[sqlite3.Connection, str]:
    """Open the journal for its writer: created, migrated, checked.

    Returns:
        The connection, and what is wrong with the indexes; empty: nothing.

    Raises:
        JournalError: damaged, of a newer version, not a journal, or not accessible.
    """
    _refuse_leftovers(path)
    with explained(path):
        db = sqlite3.connect(
            path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        db.text_factory = _text
        try:
            return db, _prepare(path, db)
        except BaseException:
            db.close()
            raise


def open_outbox(path: Path) -> sqlite3.Connection:
    """Open an existing journal for its publisher, in the thread that will use it.

    Raises:
        JournalError: as `open_writer`.
    """
    with explained(path):
        db = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=rw",
            uri=True,
            timeout=_PATIENCE,
            isolation_level=None,
        )
        db.text_factory = _text
        try:
            _require(path, db)
            # Losing a power-cut's last acknowledgements makes repeats, which are allowed.
            db.execute("PRAGMA synchronous = NORMAL")
        except BaseException:
            db.close()
            raise
    return db


def open_reader(path: Path) -> sqlite3.Connection:
    """Open an existing journal read-only, also while a daemon writes it.

    Raises:
        JournalError: as `open_writer`.
    """
    uri = f"{path.resolve().as_uri()}?mode=ro"
    try:
        there = path.is_file()
    except OSError as error:
        raise JournalError(f"{path} can't be opened: {error.strerror}") from None
    if not there:
        raise JournalError(f"there is no journal at {path}: has the agent run with this state?")
    with explained(path):
        db = sqlite3.connect(uri, uri=True, timeout=_PATIENCE, isolation_level=None)
        try:
            try:
                _require(path, db)
            except sqlite3.OperationalError:
                # A stopped journal in a folder where this user may not create the WAL's index.
                wal = path.with_name(path.name + "-wal")
                if wal.exists():
                    if not os.access(path.parent, os.W_OK):
                        raise left_open(path, wal) from None
                    raise
                db.close()
                db = sqlite3.connect(f"{uri}&immutable=1", uri=True, isolation_level=None)
                _require(path, db)
        except BaseException:
            db.close()
            raise
    db.text_factory = _text
    return db


def _text(content: bytes) -> str:
    """A row with a text that is damaged must not hide the others."""
    return content.decode(errors="backslashreplace")


def _refuse_leftovers(path: Path) -> None:
    wal = path.with_name(path.name + "-wal")
    try:
        empty = not path.exists() or path.stat().st_size == 0
        if empty and wal.exists() and wal.stat().st_size > 0:
            # SQLite would delete the WAL, and with it inspections that were committed.
            raise damaged(path, f"it is missing or empty, but {wal.name} is not")
        if not path.parent.is_dir():
            raise JournalError(f"{path.parent} is not a folder: create it, or set another state")
    except OSError as error:
        raise JournalError(f"{path} can't be opened: {error.strerror}") from None


def _prepare(path: Path, db: sqlite3.Connection) -> str:
    version = _version(path, db)
    wrong = _check(path, db) if version else ""
    mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise JournalError(
            f"{path} lies on a filesystem without shared memory, such as a network share: "
            "keep the journal on a local disk"
        )
    # FULL: measured with a simulated power cut, NORMAL lost every committed row since the last
    # checkpoint, FULL none.
    db.execute("PRAGMA synchronous = FULL")
    # After a reader has held up checkpoints, give the room back.
    db.execute(f"PRAGMA journal_size_limit = {16 << 20}")
    for number in range(version + 1, VERSION + 1):
        db.executescript(
            f"BEGIN IMMEDIATE; {MIGRATIONS[number - 1]} PRAGMA application_id = {_APPLICATION};"
            f"PRAGMA user_version = {number}; COMMIT;"
        )
    return wrong


def _version(path: Path, db: sqlite3.Connection) -> int:
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    application = db.execute("PRAGMA application_id").fetchone()[0]
    tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application != _APPLICATION and (tables or version):
        raise JournalError(f"{path} is an SQLite database, but not a journal: move it away")
    if version > VERSION and not _goes_with(db):
        raise JournalError(
            f"{path} was written by a newer edge-agent (journal version {version}, this one "
            f"knows {VERSION}): upgrade edge-inspect on this machine"
        )
    return version


def _goes_with(db: sqlite3.Connection) -> bool:
    """Whether a newer program has only added to what this one knows."""
    row = db.execute("SELECT value FROM meta WHERE key = 'goes_with'").fetchone()
    return row is not None and row[0] <= VERSION


def _require(path: Path, db: sqlite3.Connection) -> None:
    version = _version(path, db)
    if version < VERSION:
        raise JournalError(
            f"{path} is of version {version}, this program needs {VERSION}: "
            "start the agent once, it migrates its journal"
        )


def _check(path: Path, db: sqlite3.Connection) -> str:
    """What is wrong with the indexes; empty: nothing. Whatever else is wrong is refused."""
    deadline = time.monotonic() + _CHECK_SECONDS
    db.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
    try:
        found = [str(row[0]) for row in db.execute(f"PRAGMA integrity_check({_FAULTS})")]
    except sqlite3.OperationalError as error:
        if "interrupted" not in str(error):
            raise
        found = []
    finally:
        db.set_progress_handler(None, 0)
    wrong = [one for one in found if one != "ok" and not _OF_VALUES.search(one)]
    for one in wrong:
        if not _OF_INDEXES.search(one):
            raise damaged(path, one)
    return wrong[0] if wrong else ""
