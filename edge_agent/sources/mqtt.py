"""Images from an MQTT topic: written to the spool, synced, and only then the broker's no more.

The broker keeps a session for this station, with every message that was not acknowledged. One is
acknowledged when the loop has claimed it, so that ``receive_maximum`` is all that ever waits here
and the rest waits at the broker. The next connection begins with what was not acknowledged, and
there is no other place that repeats anything. So a message that can't be written is left as it is,
others go on, and when there is room for it, the source connects again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING

from edge_agent.mqtt import Backoff, Connection, Listen
from edge_agent.mqtt.pattern import TopicPattern
from edge_agent.mqtt.reasons import unreachable
from edge_agent.sources.message import read_message
from edge_agent.sources.named import NamedFiles
from edge_agent.sources.seen import frame_of
from edge_agent.sources.spool import Note, new_id
from edge_agent.system.text import iso_utc, printable
from edge_agent.system.trouble import Trouble
from edge_agent.system.wake import Wake

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.mqtt import Arrived, MqttOptions
    from edge_agent.settings import MqttSourceSettings
    from edge_agent.sources.message import Offer
    from edge_agent.sources.session import KnownSession
    from edge_agent.sources.spool import Spool
    from edge_agent.types import Claim, Seen

log = logging.getLogger(__name__)

TICK = 1.0
_NAMED = 100  # of what is not judged, by name
LONGEST = 600.0  # seconds between two tries to write what could not be written
_SLACK = 1 << 16  # bytes of room beside an image: its note, and its directory
RESENT = 5.0  # seconds of silence after which what was not sent again never will be
FORGOTTEN = 600.0  # seconds for which a session that the broker has lost is told
_READY = 1000  # images that were acknowledged and wait to be claimed
_CAMERAS = 100  # whose times are spoken of; a topic without a camera's name may have any number


@dataclass(frozen=True)
class _Left:
    """A message that could not be written, and is the broker's as before."""

    name: str
    size: int
    tries: int
    at: float
    """When to ask for it again, monotonic seconds."""
    room: int
    """Bytes that must be free for that."""


