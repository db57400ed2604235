"""The publishing side: what has yet to be acknowledged by the broker."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edge_agent.journal.errors import explained
from edge_agent.journal.schema import open_outbox
from edge_agent.types import Message

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

_PRUNE_STEP = 500  # rows in one transaction: the writer waits for no longer than that


class Outbox:
    """The outbox of a journal that `Journal` has opened before. Belongs to the thread that made it.

    Every method raises `JournalError` where the database fails.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._clock = clock
        self._db = open_outbox(path)

    def pending(self, after: int, limit: int) -> list[Message]:
        """The first ``limit`` unacknowledged messages with a sequence above ``after``."""
        with explained(self.path):
            # Named: no planner may ever choose to walk over every acknowledged row instead.
            rows = self._db.execute(
                "SELECT sequence, id, alarm, payload FROM outbox INDEXED BY outbox_pending "
                "WHERE acknowledged IS NULL AND sequence > ? ORDER BY sequence LIMIT ?",
                (after, limit),
            ).fetchall()
        return [Message(sequence, id_, bool(alarm), blob) for sequence, id_, alarm, blob in rows]

    def acknowledge(self, sequences: Iterable[int]) -> None:
        """Mark messages as taken by the broker. They are kept, to be replayed, until pruned.

        A power cut may undo the last calls: these messages are then published once more.
        """
        now = self._clock()
        with self._transaction() as db:
            db.executemany(
                "UPDATE outbox SET acknowledged = ? WHERE sequence = ?",
                ((now, sequence) for sequence in sequences),
            )

    def unacknowledged(self) -> int:
        """How many messages wait: a few milliseconds for 100,000, from the partial index alone."""
        with explained(self.path):
            (count,) = self._db.execute(
                "SELECT count(*) FROM outbox INDEXED BY outbox_pending WHERE acknowledged IS NULL"
            ).fetchone()
        return int(count)

    def replay(self, from_sequence: int) -> int:
        """Mark everything from a sequence number on as not yet published; return how many."""
        with self._transaction() as db:
            return db.execute(
                "UPDATE outbox SET acknowledged = NULL "
                "WHERE sequence >= ? AND acknowledged IS NOT NULL",
                (from_sequence,),
            ).rowcount

    def prune(self, keep_seconds: float, now: float) -> int:
        """Delete what was acknowledged more than ``keep_seconds`` ago; return how many.

        Messages are acknowledged in order, so the walk from the oldest ends at the first
        stretch in which nothing is to be deleted: no index is needed for it.
        """
        deleted = 0
        while True:
            with self._transaction() as db:
                step = db.execute(
                    "DELETE FROM outbox WHERE sequence IN "
                    "(SELECT sequence FROM outbox ORDER BY sequence LIMIT ?) "
                    "AND acknowledged < ?",
                    (_PRUNE_STEP, now - keep_seconds),
                ).rowcount
            deleted += step
            if step == 0:
                return deleted

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with explained(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
