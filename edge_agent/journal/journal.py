"""The writing side: inspections and their outbox rows, durable before anything else happens."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edge_agent.journal.errors import explained
from edge_agent.journal.mark import Mark, mark_of
from edge_agent.journal.recovery import reconcile, unacknowledged
from edge_agent.journal.rows import COLUMNS, KNOWN_VERDICTS, to_row
from edge_agent.journal.schema import open_writer
from edge_agent.journal.transaction import transaction
from edge_agent.types import Message, Verdict

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from edge_agent.types import Inspection

_INSERT = f"INSERT INTO inspections ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"


class Journal:
    """The one writer of a station's journal. Meant for one thread; a lock covers the rest."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        """Open or create the journal, migrate and check it; see what is missing.

        Raises:
            JournalError: damaged, of a newer version, not a journal, or not accessible.
        """
        self.path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._db, indexes = open_writer(path)
        self._mark = Mark(mark_of(path))
        try:
            reconcile(path, self._db, self._mark, indexes, clock())
            with explained(path):
                self.losses = unacknowledged(self._db)
                """What is missing from the journal, until a person has acknowledged it."""
        except BaseException:
            self.close()
            raise

    def record(
        self,
        inspections: Sequence[Inspection],
        render: Callable[[int, Inspection], bytes],
    ) -> list[Message]:
        """Commit a batch, each inspection with its message, in one durable transaction.

        An id that is already in the journal is passed over: after a crash a frame may be judged
        again, its first inspection stands. When this returns, everything is on disk.

        Args:
            inspections: what was judged, in the order in which it is to be published.
            render: makes the payload from the sequence number and the inspection.

        Returns:
            The messages that are new, in sequence.

        Raises:
            JournalError: nothing of the batch was committed.
        """
        with self._lock:
            with transaction(self.path, self._db) as db:
                sequence, messages = self._insert(db, inspections, render)
                self._mark.reserve(sequence)
            # Now they may be published: a journal without them will be seen to have lost them.
            self._mark.committed(sequence)
        return messages

    def _insert(
        self,
        db: sqlite3.Connection,
        inspections: Sequence[Inspection],
        render: Callable[[int, Inspection], bytes],
    ) -> tuple[int, list[Message]]:
        messages = []
        (sequence,) = db.execute("SELECT value FROM meta WHERE key = 'sequence'").fetchone()
        for inspection in inspections:
            db.execute("DELETE FROM attempts WHERE id = ?", (inspection.id,))
            if _has(db, inspection.id):
                continue
            sequence += 1
            message = Message(
                sequence,
                inspection.id,
                inspection.verdict is not Verdict.OK,
                render(sequence, inspection),
                inspection.reply,
            )
            db.execute(_INSERT, to_row(sequence, inspection))
            topic, correlation = (
                (message.reply.topic, message.reply.correlation) if message.reply else (None, None)
            )
            db.execute(
                "INSERT INTO outbox (sequence, id, alarm, payload, reply, correlation) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (sequence, message.id, message.alarm, message.payload, topic, correlation),
            )
            messages.append(message)
        # A counter of its own, so that a number is never given twice, whatever was pruned.
        db.execute("UPDATE meta SET value = ? WHERE key = 'sequence'", (sequence,))
        return sequence, messages

    def has(self, frame: str) -> bool:
        """Whether the frame of this id has its inspection."""
        with self._reading() as db:
            return _has(db, frame)

    def sha256_of(self, frame: str) -> str:
        """Of the bytes that were judged; empty where they could not be read, or it is gone."""
        with self._reading() as db:
            row = db.execute("SELECT sha256 FROM inspections WHERE id = ?", (frame,)).fetchone()
        return str(row[0]) if row else ""

    def judged(self, start: str) -> dict[str, str]:
        """The frames whose id begins so, each with its SHA-256, or nothing where that is gone."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT id, sha256 FROM inspections WHERE id >= ?1 AND id < ?1 || '~' "
                "UNION ALL SELECT id, '' FROM pruned WHERE id >= ?1 AND id < ?1 || '~'",
                (start,),
            ).fetchall()
        return {str(frame): str(digest) for frame, digest in rows}

    def find(self, frame: str) -> tuple[Verdict, str, str] | None:
        """Verdict, reason and SHA-256 of a frame's inspection, or None where it has none yet."""
        with self._reading() as db:
            row = db.execute(
                "SELECT verdict, reason, sha256 FROM inspections WHERE id = ?", (frame,)
            ).fetchone()
        if row is None:
            return None
        if row[0] not in KNOWN_VERDICTS:
            why = f"its row in the journal can't be read: verdict is {row[0]!r}"
            return Verdict.ERROR, why, ""
        return Verdict(row[0]), str(row[1]), str(row[2] or "")

    def acknowledge_losses(self) -> None:
        """A person knows what is missing: it is told no longer.

        Raises:
            JournalError: it was not written down.
        """
        with self._transaction() as db:
            db.execute(
                "UPDATE losses SET acknowledged = ? WHERE acknowledged IS NULL", (self._clock(),)
            )
        self.losses = ()

    def attempts(self, frame: str) -> int:
        """How many workers the frame has cost so far."""
        with self._reading() as db:
            return _attempts(db, frame)

    def add_attempts(self, frame: str, more: int = 1) -> int:
        """Count workers that the frame has cost, durably; return how many by now.

        Raises:
            JournalError: it was not counted.
        """
        with self._transaction() as db:
            count = _attempts(db, frame) + more
            db.execute(
                "INSERT OR REPLACE INTO attempts (id, count, at) VALUES (?, ?, ?)",
                (frame, count, self._clock()),
            )
        return count

    def close(self) -> None:
        """Close the connection; harmless when it was closed already."""
        with self._lock:
            with explained(self.path):
                self._db.close()
            self._mark.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, explained(self.path):
            yield self._db

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, transaction(self.path, self._db) as db:
            yield db


def _has(db: sqlite3.Connection, frame: str) -> bool:
    found = db.execute(
        "SELECT 1 FROM inspections WHERE id = ? UNION ALL SELECT 1 FROM pruned WHERE id = ?",
        (frame, frame),
    ).fetchone()
    return found is not None


def _attempts(db: sqlite3.Connection, frame: str) -> int:
    row = db.execute("SELECT count FROM attempts WHERE id = ?", (frame,)).fetchone()
    return int(row[0]) if row else 0
