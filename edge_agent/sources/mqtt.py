"""Images from an MQTT topic: written to the spool, synced, and only then the broker's no more.

The broker keeps a session for this station, with every message that was not acknowledged. One is
acknowledged when the loop has claimed it, so that ``receive_maximum`` is all that ever waits here
and the rest waits at the broker. What goes wrong on the way ends the connection: the next one
begins with what was not acknowledged, and there is no other place that repeats anything.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING

from edge_agent.mqtt import Backoff, Connection, Listen, Wake
from edge_agent.mqtt.reasons import unreachable
from edge_agent.pattern import TopicPattern
from edge_agent.sources.message import read_message
from edge_agent.sources.spool import Note, new_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.mqtt import Arrived, MqttOptions
    from edge_agent.settings import MqttSourceSettings
    from edge_agent.sources.message import Offer
    from edge_agent.sources.spool import Spool
    from edge_agent.types import Claim

log = logging.getLogger(__name__)

_TICK = 1.0
_DISK = 1.0  # seconds between tries to write what could not be written
_NAMED = 100  # of what is not judged, by name


class MqttSource:
    """Receives in a thread of its own; ``claim`` and the rest are the loop's."""

    def __init__(
        self,
        settings: MqttSourceSettings,
        options: MqttOptions,
        spool: Spool,
        *,
        known: Callable[[str], bool],
        wake: Callable[[], None],
        sha256_of: Callable[[str], str] = lambda _: "",
    ) -> None:
        """Nothing is received before ``start``.

        Args:
            settings: the topic and how its messages are read.
            options: how to reach the broker, with a client id of this source's own.
            spool: where images go.
            known: whether the journal has a frame identity; called from the source's thread.
            wake: called from there when there is something to claim.
            sha256_of: the hash of what was judged under a frame identity; empty: not known.
        """
        self._settings = settings
        self._options = options
        self._spool = spool
        self._known = known
        self._sha256_of = sha256_of
        self._wake_loop = wake
        self._pattern = TopicPattern(settings.topic)
        self._ready: deque[tuple[Claim, int, int]] = deque()
        """In the spool, with the connection and the packet to acknowledge."""
        self._claimed: deque[tuple[int, int]] = deque()
        self._connection = 0
        self._wake = Wake()
        self._stopping = False
        self.ignored: dict[str, str] = {}
        """Images that were not judged because their id was seen before, though they are others."""
        self.delayed: dict[str, str] = {}
        """What could not be taken and is tried again."""
        self.repeats = 0
        """Messages that the broker has sent again, and that were here already."""
        self.trouble = ""
        """Why nothing arrives; empty when all is well."""
        self._said: str | None = None
        """The trouble that was logged last; None: nothing was."""
        # Daemon: a name server that doesn't answer can hold it for longer than anyone waits.
        self._thread = threading.Thread(target=self._run, name="mqtt-source", daemon=True)

    def start(self) -> None:
        """Begin to receive. An absent broker is nothing special."""
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

    def close(self) -> None:
        """Acknowledge what was claimed, and leave; the broker keeps the rest for the next start."""
        self._stopping = True
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
                trouble, full = self._receive(), False
            except _SpoolFailure as error:
                trouble, full = str(error), True
            except Exception as error:  # a station runs for years: log it and begin again
                log.exception("the MQTT source failed and begins again")
                trouble, full = f"unexpected failure, see the log: {error!r}", False
            if self._stopping:
                return
            self._say(trouble)
            if time.monotonic() > began + 2 * self._options.reconnect_max:
                pauses.reset()
            self._pause(_DISK if full else pauses.next())

    def _receive(self) -> str:
        """One connection, from the attempt to its loss; return why it ended."""
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
        try:
            connection.open()
            while connection.closed is None and not connection.deaf and not self._stopping:
                connection.step(self._wake, _TICK)
                self._wake.clear()
                self._acknowledge(connection)
                for arrived in connection.arrived():
                    self._take(arrived, connection)
                if connection.listening:
                    self._say("")
            self._acknowledge(connection)
        except OSError as error:
            return unreachable(self._options.broker, error)
        finally:
            connection.close()
        return connection.deaf or connection.closed or ""

    def _acknowledge(self, connection: Connection) -> None:
        while self._claimed:
            number, packet = self._claimed.popleft()
            # Of an earlier connection: it will be sent again, and be a repeat.
            if packet and number == self._connection:
                connection.acknowledge(packet)

    def _take(self, arrived: Arrived, connection: Connection) -> None:
        offer = read_message(arrived, self._pattern, self._settings)
        try:
            claim = self._store(offer, arrived)
        except OSError as error:
            raise _SpoolFailure(
                f"images that arrive can't be written: {error.strerror}: {error.filename}; "
                "they wait at the broker"
            ) from None
        if claim is None:
            self.repeats += 1
            self._tell_repeat(offer, arrived)
            if arrived.packet:
                connection.acknowledge(arrived.packet)
            return
        self._ready.append((claim, self._connection, arrived.packet))
        self._wake_loop()

    def _tell_repeat(self, offer: Offer, arrived: Arrived) -> None:
        """A camera that begins to count again would have no image judged, and nobody would know."""
        found = offer.refused.image.sha256 if offer.refused else sha256(offer.content).hexdigest()
        judged = self._spool.sha256_of(offer.identity) or self._sha256_of(offer.identity)
        if arrived.repeated or found == judged:
            log.debug("%s was here before: a repeat", offer.name)
            return
        why = (
            "is not judged: its topic and id were seen before, as far as is known of another "
            "image. Does the camera count from 1 again? Give each image an id of its own, or none"
        )
        log.warning("%s %s", offer.name, why)
        self.ignored = dict([*self.ignored.items(), (offer.name, why)][-_NAMED:])

    def _store(self, offer: Offer, arrived: Arrived) -> Claim | None:
        """Into the spool, durable; None where this image is there already, or was judged."""
        now = time.time()
        note = Note(
            name=offer.name,
            captured=now if offer.captured is None else offer.captured,
            received=now,
            reply=offer.reply,
            refused=offer.refused,
        )
        identity = offer.identity if arrived.packet or offer.certain else new_id()
        # In this order: a frame leaves the spool only after the journal has it.
        here = self._spool.holds(identity) or self._known(identity)
        if here and (offer.certain or arrived.repeated):
            return None
        # The same bytes and packet id again, but sent for the first time: another image.
        return self._spool.receive(new_id() if here else identity, offer.file, offer.content, note)

    def _say(self, trouble: str) -> None:
        self.trouble = trouble
        if trouble != self._said:
            self._said = trouble
            shown = f"no images from MQTT: {trouble}" if trouble else "receiving images from MQTT"
            log.log(logging.ERROR if trouble else logging.INFO, shown)

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stopping and (left := until - time.monotonic()) > 0:
            self._wake.wait(min(left, _TICK))
            self._wake.clear()


class _SpoolFailure(Exception):  # noqa: N818  ends one connection, no more
    """The spool could not take an image."""
