"""A broker, and a client, that say whatever a test wants, right or wrong, byte for byte.

The broker lets everyone in, grants every subscription and acknowledges every publish: what a real
broker would never pass on, or say by itself, is sent with `RawBroker.send`.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

from tests.line import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

CONNACK, PUBLISH, PUBACK, SUBACK = 2, 3, 4, 9
_CONNECT, _SUBSCRIBE, _PING = 1, 8, 12
_CLEAN = 2  # of a CONNECT's flags: no session that was is wanted


def digits(value: int) -> bytes:
    """A variable byte integer (MQTT 5.0, 1.5.5)."""
    found = bytearray()
    while True:
        value, low = divmod(value, 128)
        found.append(low | (128 if value else 0))
        if not value:
            return bytes(found)


def text(content: bytes) -> bytes:
    """A string with its length before it."""
    return len(content).to_bytes(2, "big") + content


def packet(kind: int, body: bytes, flags: int = 0) -> bytes:
    """A whole packet."""
    return bytes([kind << 4 | flags]) + digits(len(body)) + body


def publish(
    topic: bytes, payload: bytes, number: int, *, properties: bytes = b"", qos: int = 1
) -> bytes:
    """A message with a packet id, unless it has QoS 0."""
    head = text(topic) + (number.to_bytes(2, "big") if qos else b"")
    return packet(PUBLISH, head + digits(len(properties)) + properties + payload, qos << 1)


class RawBroker:
    """On a loopback port of its own, until it is closed."""

    def __init__(self) -> None:
        self.connack = lambda client: bytes([client in self._sessions, 0, 0])
        """What a client's CONNACK holds: flags, reason code, properties. It has a session from its
        second connection on, if it wants one."""
        self.suback = lambda number: number + b"\0\1"
        """What a SUBACK to this packet id holds; empty: there is none."""
        self.connections: dict[str, int] = {}
        """How often each client has connected."""
        self.acknowledged: list[int] = []
        """Packet ids of the messages that were acknowledged, in order."""
        self.published: list[tuple[bytes, bytes]] = []
        """Topic and the rest of all that was published here, in order."""
        self._sessions: set[str] = set()
        self._links: dict[str, socket.socket] = {}
        self._closed = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def send(self, client: str, content: bytes) -> None:
        """To a client that has subscribed, once it has; it may hang up over it."""
        wait_for(lambda: client in self._links)
        with contextlib.suppress(OSError):
            self._links[client].sendall(content)

    def close(self) -> None:
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for link in list(self._links.values()):
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(20)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while not self._closed:
                link, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._serve, args=(link,)))
                self._threads[-1].start()

    def _serve(self, link: socket.socket) -> None:
        client = ""
        with link, link.makefile("rb") as stream, contextlib.suppress(OSError, EOFError):
            link.settimeout(60)
            while not self._closed:
                kind, body = _read(stream.read)
                if kind == _CONNECT:
                    client = _name(body)
                    self._links.pop(client, None)  # of the connection before
                    self.connections[client] = self.connections.get(client, 0) + 1
                    link.sendall(packet(CONNACK, self.connack(client)))
                    if not body[7] & _CLEAN:
                        self._sessions.add(client)
                elif kind == _SUBSCRIBE:
                    if answer := self.suback(body[:2]):
                        link.sendall(packet(SUBACK, answer))
                    self._links[client] = link
                elif kind == PUBLISH:
                    size = int.from_bytes(body[:2], "big")
                    self.published.append((body[2 : 2 + size], body[4 + size :]))
                    link.sendall(packet(PUBACK, body[2 + size : 4 + size]))
                elif kind == PUBACK:
                    self.acknowledged.append(int.from_bytes(body[:2], "big"))
                elif kind == _PING:
                    link.sendall(b"\xd0\0")
        if self._links.get(client) is link:
            del self._links[client]


class RawClient:
    """A client that speaks MQTT by hand: no library sends what it sends."""

    def __init__(self, port: int, client_id: str = "raw") -> None:
        """Connect to a broker without a session."""
        self._link = socket.create_connection(("127.0.0.1", port))
        connect = text(b"MQTT") + b"\5\2\0\0\0" + text(client_id.encode())
        self._link.sendall(packet(_CONNECT, connect))
        # All of it: what is left unread has the kernel throw away what was sent, at the end.
        assert self._link.recv(4096)[0] >> 4 == CONNACK

    def send(self, content: bytes) -> None:
        """Whole packets, or parts of them."""
        self._link.sendall(content)

    def close(self) -> None:
        self._link.close()


def _read(read: Callable[[int], bytes]) -> tuple[int, bytes]:
    first = _exactly(read, 1)[0]
    length = shift = 0
    while True:
        digit = _exactly(read, 1)[0]
        length |= (digit & 127) << shift
        shift += 7
        if not digit & 128:
            return first >> 4, _exactly(read, length)


def _exactly(read: Callable[[int], bytes], count: int) -> bytes:
    found = read(count)
    if len(found) < count:
        raise EOFError
    return found


def _name(body: bytes) -> str:
    """The client id of a CONNECT: behind protocol, version, flags, keep-alive and properties."""
    place = 10
    length = shift = 0
    while True:
        digit = body[place]
        place += 1
        length |= (digit & 127) << shift
        shift += 7
        if not digit & 128:
            break
    place += length
    size = int.from_bytes(body[place : place + 2], "big")
    return body[place + 2 : place + 2 + size].decode()
