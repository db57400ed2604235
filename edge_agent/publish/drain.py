"""What is to be published next, and what came of it: knows the outbox, not the network."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge_agent.publish.topics import Topics
    from edge_agent.types import Message

_BATCH = 100  # rows held in memory beyond those in flight


class Replayed(Protocol):
    """What a replay will publish again; see the journal's."""

    @property
    def messages(self) -> int: ...
    @property
    def first(self) -> int: ...
    @property
    def last(self) -> int: ...
    @property
    def oldest(self) -> int: ...
    @property
    def newest(self) -> int: ...


class Outbox(Protocol):
    """Where messages wait, durably, until they are acknowledged."""

    def pending(self, after: int, limit: int, *, again: bool) -> list[Message]: ...

    def acknowledge(self, sequences: Iterable[int]) -> None: ...

    def replay(self, first: int, last: int, limit: int) -> Replayed: ...

    def unacknowledged(self) -> int: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Publish:
    """One message on one topic. An alarm makes two: ``verdict``, then ``defect``."""

    sequence: int
    topic: str
    payload: bytes
    reply: bool = False
    """It goes to a producer that asked for it: a topic that is not the station's own."""
    correlation: bytes | None = None
    again: bool = False
    """A replay wants it: what is new goes before it."""


class Drain:
    """Reads the outbox in order, and marks a row when each of its topics has its PUBACK.

    What is new goes before what a replay repeats: an alarm must not wait for ten thousand of them.
    """

    def __init__(self, outbox: Outbox, topics: Topics) -> None:
        self._outbox = outbox
        self._topics = topics
        self._cursors = {False: 0, True: 0}
        """The last row that was read, of what is new and of what is repeated."""
        self._queues: dict[bool, deque[Publish]] = {False: deque(), True: deque()}
        self._open: dict[int, set[str]] = {}
        """Rows read and not yet acknowledged: the topics that they still lack."""
        self._taken: dict[int, set[str]] = {}
        """Topics that the broker took, of rows that another topic was refused for."""
        self._acknowledged: list[int] = []
        self._look = {False: True, True: True}

    def rewind(self) -> None:
        """Begin again with the first unacknowledged row. Only with nothing in flight."""
        self.flush()
        self._cursors = {False: 0, True: 0}
        for queue in self._queues.values():
            queue.clear()
        self._open.clear()
        self._look = {False: True, True: True}

    def replay(self, first: int, last: int, limit: int) -> Replayed:
        """Publish up to ``limit`` messages again. Only with nothing in flight.

        Raises:
            Exception: what the outbox raises where its storage fails.
        """
        self.flush()
        found = self._outbox.replay(first, last, limit)
        self._taken.clear()  # what one topic has had already is wanted again
        self.rewind()
        return found

    def look(self) -> None:
        """There may be new rows."""
        self._look[False] = True

    def take(self, *, again: bool = True) -> Publish | None:
        """The next publish, or None: there is nothing to do; ``again``: also what is repeated."""
        for repeated, queue in self._queues.items():
            if repeated and not again:
                break
            if not queue and self._look[repeated]:
                rows = self._outbox.pending(self._cursors[repeated], _BATCH, again=repeated)
                self._look[repeated] = len(rows) == _BATCH
                for row in rows:
                    self._cursors[repeated] = row.sequence
                    self._enqueue(row, again=repeated)
            if queue:
                return queue.popleft()
        return None

    def put_back(self, publish: Publish) -> None:
        """Not now: it is the next one again."""
        self._queues[publish.again].appendleft(publish)

    def taken(self, publish: Publish) -> None:
        """The broker has acknowledged it with success."""
        sequence = publish.sequence
        lacking = self._open[sequence]
        lacking.discard(publish.topic)
        if lacking:
            self._taken.setdefault(sequence, set()).add(publish.topic)
        else:
            del self._open[sequence]
            self._taken.pop(sequence, None)
            self._acknowledged.append(sequence)

    def flush(self) -> None:
        """Write the acknowledgements down. Where that fails they are kept for the next time."""
        if self._acknowledged:
            self._outbox.acknowledge(self._acknowledged)
            self._acknowledged = []

    @property
    def unflushed(self) -> int:
        """Acknowledgements that are not written down yet."""
        return len(self._acknowledged)

    @property
    def done(self) -> bool:
        """Nothing is known to be left."""
        return not (any(self._look.values()) or any(self._queues.values()) or self._open)

    def _enqueue(self, row: Message, *, again: bool) -> None:
        topics = [self._topics.verdict] + [self._topics.defect] * row.alarm
        wanted = [Publish(row.sequence, topic, row.payload, again=again) for topic in topics]
        # Nobody's wish: it would look like a word of the station's own.
        if row.reply and not self._topics.own(row.reply.topic):
            wanted.append(
                Publish(
                    row.sequence,
                    row.reply.topic,
                    row.payload,
                    reply=True,
                    correlation=row.reply.correlation,
                    again=again,
                )
            )
        lacking = [p for p in wanted if p.topic not in self._taken.get(row.sequence, ())]
        self._open[row.sequence] = {p.topic for p in lacking}
        self._queues[again].extend(lacking)
