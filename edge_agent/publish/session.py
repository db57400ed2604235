"""What is done while one connection lasts: birth, messages in order, farewell."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_agent.mqtt.connection import Connection, Listen, Will
from edge_agent.mqtt.reasons import SUCCESS, refused_publish, unreachable
from edge_agent.publish.commands import MAX_COMMAND, Command, Commands, ReplayBody
from edge_agent.publish.drain import Drain, Publish
from edge_agent.system.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.mqtt.backoff import Backoff
    from edge_agent.mqtt.options import MqttOptions
    from edge_agent.mqtt.wake import Wake
    from edge_agent.publish.commands import Answer
    from edge_agent.publish.drain import Outbox
    from edge_agent.publish.state import Board
    from edge_agent.publish.topics import Topics

log = logging.getLogger(__name__)

# Between looks at the outbox without being notified, and between keep-alive checks.
TICK = 1.0
# Acknowledgements are written in batches: each write holds up the journal's writer.
_LOOK = 0.5  # seconds
_FLUSH_SECONDS = 0.05
_FLUSH_COUNT = 100
# Messages that one command/replay publishes again: whoever wants more asks for the rest.
_REPLAY_LIMIT = 10_000
# Commands that the broker may send ahead of their answers.
_COMMANDS_AHEAD = 10
# Replays that wait, and how long the next one waits after one that took a second: what marks ten
# thousand messages in the journal holds up verdicts.
_REPLAYS = 10
_REST = 20.0
# The part of the broker's window that messages of a replay may have: a verdict that is new waits
# for what is on its way already.
_REPEATS = 0.25
_NEWEST = 1 << 62


@dataclass(frozen=True)
class Announcements:
    """What the station says of itself, on ``status`` (retained) and on ``telemetry``."""

    birth: Callable[[], bytes]
    """Said at each connection, and whenever it has changed when the publisher is notified."""
    last_will: bytes
    """Said by the broker when the connection is lost."""
    farewell: bytes
    """Said by the station when it is stopped."""
    telemetry: Callable[[], bytes] = lambda: b""
    telemetry_every: float = 0.0
    """Seconds from one message on ``telemetry`` to the next; 0: none."""
    ready: Callable[[], bool] = lambda: True
    """Whether the birth may be said: what else the station listens to is heard."""


@dataclass
class Stop:
    """When to end, by the monotonic clock. Set once, by the thread that wants it."""

    flush_until: float = math.inf
    until: float = math.inf

    @property
    def wanted(self) -> bool:
        return self.until < math.inf


@dataclass(frozen=True)
class _Sent:
    topic: str
    at: float
    publish: Publish | None = None
    """None: an announcement, or the answer to a command."""


class Session:
    """One connection, from the attempt to its loss. Use it once."""

    def __init__(
        self,
        *,
        options: MqttOptions,
        topics: Topics,
        announcements: Announcements,
        outbox: Outbox,
        outbox_error: type[Exception],
        board: Board,
        wake: Wake,
        stop: Stop,
        retries: Backoff,
        suspected: set[int],
        warning: str,
        commands: Commands | None,
    ) -> None:
        """As `Publisher`, and more of its parts.

        Args:
            options: how to reach the broker.
            topics: where to publish.
            announcements: what to say on ``status``.
            outbox: what to publish.
            outbox_error: what it raises when its storage fails.
            board: where to say how it goes.
            wake: set when there may be new rows, or a stop is wanted.
            stop: when to end.
            retries: delays after a refusal, over all sessions.
            suspected: replies, by sequence, that a connection was lost with, over all sessions.
            warning: said while connected, until the connection has lasted.
            commands: what is obeyed besides ``replay``; None: nothing.
        """
        self._options = options
        self._topics = topics
        self._announcements = announcements
        self._outbox = outbox
        self._outbox_error = outbox_error
        self._board = board
        self._wake = wake
        self._stop = stop
        self._retries = retries
        self._suspected = suspected
        self._drain = Drain(outbox, topics)
        self._replays: deque[tuple[ReplayBody, Answer]] = deque()
        """Asked for, and to be done when nothing is in flight."""
        self._replay_at = 0.0
        self._repeating = 0
        """How many of those in flight a replay wants."""
        self._commands = commands
        self._own = {"replay": Command(ReplayBody, self._want_replay)}
        listen: Listen | None = None
        if commands is not None:
            listen = Listen(f"{topics.command}/#", MAX_COMMAND, _COMMANDS_AHEAD)
        will = Will(topics.status, announcements.last_will)
        self._connection = Connection(options, will=will, listen=listen)
        self._began = time.monotonic()
        self._flight: dict[int, _Sent] = {}
        every = announcements.telemetry_every
        self._tell_at = self._began + every if every else math.inf
        self._flush_at = math.inf
        self._retry_at: float | None = None
        self._probing = False
        self._alone: Publish | None = None
        """The suspected reply that is on its way; nothing else is."""
        self._born = False
        self._unsaid = True
        """Whether the birth may say something else than before: also looked at now and then, for
        not all that it says is announced to us."""
        self._look_at = 0.0
        self._say_at = 0.0
        """No birth before: the last one was refused."""
        self._said = b""
        """The birth that was announced last: it is said again when it would say something else."""
        self._parted = False
        self._deaf = False
        # What is said while connected, the first that is not empty.
        self._trouble = ""
        self._denied: dict[str, str] = {}
        """Why the broker took no announcement or answer the last time, by topic."""
        self._warning = warning

    @property
    def taken_over(self) -> bool:
        """Another client with the same id has ended it."""
        return self._connection.taken_over

    @property
    def accepted(self) -> bool:
        """The broker had said yes."""
        return self._connection.accepted

    def run(self) -> str:
        """Serve until the connection is lost or the stop is done; return why it ended."""
        connection = self._connection
        try:
            connection.open()
            while connection.closed is None and not self._over():
                connection.step(self._wake, self._patience())
                if self._wake.clear():
                    self._drain.look()
                    self._unsaid = True
                self._settle()
                if connection.accepted and connection.closed is None:
                    self._serve()
        except OSError as error:
            return unreachable(self._options.broker, error)
        finally:
            connection.close()
            self._settle()
            if connection.accepted and not self._stop.wanted:
                self._suspect()
            self._drain.flush()
            self._board.count(self._outbox, now=True)
        return connection.closed or ""

    def _over(self) -> bool:
        now = time.monotonic()
        if self._stop.wanted and (self._parted or not self._born):
            end = self._stop.until if self._born else self._stop.flush_until
            return now >= end or (self._parted and not self._flight)
        oldest = next(iter(self._flight.values()), None)
        if oldest is not None and now > oldest.at + self._options.ack_timeout:
            self._connection.give_up(
                f"the broker at {self._options.broker} has acknowledged nothing for "
                f"{self._options.ack_timeout:.0f} s: is it overloaded?"
            )
            return True
        return False

    def _patience(self) -> float:
        """Seconds until something is due that can be done then, whatever the broker says or not."""
        due = [math.inf]
        if self._connection.accepted:
            due.append(self._flush_at)
            if self._room() and not self._parted:
                due.append(self._tell_at)
            if self._retry_at is not None and not self._flight:
                due.append(self._retry_at)
            if self._replays and not self._flight:
                due.append(self._replay_at)
        if self._stop.wanted:
            due.append(self._stop.until if self._parted else self._stop.flush_until)
        return min(TICK, max(0.0, min(due) - time.monotonic()))

    def _settle(self) -> None:
        taken = refused = 0
        for packet, code in self._connection.acks():
            sent = self._flight.pop(packet, None)
            if sent is None:
                continue
            if sent.publish is None:
                self._announced(sent.topic, code)
                continue
            self._repeating -= sent.publish.again
            if sent.publish.reply:  # answered, whatever it was: not what ends connections
                self._suspected.discard(sent.publish.sequence)
                self._alone = None
            if code in SUCCESS:
                self._drain.taken(sent.publish)
                taken += 1
            elif sent.publish.reply:
                self._drop(sent.publish, refused_publish(sent.topic, code))
            else:
                refused += 1
                self._pause(refused_publish(sent.publish.topic, code))
        if taken or refused:
            self._board.settled(taken=taken, refused=refused)
        if taken and not refused and self._retry_at is None:
            self._recovered()
        if self._drain.unflushed and self._flush_at == math.inf:
            self._flush_at = time.monotonic() + _FLUSH_SECONDS

    def _announced(self, topic: str, code: int) -> None:
        if code in SUCCESS:
            self._denied.pop(topic, None)
            return
        self._denied[topic] = refused_publish(topic, code)
        if topic == self._topics.status:  # retained: there is no other to wait for
            self._said = b""
            self._say_at = time.monotonic() + self._options.reconnect_max

    def _serve(self) -> None:
        now = time.monotonic()
        look = now >= self._say_at and (self._unsaid or now >= self._look_at)
        if look and self._room() and not self._parted and self._heard():
            self._unsaid, self._look_at = False, now + _LOOK
            birth = self._announcements.birth()
            if birth != self._said:
                if not self._born:
                    log.info("online: commands can be received")
                self._born, self._said = True, birth
                self._announce(self._topics.status, birth, retain=True)
        if time.monotonic() >= self._tell_at and self._room() and not self._parted:
            self._tell_at = time.monotonic() + self._announcements.telemetry_every
            self._announce(self._topics.telemetry, self._announcements.telemetry(), retain=False)
        if self._commands is not None:
            self._obey(self._commands)
        if self._warning and time.monotonic() > self._began + 2 * self._options.reconnect_max:
            self._warning = ""
        try:
            if self._drain.unflushed >= _FLUSH_COUNT or time.monotonic() >= self._flush_at:
                self._drain.flush()
                self._flush_at = math.inf
            if not self._parted:
                self._feed()
            self._board.count(self._outbox)
        except self._outbox_error as error:
            self._flush_at = math.inf
            self._pause(str(error))
        if self._stop.wanted and not self._parted and self._may_part():
            self._parted = True
            self._announce(self._topics.status, self._announcements.farewell, retain=True)
        self._board.say(
            self._trouble or next(iter(self._denied.values()), self._warning),
            connected=True,
        )

    def _obey(self, commands: Commands) -> None:
        for arrived in self._connection.arrived():
            commands.obey(arrived, self._topics.command, self._own)
        self._board.obeys(commands.trouble, commands.refused)
        if self._connection.deaf and not self._deaf:
            self._deaf = True
            log.warning("commands can't be received: %s", self._connection.deaf)
        if self._parted:
            return
        while self._room() and (reply := commands.reply()) is not None:
            topic = self._topics.reply
            packet = self._connection.publish(topic, reply.payload, correlation=reply.correlation)
            self._flight[packet] = _Sent(topic, time.monotonic())

    def _heard(self) -> bool:
        """Whether what is sent to this station is heard by now, or never will be."""
        return not self._connection.unanswered and self._announcements.ready()

    def _want_replay(self, body: ReplayBody, answer: Answer) -> None:
        if len(self._replays) < _REPLAYS:
            self._replays.append((body, answer))
        else:
            answer.refused(f"{_REPLAYS} replays are waiting: try again after their replies")

    def _replay(self) -> None:
        body, answer = self._replays.popleft()
        newest = _NEWEST if body.last is None else min(body.last, _NEWEST)
        began = time.monotonic()
        try:
            found = self._drain.replay(min(body.first, _NEWEST), newest, _REPLAY_LIMIT)
        except self._outbox_error as error:
            answer.refused(str(error))
            raise
        ended = time.monotonic()
        self._replay_at = ended + _REST * (ended - began)
        kept = {"oldest": found.oldest, "newest": found.newest}
        if found.messages:
            answer.done(
                messages=found.messages,
                first=found.first,
                last=found.last,
                more=found.messages == _REPLAY_LIMIT and found.last < min(newest, found.newest),
                **kept,
            )
        else:
            answer.refused("none of the requested messages is kept any more", **kept)

    def _feed(self) -> None:
        if self._replays and time.monotonic() >= self._replay_at:
            if self._flight:
                return  # what is acknowledged after the replay was marked would not be repeated
            self._replay()
            return  # its answer comes before what it repeats
        if self._retry_at is not None:
            if time.monotonic() < self._retry_at or self._flight:
                return
            self._drain.rewind()
            self._retry_at = None
            # One message finds out whether it was mended; a window of them would be refused
            # at every try.
            self._probing = True
        while self._room() and not ((self._probing or self._alone) and self._flight):
            repeats = max(1, int(self._connection.window * _REPEATS))
            publish = self._drain.take(again=self._repeating < repeats)
            if publish is None:
                if not self._flight:
                    self._recovered()
                return
            if publish.reply and publish.sequence in self._suspected:
                if self._flight:
                    self._drain.put_back(publish)
                    return
                self._alone = publish
            packet = self._connection.publish(
                publish.topic, publish.payload, correlation=publish.correlation
            )
            self._flight[packet] = _Sent(publish.topic, time.monotonic(), publish)
            self._repeating += publish.again

    def _suspect(self) -> None:
        """Find out which reply, if any, makes the broker end the connection.

        Its topic and its correlation data are a producer's, and some brokers disconnect whoever
        sends too many levels or too many bytes. What was on its way is suspected, and sent alone
        the next time; what was alone then is dropped.
        """
        if self._alone is not None:
            topic = printable(self._alone.topic, 100)
            self._drop(self._alone, f"the broker ends the connection over what goes to {topic}")
            self._suspected.discard(self._alone.sequence)
            return
        for sent in self._flight.values():
            if sent.publish is not None and sent.publish.reply:
                self._suspected.add(sent.publish.sequence)

    def _drop(self, reply: Publish, why: str) -> None:
        """Not the station's topic: one producer's wish must not hold up all verdicts."""
        log.warning("a reply is dropped: %s", why)
        self._drain.taken(reply)

    def _room(self) -> bool:
        """Whether the broker takes another message, of whatever kind, before it acknowledges one.

        It may end the connection of whoever sends more (MQTT 5.0, 3.3.4).
        """
        return len(self._flight) < self._connection.window

    def _announce(self, topic: str, payload: bytes, *, retain: bool) -> None:
        packet = self._connection.publish(topic, payload, retain=retain)
        self._flight[packet] = _Sent(topic, time.monotonic())

    def _may_part(self) -> bool:
        flushed = self._drain.done and not self._flight
        return flushed or self._retry_at is not None or time.monotonic() >= self._stop.flush_until

    def _pause(self, reason: str) -> None:
        self._trouble = reason
        if self._retry_at is None:
            self._retry_at = time.monotonic() + self._retries.next()

    def _recovered(self) -> None:
        self._probing = False
        if self._trouble:
            self._trouble = ""
            self._retries.reset()
