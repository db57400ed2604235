"""The housekeeping side: what is old, and taking it out while the station works.

Every image is known by a row in ``images`` until its file is gone, and every inspection by its
place on ``timeline``, which says how old it is. A round costs what has come and what goes.

Nothing is vacuumed: the room of deleted rows is used again by new ones, so the file stops
growing, and no statement ever rewrites all of it.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_agent.journal.errors import explained
from edge_agent.journal.schema import open_outbox, open_reader
from edge_agent.journal.transaction import transaction
from edge_agent.system.ownclock import Moment
from edge_agent.types import Verdict

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable
    from pathlib import Path

_STEP = 200  # rows in one transaction: the writer waits for no longer than that
_PAUSE = 0.02  # seconds between two, in which the writer gets its turn
_DAY = 86_400.0
# Of a row that can't be read nobody knows what it says of which image: neither is touched.
_READABLE = (
    "typeof(inspections.id) = 'text' AND typeof(name) = 'text' AND typeof(sha256) = 'text' "
    "AND typeof(received) = 'real' AND verdict IN ('ok', 'defect', 'review', 'error')"
)
_GRAIN = 60.0  # seconds: inspections of one minute count as old as the last of them
_FIRST = 1_767_225_600.0  # 2026: no agent ran before, whatever a clock said

# Which images go first: all of one rank, oldest first, before any of the next. What a person has
# yet to look at goes last; so will what a person has labelled.
_RANKS = {Verdict.OK: 0, Verdict.DEFECT: 1, Verdict.ERROR: 1, Verdict.REVIEW: 2}
RANKS = tuple(sorted(set(_RANKS.values())))
OK_RANK = _RANKS[Verdict.OK]


@dataclass(frozen=True)
class Filed:
    """What the journal knows of an image that was filed away."""

    sequence: int
    id: str
    name: str
    sha256: str
    """Empty where the file could not be read."""
    quarantined: bool
    bytes: int


@dataclass(frozen=True)
class Held:
    """How many images there are, as far as the journal knows."""

    images: int
    """That can be deleted."""
    stuck: int
    """That could not be deleted at the last try."""
    bytes: int
    """Of those that can be."""


class Archive:
    """A journal that `Journal` has opened before. Belongs to the thread that made it.

    Every method raises `JournalError` where the database fails.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = open_outbox(path)

    # -- time --------------------------------------------------------------------------------

    def last_look(self) -> tuple[Moment | None, float]:
        """The last look at the clocks that was kept, and the own time from which ages are sure."""
        with explained(self.path):
            row = self._db.execute("SELECT own, wall, uptime, boot, sure FROM clock").fetchone()
        return (Moment(*row[:4]), float(row[4])) if row else (None, float("-inf"))

    def keep_look(self, now: Moment, sure: float) -> None:
        """Keep a look at the clocks for the next one, also after a restart."""
        with transaction(self.path, self._db) as db:
            db.execute(
                "INSERT OR REPLACE INTO clock (one, own, wall, uptime, boot, sure) "
                "VALUES (1, ?, ?, ?, ?, ?)",
                (now.own, now.wall, now.uptime, now.boot, sure),
            )

    def take_up(self, last: Moment | None, now: Moment) -> None:
        """Take up what was judged since the last look: its image, and its place in time.

        An inspection says when it was made by a wall clock that may have been wrong. It is
        believed as far as it lies between two looks; otherwise it counts as made now. None is
        older than one of a lower sequence.
        """
        with explained(self.path):
            tip = self._db.execute(
                "SELECT sequence, at FROM timeline ORDER BY sequence DESC LIMIT 1"
            ).fetchone() or (0, float("-inf"))
        while True:
            with explained(self.path):
                rows = self._db.execute(
                    "SELECT sequence, verdict, bytes, completed FROM inspections "
                    f"WHERE sequence > ? AND {_READABLE} AND typeof(completed) = 'real' "
                    "AND typeof(bytes) = 'integer' ORDER BY sequence LIMIT ?",
                    (tip[0], _STEP),
                ).fetchall()
            if not rows:
                return
            marks = {_minute(tip[1]): tip} if tip[0] else {}
            for sequence, _, _, completed in rows:
                tip = (sequence, max(tip[1], _own_time(completed, last, now)))
                marks[_minute(tip[1])] = tip
            with transaction(self.path, self._db) as db:
                db.execute(
                    "DELETE FROM timeline WHERE sequence = (SELECT max(sequence) FROM timeline)"
                )
                db.executemany(
                    "INSERT OR IGNORE INTO timeline (sequence, at) VALUES (?, ?)", marks.values()
                )
                db.executemany(
                    "INSERT OR IGNORE INTO images (sequence, rank, quarantined, bytes) "
                    "VALUES (?, ?, ?, ?)",
                    (
                        (row[0], _rank(row[1]), row[1] == Verdict.ERROR.value, row[2])
                        for row in rows
                    ),
                )
            if len(rows) < _STEP:
                return
            time.sleep(_PAUSE)

    def last_before(self, own: float) -> int:
        """The last sequence that is older than a time of the own clock; 0: none is."""
        with explained(self.path):
            row = self._db.execute(
                "SELECT sequence FROM timeline WHERE at < ? ORDER BY at DESC, sequence DESC "
                "LIMIT 1",
                (own,),
            ).fetchone()
        return int(row[0]) if row else 0

    # -- images ------------------------------------------------------------------------------

    def images(
        self,
        *,
        rank: int,
        after: int,
        upto: int,
        limit: int,
        stuck: bool = False,
        quarantined: bool | None = None,
    ) -> list[Filed]:
        """The oldest images of a rank.

        Args:
            rank: one of ``RANKS``.
            after: the sequence behind which to begin.
            upto: the last sequence that may be among them.
            limit: how many at most.
            stuck: those that could not be deleted; otherwise all others.
            quarantined: those in quarantine, or those that are not; None: both.
        """
        with explained(self.path):
            rows = self._db.execute(
                "SELECT sequence, id, name, sha256, quarantined, images.bytes "
                "FROM images INDEXED BY images_order JOIN inspections USING (sequence) "
                f"WHERE {_READABLE} AND stuck = ? AND rank = ? "
                "AND images.sequence > ? AND images.sequence <= ? "
                "AND (? IS NULL OR quarantined = ?) ORDER BY images.sequence LIMIT ?",
                (stuck, rank, after, upto, quarantined, quarantined, limit),
            ).fetchall()
        return [
            Filed(sequence, id_, name, sha256, bool(aside), size)
            for sequence, id_, name, sha256, aside, size in rows
        ]

    def gone(self, sequences: Iterable[int]) -> None:
        """These images are not there any more."""
        with transaction(self.path, self._db) as db:
            db.executemany("DELETE FROM images WHERE sequence = ?", ((s,) for s in sequences))

    def mark_stuck(self, sequences: Iterable[int]) -> None:
        """These images could not be deleted: they do not count, and are tried again apart."""
        with transaction(self.path, self._db) as db:
            db.executemany(
                "UPDATE images SET stuck = 1 WHERE sequence = ?", ((s,) for s in sequences)
            )

    def held(self, *, quarantined: bool | None = None) -> Held:
        """How many images there are: in quarantine, elsewhere, or both."""
        with explained(self.path):
            return _held(self._db, quarantined)

    # -- inspections -------------------------------------------------------------------------

    def prune(self, upto: int, *, ranks: Iterable[int], unsent: bool) -> int:
        """Delete inspections up to a sequence, oldest first; return how many.

        One whose message is kept, to be sent or replayed, is kept with it.

        Args:
            upto: the last one that may go.
            ranks: of images that go some day: without its inspection one would never be found
                again.
            unsent: there is no broker: their messages go with them.
        """
        deleted, last = 0, 0
        kept = ",".join(str(rank) for rank in ranks)
        while True:
            with explained(self.path):  # outside of a transaction: it may have to walk far
                rows = self._db.execute(
                    "SELECT sequence, id, received FROM inspections "
                    f"WHERE {_READABLE} AND sequence > ? AND sequence <= ? "
                    "AND NOT EXISTS (SELECT 1 FROM images WHERE "
                    f"images.sequence = inspections.sequence AND images.rank IN ({kept})) "
                    "AND (? OR NOT EXISTS (SELECT 1 FROM outbox "
                    "WHERE outbox.sequence = inspections.sequence)) "
                    "ORDER BY sequence LIMIT ?",
                    (last, upto, unsent, _STEP),
                ).fetchall()
            if not rows:
                self._shorten_timeline()
                return deleted
            gone = [(row[0],) for row in rows]
            again = [(id_,) for _, id_, received in rows if may_come_again(id_, received)]
            with transaction(self.path, self._db) as db:
                db.executemany("DELETE FROM outbox WHERE sequence = ?", gone)
                db.executemany("DELETE FROM images WHERE sequence = ?", gone)
                db.executemany("DELETE FROM inspections WHERE sequence = ?", gone)
                db.executemany("INSERT OR IGNORE INTO pruned (id) VALUES (?)", again)
            deleted += len(rows)
            last = rows[-1][0]
            time.sleep(_PAUSE)

    def _shorten_timeline(self) -> None:
        """Of inspections that are gone, only the last place in time is needed."""
        with transaction(self.path, self._db) as db:
            db.execute(
                "DELETE FROM timeline WHERE sequence < (SELECT min("
                "coalesce((SELECT min(sequence) FROM inspections), max(sequence)), max(sequence)) "
                "FROM timeline)"
            )

    def close(self) -> None:
        """Close the connection."""
        self._db.close()


