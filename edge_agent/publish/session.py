"""What is done while one connection lasts: birth, messages in order, farewell."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_agent.mqtt.connection import Connection, Listen, Will
from edge_agent.mqtt.reasons import SUCCESS, refused_publish, unreachable
from edge_agent.publish.commands import MAX_COMMAND, Command, Commands, ReplayBody
from edge_agent.publish.drain import Drain, Publish
from edge_agent.publish.replays import Replays
from edge_agent.system.text import printable

if TYPE_CHECKING:
    from edge_agent.mqtt.options import MqttOptions
    from edge_agent.publish.announcements import Announcements
    from edge_agent.publish.drain import Outbox
    from edge_agent.publish.shared import Shared
    from edge_agent.publish.topics import Topics

log = logging.getLogger(__name__)

# Between looks at the outbox without being notified, and between keep-alive checks.
TICK = 1.0
_LOOK = 0.5  # seconds
# Acknowledgements are written in batches: each write holds up the journal's writer.
_FLUSH_SECONDS = 0.05
_FLUSH_COUNT = 100
# Commands that the broker may send ahead of their answers.
_COMMANDS_AHEAD = 10
# The part of the broker's window that messages of a replay may have: a verdict that is new waits
# for what is on its way already.
_REPEATS = 0.25


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
        options: MqttOptions,
        topics: Topics,
        announcements: Announcements,
        outbox: Outbox,
        shared: Shared,
        *,
        commands: Commands | None,
        warning: str,
    ) -> None:
        """As `Publisher`, and more of its parts.

        Args:
            options: how to reach the broker.
            topics: where to publish.
            announcements: what to say on ``status``.
            outbox: what to publish.
            shared: what outlives this session.
            commands: what is obeyed besides ``replay``; None: nothing.
            warning: said while connected, until the connection has lasted.
        """
        self._options = options
        self._topics = topics
        self._announcements = announcements
        self._outbox = outbox
        self._shared = shared
        self._drain = Drain(outbox, topics)
        self._replays = Replays(self._drain, shared.outbox_error)
        self._repeating = 0
        """How many of those in flight a replay wants."""
        self._commands = commands
        self._own = {"replay": Command(ReplayBody, self._replays.want)}
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
        """Whether the birth may say something else now; it is also compared now and then."""
        self._look_at = 0.0
        self._say_at = 0.0
        """No birth before: the last one was refused."""
        self._said = b""  # the birth that was announced last
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
                connection.step(self._shared.wake, self._patience())
                if self._shared.wake.clear():
                    self._drain.look()
                    self._unsaid = True
                # Asked before what is to be sent is looked at: what was there by then is sent.
                stopping = self._shared.stop.wanted
                self._settle()
                if connection.accepted and connection.closed is None:
                    self._serve(stopping=stopping)
        except OSError as error:
            return unreachable(self._options.broker, error)
        finally:
            connection.close()
            self._settle()
            if connection.accepted and not self._shared.stop.wanted:
                self._suspect()
            self._drain.flush()
            self._shared.board.count(self._outbox, now=True)
        return connection.closed or ""

    def _over(self) -> bool:
        now = time.monotonic()
        if self._shared.stop.wanted and (self._parted or not self._born):
            end = self._shared.stop.until if self._born else self._shared.stop.flush_until
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
            if not self._flight:
                due.append(self._replays.due)
        if self._shared.stop.wanted:
            due.append(self._shared.stop.until if self._parted else self._shared.stop.flush_until)
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
                self._shared.suspected.discard(sent.publish.sequence)
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
            self._shared.board.settled(taken=taken, refused=refused)
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

    def _serve(self, *, stopping: bool) -> None:
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
            self._shared.board.count(self._outbox)
        except self._shared.outbox_error as error:
            self._flush_at = math.inf
            self._pause(str(error))
        if stopping and not self._parted and self._may_part():
            self._parted = True
            self._announce(self._topics.status, self._announcements.farewell, retain=True)
        self._shared.board.say(
            self._trouble or next(iter(self._denied.values()), self._warning),
            connected=True,
        )

    def _obey(self, commands: Commands) -> None:
        for arrived in self._connection.arrived():
            commands.obey(arrived, self._topics.command, self._own)
        self._shared.board.obeys(commands.trouble, commands.refused)
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
        """Whether commands to this station are received by now, or never will be."""
        return not self._connection.unanswered and self._announcements.ready()

    def _feed(self) -> None:
        if time.monotonic() >= self._replays.due:
            if self._flight:
                return  # what is acknowledged after the replay was marked would not be repeated
            self._replays.do_next()
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
            if publish.reply and publish.sequence in self._shared.suspected:
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
            self._shared.suspected.discard(self._alone.sequence)
            return
        for sent in self._flight.values():
            if sent.publish is not None and sent.publish.reply:
                self._shared.suspected.add(sent.publish.sequence)

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
        return (
            flushed
            or self._retry_at is not None
            or time.monotonic() >= self._shared.stop.flush_until
        )

    def _pause(self, reason: str) -> None:
        self._trouble = reason
        if self._retry_at is None:
            self._retry_at = time.monotonic() + self._shared.retries.next()

    def _recovered(self) -> None:
        self._probing = False
        if self._trouble:
            self._trouble = ""
            self._shared.retries.reset()
