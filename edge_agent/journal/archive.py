"""The housekeeping side: what is old, and taking it out while the station works.

Nothing is vacuumed: the room of deleted rows is used again by new ones, so the file stops
growing, and no statement ever rewrites all of it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_agent.journal.errors import explained
from edge_agent.journal.schema import open_outbox
from edge_agent.journal.transaction import transaction
from edge_agent.types import Verdict

if TYPE_CHECKING:
    from pathlib import Path

_STEP = 200  # rows in one transaction: the writer waits for no longer than that
_PAUSE = 0.02  # seconds between two, in which the writer gets its turn
_DAY = 86_400.0
_OK = "verdict = 'ok'"
_OTHERS = "verdict IN ('defect', 'review', 'error')"
# Of a row that can't be read nobody knows what it says of which image: neither is touched.
_READABLE = (
    "typeof(id) = 'text' AND typeof(name) = 'text' AND typeof(sha256) = 'text' "
    "AND typeof(received) = 'real'"
)


@dataclass(frozen=True)
class Filed:
    """What the journal knows of an image that was filed away."""

    sequence: int
    id: str
    name: str
    sha256: str
    """Empty where the file could not be read."""
    verdict: Verdict


class Archive:
    """A journal that `Journal` has opened before. Belongs to the thread that made it.

    Every method raises `JournalError` where the database fails.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = open_outbox(path)

    def images(self, *, ok: bool, before: float, limit: int) -> list[Filed]:
        """The oldest images not yet passed that were judged before a time, by the wall clock.

        Args:
            ok: those judged ok; otherwise all others.
            before: seconds since the epoch; infinity: of any age.
            limit: how many at most.
        """
        with explained(self.path):
            rows = self._db.execute(
                "SELECT sequence, id, name, sha256, verdict FROM inspections "
                f"WHERE {_OK if ok else _OTHERS} AND {_READABLE} "
                "AND sequence > ? AND completed < ? "
                "ORDER BY sequence LIMIT ?",
                (self.last_passed(ok=ok), before, limit),
            ).fetchall()
        return [
            Filed(sequence, id_, name, sha256, Verdict(verdict))
            for sequence, id_, name, sha256, verdict in rows
        ]

    def passed(self, sequence: int, *, ok: bool) -> None:
        """The images up to this one are gone: they are not looked at again."""
        with transaction(self.path, self._db) as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_mark(ok=ok), sequence))

    def last_passed(self, *, ok: bool) -> int:
        """The sequence of the last image that was passed; 0 before the first."""
        with explained(self.path):
            row = self._db.execute(
                "SELECT value FROM meta WHERE key = ?", (_mark(ok=ok),)
            ).fetchone()
        return int(row[0]) if row else 0

    def prune(self, before: float, *, ok: int, others: int, unsent: bool) -> int:
        """Delete inspections completed before a time, oldest first; return how many.

        One whose message is kept, to be sent or replayed, is kept with it.

        Args:
            before: seconds since the epoch.
            ok: the last sequence of those judged ok that may go.
            others: of all others.
            unsent: there is no broker: their messages go with them.
        """
        deleted, at, last = 0, float("-inf"), 0
        while True:
            with explained(self.path):  # outside of a transaction: it may have to walk far
                rows = self._db.execute(
                    "SELECT sequence, id, received, completed FROM inspections "
                    f"WHERE {_READABLE} AND completed < ? AND (completed, sequence) > (?, ?) "
                    f"AND sequence <= CASE WHEN {_OK} THEN ? ELSE ? END "
                    "AND (? OR NOT EXISTS (SELECT 1 FROM outbox "
                    "WHERE outbox.sequence = inspections.sequence)) "
                    "ORDER BY completed, sequence LIMIT ?",
                    (before, at, last, ok, others, unsent, _STEP),
                ).fetchall()
            if not rows:
                return deleted
            gone = [(row[0],) for row in rows]
            again = [(id_,) for _, id_, received, _ in rows if may_come_again(id_, received)]
            with transaction(self.path, self._db) as db:
                db.executemany("DELETE FROM outbox WHERE sequence = ?", gone)
                db.executemany("DELETE FROM inspections WHERE sequence = ?", gone)
                db.executemany("INSERT OR IGNORE INTO pruned (id) VALUES (?)", again)
            deleted += len(rows)
            last, at = rows[-1][0], rows[-1][3]
            time.sleep(_PAUSE)

    def close(self) -> None:
        """Close the connection."""
        self._db.close()


def may_come_again(identity: str, received: float) -> bool:
    """Whether the identity was made from the file, which may still lie in its folder.

    One that begins with the time of its claim was made at the claim, and never comes again.
    """
    try:
        return abs(int(identity[:12], 16) / 1000 - received) > _DAY
    except ValueError:
        return True


def _mark(*, ok: bool) -> str:
    return "passed_ok" if ok else "passed_others"