def count_images(path: Path) -> Held:
    """What a journal knows, read-only, also while a daemon writes it; the latest ones, too.

    Raises:
        JournalError: it can't be read.
    """
    with explained(path), closing(open_reader(path)) as db:
        held = _held(db)
        images, size = db.execute(
            "SELECT count(*), coalesce(sum(bytes), 0) FROM inspections "
            "WHERE sequence > (SELECT coalesce(max(sequence), 0) FROM timeline)"
        ).fetchone()
    return Held(held.images + images, held.stuck, held.bytes + size)


def may_come_again(identity: str, received: float) -> bool:
    """Whether the identity was made from the file, which may still lie in its folder.

    One that begins with the time of its claim was made at the claim, and never comes again.
    """
    try:
        return abs(int(identity[:12], 16) / 1000 - received) > _DAY
    except ValueError:
        return True


def _held(db: sqlite3.Connection, quarantined: bool | None = None) -> Held:  # noqa: FBT001
    found = db.execute(
        "SELECT count(*), total(stuck), total(bytes * NOT stuck) FROM images "
        "WHERE ? IS NULL OR quarantined = ?",
        (quarantined, quarantined),
    ).fetchone()
    stuck = int(found[1])
    return Held(found[0] - stuck, stuck, int(found[2]))


def _rank(verdict: str) -> int:
    return next((rank for known, rank in _RANKS.items() if known.value == verdict), RANKS[-1])


def _own_time(completed: float, last: Moment | None, now: Moment) -> float:
    if last is None:  # judged before this station had a clock of its own
        return min(completed, now.own) if completed >= _FIRST else now.own
    at = last.own + completed - last.wall
    return at if last.own <= at <= now.own else now.own


def _minute(at: float) -> float:
    return at // _GRAIN