class MqttSource:
    """Receives in a thread of its own; ``claim`` and the rest are the loop's."""

    def __init__(
        self,
        settings: MqttSourceSettings,
        options: MqttOptions,
        spool: Spool,
        session: KnownSession,
        *,
        seen: Callable[[str], Seen | None],
        wake: Callable[[], None],
        patience: float = 0.0,
    ) -> None:
        """Nothing is received before ``start``.

        Args:
            settings: the topic and how its messages are read.
            options: how to reach the broker, with a client id of this source's own.
            spool: where images go.
            session: whether the broker should have one.
            seen: what the journal has of a frame identity; called from the source's thread. An
                OSError says that it can't be read now: the message stays the broker's.
            wake: called from there when there is something to claim.
            patience: seconds that a file which a message names may stay as it is, not there or
                not whole, before it is judged as it is.
        """
        self._settings = settings
        self._options = options
        self._spool = spool
        self._session = session
        self._seen = seen
        self._wake_loop = wake
        self._pattern = TopicPattern(settings.topic)
        self._ready: deque[tuple[Claim, int, int]] = deque()
        """In the spool, with the connection and the packet to acknowledge."""
        self._claimed: deque[tuple[int, int]] = deque()
        self._connection = 0
        self._wake = Wake()
        self._stopping = False
        self.ignored: dict[str, str] = {}
        """Images that were not judged, with the reason: a known id, or they could not be kept."""
        self.repeats = 0
        """Messages that the broker has sent again, and that were here already."""
        self.forgotten = 0
        """How often the broker had no session where one was expected, since the start."""
        self.settled = False
        """The broker has been asked for images, whatever came of it."""
        self._left: dict[int, _Left] = {}
        """What could not be written, by packet."""
        self._awaited: dict[int, _Left] = {}
        """What was left at the last connection, and has not come again at this one."""
        self._full = False
        """Nothing at all can be taken."""
        self._moved = 0.0
        """When anything came last, be it a part of a message; monotonic seconds."""
        self._look_at = 0.0
        self._unheard = Trouble(log, "receiving images from MQTT")
        self._unwritten = Trouble(log, "arriving images are accepted again")
        self._loss: tuple[float, str] = (float("-inf"), "")
        """When the broker's session was found to be lost, and what is said of it."""
        # Daemon: a name server that doesn't answer can hold it for longer than anyone waits.
        self._thread = threading.Thread(target=self._run, name="mqtt-source", daemon=True)
        self._doubted: set[str] = set()
        """Cameras of whose times something was said."""
        self._files: NamedFiles | None = None
        if settings.folder is not None:
            self._files = NamedFiles(
                *(settings.folder, settings.max_bytes, spool),
                patience=patience,
                deliver=self._deliver,
            )

    @property
    def delayed(self) -> dict[str, str]:
        """Files that messages name and that have been waited for for long, and why."""
        return self._files.delayed() if self._files else {}

    @property
    def trouble(self) -> str:
        """Why nothing arrives; empty when all is well."""
        told = (self._unheard.text, self._unwritten.text if self._full else "")
        return "; ".join(text for text in told if text)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is not well though images arrive."""
        at, loss = self._loss
        told = (
            "" if self._full else self._unwritten.text,
            loss if time.monotonic() < at + FORGOTTEN else "",
        )
        return tuple(text for text in told if text)

    def start(self) -> None:
        """Begin to receive. An absent broker is nothing special."""
        if self._files:
            self._files.start()
        self._thread.start()

    def waiting(self) -> int:
        """Images in the spool and not yet claimed."""
        return len(self._ready)

    def due(self) -> float:
        """Seconds until this source wants to be asked again, without being woken before."""
        return 0.0 if self._ready else float("inf")

    def look(self) -> None:
        """Nothing: what waits came here by itself."""

    def claim(self, limit: int) -> list[Claim]:
        """Claim up to ``limit`` images, in the order in which they came."""
        claims: list[Claim] = []
        while self._ready and len(claims) < limit:
            claim, connection, packet = self._ready.popleft()
            self._claimed.append((connection, packet))
            claims.append(replace(claim, claimed=time.monotonic()))
        if claims:
            self._wake.set()
        return claims

    def again(self, claim: Claim) -> bool:
        """Take back an image that is not whole, to be read again; False: judge it as it is."""
        return self._files is not None and self._files.again(claim)

    def close(self) -> None:
        """Acknowledge what was claimed, and leave; the broker keeps the rest for the next start."""
        self._stopping = True
        if self._files:
            self._files.close()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(self._options.connect_timeout)
        if not self._thread.is_alive():
            self._wake.close()

    def _run(self) -> None:
        pauses = Backoff(self._options.reconnect_min, self._options.reconnect_max)
        while not self._stopping:
            began = time.monotonic()
            try:
                trouble = self._receive()
            except Exception as error:  # a station runs for years: log it and begin again
                log.exception("the MQTT source failed and restarts")
                trouble = f"unexpected failure, see the log: {error!r}"
            if self._stopping:
                return
            if not trouble:
                continue  # what was left is asked for again
            self._unheard.failed(f"no images from MQTT: {trouble}")
            self.settled = True
            if time.monotonic() > began + 2 * self._options.reconnect_max:
                pauses.reset()
            self._pause(pauses.next())

    def _receive(self) -> str:
        """One connection, from the attempt to its end; why it ended, empty where we wanted it."""
        settings = self._settings
        listen = Listen(
            self._pattern.filter,
            max_payload=settings.limit,
            receive_maximum=settings.receive_maximum,
            session_seconds=settings.session_expiry,
            retained=True,
        )
        connection = Connection(self._options, listen=listen)
        self._connection += 1
        heard = again = False
        received = 0
        try:
            connection.open()
            while not (connection.closed or connection.deaf or self._stopping or again):
                connection.step(self._wake, TICK)
                self._wake.clear()
                if connection.accepted and not heard:
                    heard = True
                    self._begin(resumed=connection.resumed)
                self._acknowledge(connection)
                if connection.received() != received:
                    received, self._moved = connection.received(), time.monotonic()
                for arrived in connection.arrived():
                    self._take(arrived, connection)
                if connection.listening:
                    self._listening()
                again = heard and self._look_at_left()
            self._acknowledge(connection)
        except OSError as error:
            return unreachable(self._options.broker, error)
        finally:
            connection.close()
        return connection.deaf or ("" if again else connection.closed or "")

    def _begin(self, *, resumed: bool) -> None:
        """The broker has let us in: what was left comes again, where it has kept it."""
        self._moved = time.monotonic()
        self._awaited, self._left = {**self._awaited, **self._left}, {}
        if resumed or not self._session.expected:
            return
        self._awaited.clear()
        self.forgotten += 1
        what = (
            f"the broker at {self._options.broker} had no session of {self._options.client_id} at "
            f"{iso_utc(time.time())}, where one was expected: images that waited there may be "
            "lost. It was restarted without its memory, another client took the session, or the "
            "station was away for longer than session_expiry: send again what has no verdict"
        )
        self._loss = (time.monotonic(), what)
        log.warning(what)

    def _listening(self) -> None:
        self._session.begun()
        if not self.settled:
            log.info("receiving images from MQTT")
        self.settled = True
        self._unheard.worked()

    def _acknowledge(self, connection: Connection) -> None:
        while self._claimed:
            number, packet = self._claimed.popleft()
            # Of an earlier connection: it will be sent again, and be a repeat.
            if packet and number == self._connection:
                connection.acknowledge(packet)

    def _take(self, arrived: Arrived, connection: Connection) -> None:
        offer = read_message(arrived, self._pattern, self._settings)
        before = self._awaited.pop(arrived.packet, None)
        if before and not _may_fit(before, self._spool.room()):
            self._left[arrived.packet] = before
            return
        try:
            claim = self._store(offer, arrived)
        except OSError as error:
            self._fail(offer, arrived, error, before)
            return
        if claim is None:
            if arrived.packet:
                connection.acknowledge(arrived.packet)
            return
        self._ready.append((claim, self._connection, arrived.packet))
        self._wake_loop()

    def _store(self, offer: Offer, arrived: Arrived) -> Claim | None:
        """Into the spool, durable; None: it is here or was judged before, or has yet to come."""
        identity, new = self._frame_of(offer, arrived)
        if not new:
            self._tell_repeat(offer, arrived, identity)
            self.repeats += 1
            return None
        self._tell_doubt(offer)
        note = _note_of(offer)
        if offer.named and offer.named.may_come and self._files and self._may_wait():
            note = replace(note, refused=None)
            self._spool.expect(identity, note)
            self._files.expect(identity, note)
            return None
        mtime = offer.named.signature[1] if offer.named and not offer.refused else None
        return self._spool.receive(identity, offer.file, offer.content, note, mtime)

    def _may_wait(self) -> bool:
        """Whether one more file may be waited for, while its message is acknowledged."""
        return self._files is not None and self._files.room() and len(self._ready) < _READY

    def _deliver(self, claim: Claim) -> None:
        """A file that a message named was read; the message was acknowledged when it was noted."""
        self._ready.append((claim, 0, 0))
        self._wake_loop()

    def _fail(self, offer: Offer, arrived: Arrived, error: OSError, before: _Left | None) -> None:
        """It can't be taken: it stays the broker's, and holds up no other."""
        name, size, why = offer.name, len(offer.content), error.strerror or str(error)
        if not arrived.packet:
            lost = f"could not be taken ({why}) and is lost: it was sent with QoS 0. Use QoS 1"
            log.error("%s %s", name, lost)
            self._ignore(name, lost)
            return
        room = self._spool.room()
        tries = before.tries + 1 if before else 0
        at = time.monotonic() + min(2.0**tries, LONGEST)
        # Where there was room enough and it failed all the same (a quota), time alone will tell.
        wanted = size + _SLACK if room < size + _SLACK else 1
        self._left[arrived.packet] = _Left(name, size, tries, at, wanted)
        self._full = room == 0 or len(self._left) >= self._settings.receive_maximum
        others = len(self._left) + len(self._awaited) - 1
        self._unwritten.failed(
            f"{name} ({size} bytes){f' and {others} others' if others else ''} can't be taken into "
            f"{self._spool.work}: {why}. What can't be taken waits at the broker until it can, "
            f"{self._settings.receive_maximum} images at most (receive_maximum): then no "
            "other arrives"
        )

    def _look_at_left(self) -> bool:
        """Whether to ask again for what could not be written: by another connection."""
        now = time.monotonic()
        if self._awaited and now > self._moved + RESENT:
            for left in self._awaited.values():
                log.error("%s could not be taken, and was not sent again: lost", left.name)
                self._ignore(left.name, "could not be taken, and the broker did not send it again")
            self._awaited.clear()
        if not (self._left or self._awaited):
            self._full = False
            self._unwritten.worked()
            return False
        if now < self._look_at or self._awaited:
            return False
        self._look_at = now + TICK
        room = self._spool.room()
        self._full = room == 0 or len(self._left) >= self._settings.receive_maximum
        return any(now >= left.at and _may_fit(left, room) for left in self._left.values())

    def _tell_repeat(self, offer: Offer, arrived: Arrived, identity: str) -> None:
        """A camera that begins to count again would have no image judged, and nobody would know."""
        found = offer.refused.image.sha256 if offer.refused else sha256(offer.content).hexdigest()
        known = self._seen(identity)
        judged = self._spool.sha256_of(identity) or (known.sha256 if known else "")
        if arrived.repeated or not found or found == judged:
            log.debug("%s was received before: a repeat", offer.name)
            return
        why = (
            "is not judged: its topic and id were seen before, apparently for another image. Did "
            "the camera restart its counter? Give each image its own id, or none"
        )
        log.warning("%s %s", offer.name, why)
        self._ignore(offer.name, why)

    def _tell_doubt(self, offer: Offer) -> None:
        if offer.doubt and offer.camera not in self._doubted and len(self._doubted) < _CAMERAS:
            self._doubted.add(offer.camera)
            log.warning("%s: %s", printable(offer.camera), offer.doubt)

    def _ignore(self, name: str, why: str) -> None:
        self.ignored = dict([*self.ignored.items(), (name, why)][-_NAMED:])

    def _frame_of(self, offer: Offer, arrived: Arrived) -> tuple[str, bool]:
        """The identity of what a message offers, and whether it is new."""
        if offer.certain:
            return frame_of(offer, self._spool.holds, self._seen)
        if not arrived.packet:
            return new_id(), True
        identity = offer.identity
        # In this order: a frame leaves the spool only after the journal has it.
        if not self._spool.holds(identity) and self._seen(identity) is None:
            return identity, True
        # The same bytes and packet id again, but sent for the first time: another image.
        return (identity, False) if arrived.repeated else (new_id(), True)

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stopping and (left := until - time.monotonic()) > 0:
            self._wake.wait(min(left, TICK))
            self._wake.clear()


def _note_of(offer: Offer) -> Note:
    now = time.time()
    return Note(
        name=offer.name,
        captured=now if offer.captured is None else offer.captured,
        received=now,
        reply=offer.reply,
        refused=offer.refused,
        wanted=offer.wanted,
    )


def _may_fit(left: _Left, room: int) -> bool:
    """Whether there is room; now and then it is tried without, for a disk may count otherwise."""
    return room >= left.room or time.monotonic() >= left.at + LONGEST
