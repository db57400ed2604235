"""A socket that lets no large payload through: what is too large is read, hashed and dropped.

paho buffers a packet whole, up to MQTT's 256 MB, before anyone can look at its size. A maximum
packet size in CONNECT is no way out: the broker then drops the message without a word, and the
image has vanished. So the reader gets the packet with its topic, properties and id, and a mark in
the place of its payload, from which `Strainer.refused` knows how large it was.
"""

from __future__ import annotations

import errno
import hashlib
import secrets
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

    Reading = Generator[int, bytes, bytes]

_PUBLISH = 3
_CHUNK = 1 << 16
_CHUNKS = 64  # in one call: the connection's other business must not wait for all of 256 MB
_PROPERTIES = 1 << 16  # what a refused message may have of them; beyond that they are dropped


@dataclass(frozen=True)
class Refused:
    """The payload of a message that was too large."""

    bytes: int
    sha256: str


class Strainer:
    """The part of a socket that paho uses; ``recv`` never gives a payload over ``limit`` bytes."""

    def __init__(self, link: socket.socket, limit: int) -> None:
        self._link = link
        self._limit = limit
        self._mark = secrets.token_bytes(16)  # what no producer can know
        self._out = bytearray()
        """To be handed on."""
        self._through = 0
        """So many bytes of the link follow unseen."""
        self._reading = self._read_packets()
        self._wanted = next(self._reading)

    def recv(self, size: int) -> bytes:
        """As ``socket.recv``; BlockingIOError too when there is more to drop than one call may.

        Raises:
            OSError: the link's own, or what comes is not MQTT.
        """
        for _ in range(_CHUNKS):
            if self._out or self._through:
                break
            came = self._link.recv(self._wanted)
            if not came:
                return came
            self._wanted = self._reading.send(came)
        if self._out:
            head = bytes(self._out[:size])
            del self._out[:size]
            return head
        if not self._through:
            raise BlockingIOError
        came = self._link.recv(min(size, self._through))
        self._through -= len(came)
        return came

    def refused(self, payload: bytes) -> Refused | None:
        """What was dropped, where the payload is the mark that stands for it."""
        if not payload.startswith(self._mark):
            return None
        size, digest = payload[16:24], payload[24:]
        return Refused(int.from_bytes(size, "big"), digest.hex())

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
            first = yield 1
            length, digits = yield from _number()
            if first[0] >> 4 != _PUBLISH or length <= self._limit:
                self._out += first + digits
                self._through = length
                continue
            head = yield from _exactly(2)  # MQTT 5.0, 3.3.2: topic, packet id, properties
            head += yield from _exactly(int.from_bytes(head, "big") + 2 * bool(first[0] & 0b110))
            count, shown = yield from _number()
            left = length - len(head) - len(shown) - count
            if left < 0:
                raise OSError(errno.EBADMSG, "a packet is shorter than its properties")
            if left <= self._limit:
                self._out += first + digits + head + shown
                self._through = count + left
                continue
            if count <= _PROPERTIES:
                head += shown + (yield from _exactly(count))
            else:
                yield from _hashed(count)
                head += b"\0"
            digest = yield from _hashed(left)
            mark = self._mark + left.to_bytes(8, "big") + digest
            self._out += first + _digits(len(head) + len(mark)) + head + mark


def _exactly(count: int) -> Reading:
    found = b""
    while len(found) < count:
        found += yield count - len(found)
    return found


def _hashed(count: int) -> Reading:
    """The SHA-256 of so many bytes, none of which is kept."""
    digest = hashlib.sha256()
    while count:
        came = yield min(count, _CHUNK)
        digest.update(came)
        count -= len(came)
    return digest.digest()


def _number() -> Generator[int, bytes, tuple[int, bytes]]:
    """A variable byte integer (MQTT 5.0, 1.5.5), and the bytes that it was."""
    value, digits = 0, b""
    while True:
        digit = yield 1
        value += (digit[0] & 127) << (7 * len(digits))
        digits += digit
        if not digit[0] & 128:
            return value, digits
        if len(digits) == 4:
            raise OSError(errno.EBADMSG, "a length of more than four bytes")


def _digits(value: int) -> bytes:
    digits = b""
    while value > 127:
        digits += bytes([value & 127 | 128])
        value >>= 7
    return digits + bytes([value])
