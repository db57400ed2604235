"""At the start: whether the journal still holds what was published, and where numbers go on.

The journal can't vouch for itself: SQLite takes a damaged log for a shorter one, and an old copy
for the journal. So it is held to its mark, to its log, and to a count of its own. What is missing
is written down in the journal, and told until a person has acknowledged it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_agent.journal.errors import explained, storage_failed
from edge_agent.journal.mark import DAMAGED, Entry, read_mark
from edge_agent.journal.transaction import transaction
from edge_agent.journal.wal import numbers_in

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Container, Iterator
    from pathlib import Path

    from edge_agent.journal.mark import Mark

_UNKNOWN = 1_000_000  # numbers that are left out where nobody knows which were given


@dataclass(frozen=True)
class _Found:
    """What the journal says of itself."""

    identity: int | None
    """None: of an earlier version, or new."""
    last: int
    """The last number."""
    count: int
    """Inspections."""
    absent: int | None
    """How many numbers up to the last have none: deleted, or left out."""


def reconcile(path: Path, db: sqlite3.Connection, mark: Mark, indexes: str, now: float) -> None:
    """Find out what is missing, write it down, and let numbers go on above all that were given.

    May be cut short at any call: the next start finds the same, or what was written down.

    Args:
        path: of the journal.
        db: opened and migrated, and not written to since.
        mark: is opened here.
        indexes: what is wrong with them; empty: nothing.
        now: wall clock.

    Raises:
        JournalError: it can't be read or written.
    """
    with explained(path):
        found = _look(db)
        entry = read_mark(mark.path)
        losses = list(_losses(path, db, found, entry, mark.path))
        last = found.last
        if losses:  # at the end
            known = found.last + _UNKNOWN if entry is None or entry is DAMAGED else entry.reserved
            last = max(found.last, known)
        losses += _holes(path, found)
        if indexes:
            losses.append(f"indexes of {path.name} did not fit its rows ({indexes})")
        witness = None if entry is DAMAGED else entry
        identity = witness.journal if witness else found.identity or _new_identity()
        first = found.identity is None
        if witness:
            mark.open(witness)
        elif first:  # before the journal says that it has one
            mark.create(Entry(identity, last, last))
        wanted = {"identity": identity, "sequence": last, "absent": last - found.count}
        if losses or wanted != _numbers(db, wanted):
            with transaction(path, db):
                if indexes:
                    db.execute("REINDEX")
                db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", wanted.items())
                db.executemany(
                    "INSERT INTO losses (at, what) VALUES (?, ?)", ((now, what) for what in losses)
                )
        if not witness and not first:
            mark.create(Entry(identity, last, last))
        mark.reserve(last)
        mark.committed(last)


def _new_identity() -> int:
    return random.SystemRandom().getrandbits(62)


def _look(db: sqlite3.Connection) -> _Found:
    known = _numbers(db, ("identity", "sequence", "absent"))
    count, inspected, sent = db.execute(
        "SELECT (SELECT count(*) FROM inspections), "
        "(SELECT max(sequence) FROM inspections), (SELECT max(sequence) FROM outbox)"
    ).fetchone()
    # A journal that was saved from a damaged one may have lost the last number that was given.
    last = max(known.get("sequence", 0), inspected or 0, sent or 0)
    return _Found(known.get("identity"), last, count, known.get("absent"))


def _numbers(db: sqlite3.Connection, keys: Container[str]) -> dict[str, int]:
    rows = db.execute("SELECT key, value FROM meta").fetchall()
    return {key: value for key, value in rows if key in keys and isinstance(value, int)}


def _losses(
    path: Path, db: sqlite3.Connection, found: _Found, entry: Entry | None, mark: Path
) -> Iterator[str]:
    """What is missing behind the journal's end."""
    new = found.identity is None and found.last == 0
    if entry is DAMAGED or (entry is None and found.identity is not None and found.last):
        yield (
            f"{mark.name} is missing or damaged: whether inspections behind number {found.last} "
            "are missing is not known"
        )
    elif entry is None:
        return
    elif new and entry.reserved:
        yield f"{path.name} was begun anew: inspections up to number {entry.last} are not in it"
    elif found.identity not in (None, entry.journal):
        yield (f"{path.name} is another journal than the one that gave numbers up to {entry.last}")
    elif found.last < entry.last:
        yield (
            f"{missing_from(path, found.last, entry.last)}: it or {path.name}-wal was damaged, "
            "removed, or exchanged for an older copy"
        )
    elif given := _behind(path, db, found.last, entry.reserved):
        yield f"{missing_from(path, found.last, given)}: {path.name}-wal is damaged"


def missing_from(path: Path, last: int, given: int) -> str:
    """The numbers behind the last one of the journal, up to the last that was given, in words."""
    if given == last + 1:
        return f"inspection {given} is missing from {path.name}"
    return f"inspections {last + 1} to {given} are missing from {path.name}"


def _behind(path: Path, db: sqlite3.Connection, last: int, reserved: int) -> int:
    """The last number of transactions behind a damaged frame of the log; 0: there is none.

    One transaction may be there that was never finished: a kill or a power cut has ended it. A
    second one was begun only when the first was on the disk.
    """
    (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'meta'").fetchone()
    (size,) = db.execute("PRAGMA page_size").fetchone()
    try:
        found = numbers_in(path.with_name(path.name + "-wal"), page, size)
    except OSError as error:
        raise storage_failed(path, error) from error
    given = [number for number in found if last < number <= reserved]
    return max(given) if len(given) > 1 else 0


def _holes(path: Path, found: _Found) -> Iterator[str]:
    """What is missing in its middle."""
    if found.absent is None:
        return
    missing = found.last - found.absent - found.count
    if missing > 0:
        yield f"{missing} inspections up to number {found.last} are missing from {path.name}"
    elif missing < 0:
        yield f"{path.name} holds {-missing} inspections more than it has counted: it was damaged"


def unacknowledged(db: sqlite3.Connection) -> tuple[str, ...]:
    """What is missing and was not acknowledged, oldest first."""
    rows = db.execute("SELECT what FROM losses WHERE acknowledged IS NULL ORDER BY rowid")
    return tuple(dict.fromkeys(str(what) for (what,) in rows))
