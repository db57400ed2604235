"""A socket that hands on what is well-formed and of a size that was asked for, and nothing else.

paho buffers a packet whole, up to MQTT's 256 MB, before anyone can look at its size, and what it
makes of the properties of a message see `edge_agent.mqtt.message`. A maximum packet size in CONNECT
is no way out: the broker then drops the message without a word, and the image has vanished. So
what a message says beside its payload is read here; a payload that is too large is read, hashed and
dropped. paho gets a message with its id and its payload, and `Strainer.messages` has the rest.
"""

from __future__ import annotations

import errno
import hashlib
import socket
import ssl
from collections import deque
from typing import TYPE_CHECKING

from edge_agent.mqtt.message import (
    MAX_HEAD,
    Arrived,
    Refused,
    Said,
    read_properties,
    read_topic,
)

if TYPE_CHECKING:
    from collections.abc import Generator

    Reading = Generator[int, bytes, bytes]

_PUBLISH = 3
_CHUNK = 1 << 16
_CHUNKS = 64  # in one call: the connection's other business must not wait for all of 256 MB
_TURN = 1 << 17  # bytes of whole packets in one turn, for the same reason
_BROKERS = 1 << 12  # bytes that a packet of the broker's own may have: no broker has more to say


class Strainer:
    """The part of a socket that paho uses; ``recv`` never gives a payload over ``limit`` bytes."""

    def __init__(self, link: socket.socket, limit: int) -> None:
        self.messages: deque[Arrived] = deque()
        """What paho is about to hand over, in order, without its payload."""
        self.packets = 0
        """How many packets have begun."""
        self.bytes = 0
        """How many bytes have come."""
        self.broken = ""
        """Why no more can be read, in words; empty while it can."""
        self._link = link
        self._limit = limit
        self._out = bytearray()
        """To be handed on."""
        self._through = 0
        """So many bytes of the link follow unseen."""
        self._turn = 0
        """Bytes of the packets that were handed on in this turn."""
        self._between = True
        """Nothing of the next packet has been read."""
        self._reading = self._read_packets()
        self._wanted = next(self._reading)

    def begin_turn(self) -> None:
        """Hand on packets again, as many as one turn may have."""
        self._turn = 0

    def recv(self, size: int) -> bytes:
        """As ``socket.recv``; BlockingIOError too when there is more than one turn may have.

        Raises:
            OSError: the link's own, or what comes is not MQTT.
        """
        for _ in range(_CHUNKS):
            if self._out or self._through:
                break
            if self._between and self._turn > _TURN:
                raise BlockingIOError
            came = self._link.recv(self._wanted)
            if not came:
                return came
            self.bytes += len(came)
            self._wanted = self._reading.send(came)
        if self._out:
            head = bytes(self._out[:size])
            del self._out[:size]
            return head
        if not self._through:
            raise BlockingIOError
        came = self._link.recv(min(size, self._through))
        self._through -= len(came)
        self.bytes += len(came)
        return came

    def pending(self) -> bool:
        """Whether something can be read though the socket itself is not readable."""
        return bool(self._out) or (
            isinstance(self._link, ssl.SSLSocket) and self._link.pending() > 0
        )

    def send(self, content: bytes) -> int:
        return self._link.send(content)

    def fileno(self) -> int:
        return self._link.fileno()

    def setblocking(self, flag: bool) -> None:  # noqa: FBT001  socket's own signature
        self._link.setblocking(flag)

    def answer_at_once(self) -> None:
        """The second of two small writes does not wait for the first one's TCP ACK."""
        self._link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        self._link.close()

    def _read_packets(self) -> Generator[int, bytes, None]:
        """Yields how many bytes it wants at most, and is sent what came."""
        while True:
            self._between = True
            (first,) = yield 1
            self._between = False
            self.packets += 1
            length, digits = yield from self._number()
            self._turn += length
            if first >> 4 == _PUBLISH:
                yield from self._read_message(first, length)
                continue
            if length > _BROKERS:
                raise self._break(f"a packet of kind {first >> 4} with {length} bytes")
            self._out += bytes([first]) + digits
            self._through = length

    def _read_message(self, first: int, left: int) -> Generator[int, bytes, None]:
        """MQTT 5.0, 3.3: topic, packet id, properties, payload; so many bytes are left of it."""
        qos = first >> 1 & 0b11
        if qos > 1:
            raise self._break(f"a message with QoS {qos}, where 1 was asked for")
        size = int.from_bytes((yield from _exactly(2)), "big")
        left -= 2 + size + 2 * qos
        if left < 1:
            raise self._break("a message that is shorter than its topic")
        topic = yield from _exactly(size)
        packet = yield from _exactly(2 * qos)
        count, digits = yield from self._number()
        left -= len(digits)
        if left < 0:
            raise self._break("a message that is shorter than it says")
        content, malformed = b"", ""
        if count > left:
            malformed = "its properties are longer than what is left of it"
        elif size + count > MAX_HEAD:
            yield from _hashed(count)
            left -= count
            malformed = (
                f"its topic and properties have {size + count} bytes: at most {MAX_HEAD} are read"
            )
        else:
            content = yield from _exactly(count)
            left -= count
        refused = None
        if left > self._limit:
            refused = Refused(left, (yield from _hashed(left)).hex())
            left = 0
        self.messages.append(
            _arrived(first, topic, packet, content, malformed=malformed, refused=refused)
        )
        # What paho wants to have: a topic, the packet's id, no properties.
        head = b"\0\1-" + packet + b"\0"
        self._out += bytes([first]) + _digits(len(head) + left) + head
        self._through = left

    def _number(self) -> Generator[int, bytes, tuple[int, bytes]]:
        """A variable byte integer (MQTT 5.0, 1.5.5), and the bytes that it was."""
        value, digits = 0, b""
        while True:
            digit = yield 1
            value += (digit[0] & 127) << (7 * len(digits))
            digits += digit
            if not digit[0] & 128:
                return value, digits
            if len(digits) == 4:
                raise self._break("a length of more than four bytes")

    def _break(self, what: str) -> OSError:
        self.broken = what
        return OSError(errno.EBADMSG, what)


def _arrived(
    first: int,
    topic: bytes,
    packet: bytes,
    properties: bytes,
    *,
    malformed: str,
    refused: Refused | None,
) -> Arrived:
    said = Said()
    shown = topic.decode(errors="backslashreplace")
    if not malformed:
        try:
            shown, said = read_topic(topic), read_properties(properties)
        except ValueError as error:
            malformed = str(error)
    return Arrived(
        topic=shown,
        payload=b"",
        packet=int.from_bytes(packet, "big"),
        repeated=bool(first & 0b1000),
        retained=bool(first & 1),
        user=said.user,
        response_topic=said.response_topic,
        correlation=said.correlation,
        refused=refused,
        malformed=malformed,
    )


def _exactly(count: int) -> Reading:
    found = bytearray()
    while len(found) < count:
        found += yield count - len(found)
    return bytes(found)


def _hashed(count: int) -> Reading:
    """The SHA-256 of so many bytes, none of which is kept."""
    digest = hashlib.sha256()
    while count:
        came = yield min(count, _CHUNK)
        digest.update(came)
        count -= len(came)
    return digest.digest()


def _digits(value: int) -> bytes:
    digits = b""
    while value > 127:
        digits += bytes([value & 127 | 128])
        value >>= 7
    return digits + bytes([value])
