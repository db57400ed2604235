"""The publishing side: what has yet to be acknowledged by the broker."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge_agent.journal.errors import explained
from edge_agent.journal.mark import mark_of, published
from edge_agent.journal.schema import open_outbox
from edge_agent.journal.transaction import transaction
from edge_agent.types import Message, ReplyTo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

log = logging.getLogger(__name__)

_ALL = 1 << 62  # no sequence ever comes so far
_STEP = 500  # rows in one transaction: the writer waits for no longer than that


@dataclass(frozen=True)
class Replayed:
    """What a replay will publish again: all that is kept of what was asked for, up to a limit."""

    messages: int
    first: int
    """The first of their sequence numbers; 0 where there is none."""
    last: int
    oldest: int
    """The oldest message that is kept; where there is none, the next one that there will be."""
    newest: int
    """The last one that was made, kept or not; 0 before the first."""


class Outbox:
    """The outbox of a journal that `Journal` has opened before. Belongs to the thread that made it.

    Every method raises `JournalError` where the database fails.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._clock = clock
        self._db = open_outbox(path)
        self._unreadable: set[int] = set()
        """Messages that were reported."""

    def pending(self, after: int, limit: int, *, again: bool = False) -> list[Message]:
        """The first ``limit`` unacknowledged messages with a sequence above ``after``.

        Either those that no broker has taken yet, or, ``again``, those that a replay wants. A
        message that can't be read is reported and passed over: it must not hold up all others.
        """
        last = published(mark_of(self.path))
        found: list[Message] = []
        while len(found) < limit:
            with explained(self.path):
                # Named: no planner may ever choose to walk over every acknowledged row instead.
                rows = self._db.execute(
                    "SELECT sequence, id, alarm, payload, reply, correlation "
                    "FROM outbox INDEXED BY outbox_pending "
                    "WHERE acknowledged IS NULL AND (first_acknowledged IS NOT NULL) = ? "
                    "AND sequence > ? AND sequence <= ? ORDER BY sequence LIMIT ?",
                    (again, after, last, limit - len(found)),
                ).fetchall()
            if not rows:
                break
            after = rows[-1][0]
            found += [message for row in rows if (message := self._message(*row))]
        return found

    def _message(
        self, sequence: int, id_: Any, alarm: Any, payload: Any, topic: Any, correlation: Any
    ) -> Message | None:
        readable = isinstance(id_, str) and isinstance(payload, bytes)
        readable &= isinstance(alarm, int) and isinstance(topic, (str, type(None)))
        if readable and isinstance(correlation, (bytes, type(None))):
            reply = ReplyTo(topic, correlation) if topic else None
            return Message(sequence, id_, bool(alarm), payload, reply)
        if sequence not in self._unreadable:
            self._unreadable.add(sequence)
            log.error(
                "message %d can't be published: its row in the journal %s can't be read",
                *(sequence, self.path),
            )
        return None

    def acknowledge(self, sequences: Iterable[int]) -> None:
        """Mark messages as taken by the broker. They are kept, to be replayed, until pruned.

        Not their replies: a replay is for those who listen to the station, not for a producer.
        A power cut may undo the last calls: these messages are then published once more.
        """
        now = self._clock()
        with transaction(self.path, self._db) as db:
            db.executemany(
                "UPDATE outbox SET acknowledged = ?, reply = NULL, correlation = NULL "
                "WHERE sequence = ?",
                ((now, sequence) for sequence in sequences),
            )

    def unacknowledged(self) -> int:
        """How many messages wait: a few milliseconds for 100,000, from the partial index alone."""
        with explained(self.path):
            (count,) = self._db.execute(
                "SELECT count(*) FROM outbox INDEXED BY outbox_pending WHERE acknowledged IS NULL"
            ).fetchone()
        return int(count)

    def replay(self, first: int, last: int, limit: int) -> Replayed:
        """Mark up to ``limit`` messages, from one sequence number to another, as not published.

        In steps, so that the writer is not held up. Where a step fails the earlier ones stand:
        some messages are then published once more, which does no harm.
        """
        with explained(self.path):
            oldest, newest = self._db.execute(
                "SELECT (SELECT min(sequence) FROM outbox), value FROM meta WHERE key = 'sequence'"
            ).fetchone()
            kept = self._db.execute(
                "SELECT sequence FROM outbox WHERE sequence BETWEEN ? AND ? "
                "ORDER BY sequence LIMIT ?",
                (first, last, limit),
            ).fetchall()
        sequences = [row[0] for row in kept]
        for start in range(0, len(sequences), _STEP):
            step = sequences[start : start + _STEP]
            with transaction(self.path, self._db) as db:
                db.execute(
                    "UPDATE outbox SET acknowledged = NULL, "
                    "first_acknowledged = coalesce(first_acknowledged, acknowledged) "
                    "WHERE sequence BETWEEN ? AND ? AND acknowledged IS NOT NULL",
                    (step[0], step[-1]),
                )
        return Replayed(
            messages=len(sequences),
            first=sequences[0] if sequences else 0,
            last=sequences[-1] if sequences else 0,
            oldest=oldest or newest + 1,
            newest=newest,
        )

    def prune(self, keep_seconds: float, now: float, *, upto: int = _ALL) -> int:
        """Delete what was acknowledged more than ``keep_seconds`` ago; return how many.

        None above the sequence ``upto``: what is newer than that can't have been acknowledged so
        long ago, whatever the clock said.

        A replay makes no message younger: whoever asked for the oldest every few days would keep
        all of them for ever. By their first acknowledgement they are in order, so the walk from the
        oldest ends at the first stretch in which nothing is to be deleted: no index is needed.
        """
        self._set_right(now)
        deleted = 0
        while True:
            with transaction(self.path, self._db) as db:
                step = db.execute(
                    "DELETE FROM outbox WHERE sequence IN "
                    "(SELECT sequence FROM outbox ORDER BY sequence LIMIT ?) "
                    "AND acknowledged IS NOT NULL "
                    "AND coalesce(first_acknowledged, acknowledged) < ? AND sequence <= ?",
                    (_STEP, now - keep_seconds, upto),
                ).rowcount
            deleted += step
            if step == 0:
                return deleted

    def _set_right(self, now: float) -> None:
        """What a clock that ran ahead has acknowledged was acknowledged now, as far as is known.

        The oldest messages would otherwise keep all others, until their time has come.
        """
        last = 0
        while True:
            with transaction(self.path, self._db) as db:
                (end,) = db.execute(
                    "SELECT max(sequence) FROM "
                    "(SELECT sequence FROM outbox WHERE sequence > ? ORDER BY sequence LIMIT ?)",
                    (last, _STEP),
                ).fetchone()
                changed = db.execute(
                    "UPDATE outbox SET acknowledged = min(acknowledged, ?), "
                    "first_acknowledged = min(first_acknowledged, ?) "
                    "WHERE sequence > ? AND sequence <= ? "
                    "AND max(acknowledged, coalesce(first_acknowledged, 0)) > ?",
                    (now, now, last, end, now),
                ).rowcount
            if changed == 0:
                return
            last = end

    def close(self) -> None:
        """Close the connection."""
        self._db.close()
