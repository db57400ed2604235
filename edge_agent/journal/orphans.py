"""Images that were filed away and that no row of the journal names."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.journal.errors import explained
from edge_agent.journal.schema import open_outbox
from edge_agent.system.text import printable

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator

RECOVERED = "recovered: "
"""What the reason of an inspection begins with that was made from an image alone."""

_TABLE = """
    CREATE TEMP TABLE file (
        path BLOB, quarantined INTEGER, id TEXT, name TEXT, size INTEGER, captured REAL,
        sha256 TEXT NOT NULL DEFAULT '', row INTEGER
    );
    CREATE INDEX temp.file_id ON file (id);
    CREATE INDEX temp.file_name ON file (name, size);
    CREATE INDEX temp.file_sha256 ON file (sha256);
    CREATE INDEX temp.file_row ON file (row);
"""
# A row that was made from an image whose file has yet to follow it names no file in processed/.
_FREE = "row IS NULL AND NOT (quarantined = 0 AND :recovered)"
_BY_ID = f"SELECT rowid FROM file WHERE id = :id AND {_FREE}"
_BY_NAME = (
    "SELECT rowid FROM file WHERE name = :name AND size = :bytes AND captured = :captured "
    f"AND {_FREE} LIMIT 1"
)
_BY_CONTENT = f"SELECT rowid FROM file WHERE sha256 = :sha256 AND {_FREE} LIMIT 1"


@dataclass(frozen=True)
class FiledImage:
    """An image in ``processed/`` or ``quarantine/``."""

    path: Path
    quarantined: bool
    id: str
    """The frame's identity, as far as its name or its note says it; otherwise empty."""
    size: int
    captured: float
    """Its mtime."""


@dataclass(frozen=True)
class Orphan:
    """One that no row names."""

    file: FiledImage
    sha256: str
    """Empty where it can't be read."""


def orphans(
    journal: Path, files: Iterable[FiledImage], sha256_of: Callable[[Path], str]
) -> Iterator[Orphan]:
    """The files that no row names; each row names one at most.

    By identity, then by name, size and time, then by content: only what the first two leave over
    is read. Needs no more memory for a million files; they are in a temporary table.

    Raises:
        JournalError: the journal can't be read.
    """
    with explained(journal), closing(open_outbox(journal)) as db:
        db.executescript(_TABLE)
        db.execute("BEGIN")
        db.executemany(
            "INSERT INTO file (path, quarantined, id, name, size, captured) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (
                (
                    os.fsencode(f.path),
                    f.quarantined,
                    f.id,
                    printable(f.path.name),
                    f.size,
                    f.captured,
                )
                for f in files
            ),
        )
        _match(db, _BY_ID)
        _match(db, _BY_NAME)
        for row, path in db.execute("SELECT rowid, path FROM file WHERE row IS NULL").fetchall():
            try:
                digest = sha256_of(Path(os.fsdecode(path)))
            except OSError:
                continue
            db.execute("UPDATE file SET sha256 = ? WHERE rowid = ?", (digest, row))
        _match(db, _BY_CONTENT)
        db.execute("COMMIT")
        for path, quarantined, id_, size, captured, digest in db.execute(
            "SELECT path, quarantined, id, size, captured, sha256 FROM file WHERE row IS NULL "
            "ORDER BY captured, path"
        ):
            file = FiledImage(Path(os.fsdecode(path)), bool(quarantined), id_, size, captured)
            yield Orphan(file, digest)


def _match(db: sqlite3.Connection, query: str) -> None:
    """Give each row that names none yet the file that the query finds for it."""
    for sequence, id_, name, size, captured, digest, recovered in db.execute(
        "SELECT sequence, id, name, bytes, captured, sha256, coalesce(reason LIKE ?, 0) "
        "FROM inspections "
        "WHERE NOT EXISTS (SELECT 1 FROM file WHERE file.row = sequence) ORDER BY sequence",
        (f"{RECOVERED}%",),
    ):
        if query is _BY_CONTENT and not digest:
            continue  # it could not be read
        values = {
            "id": id_, "name": name, "bytes": size, "captured": captured, "sha256": digest,
            "recovered": recovered,
        }  # fmt: skip
        found = db.execute(query, values).fetchone()
        if found:
            db.execute("UPDATE file SET row = ? WHERE rowid = ?", (sequence, found[0]))
