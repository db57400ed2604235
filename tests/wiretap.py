"""A wire that listens: passes every byte on between its port and another, and keeps a copy.

It can be a bad wire too.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from typing import Literal

_PIECE = 16
_PUBACK, _SUBACK = 4, 9


class Wiretap:
    """On a loopback port of its own, until it is closed."""

    fault: Literal["", "cut", "trickle", "silent", "crawl", "unanswered", "hold"] = ""
    """``cut``: hang up in the middle of a verdict, or before its answer, ``cuts`` times;
    ``trickle``: a few bytes at a time; ``silent``: nothing passes, and nobody hangs up;
    ``crawl``: from its first verdict on, a connection passes five bytes a second;
    ``unanswered``: a connection that is made now passes everything, pings and their answers too,
    but no PUBACK. A connection with one of these two has it for good: only another one helps;
    ``hold``: the answer to a subscription, and what comes behind it, waits until that is over."""
    cuts = 0

    def __init__(self, port: int) -> None:
        self._to = port
        self._heard = bytearray()
        self._closed = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def heard(self) -> bytes:
        """Everything so far, of both directions and all connections."""
        return bytes(self._heard)

    def close(self) -> None:
        """Cut every connection, and take no more."""
        self._closed.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while not self._closed.is_set():
                near, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._pass_on, args=(near,)))
                self._threads[-1].start()

    def _pass_on(self, near: socket.socket) -> None:
        with (
            near,
            contextlib.suppress(OSError),  # the broker is away, or one has gone without a word
            socket.create_connection(("127.0.0.1", self._to)) as far,
        ):
            other = {near: far, far: near}
            unanswered, partial = self.fault == "unanswered", bytearray()
            while not self._closed.is_set():
                for link in select.select(list(other), [], [], 0.1)[0]:
                    content = link.recv(65_536)
                    if not content:
                        return
                    self._heard += content
                    if unanswered and link is far:
                        partial += content
                        content = _without_acknowledgements(partial)
                    if not self._send(other[link], content, answer=link is far):
                        return

    def _send(self, to: socket.socket, content: bytes, *, answer: bool) -> bool:
        """Pass it on, as well as the wire can; whether it is still there."""
        if self.fault == "trickle":
            for start in range(0, len(content), _PIECE):
                to.sendall(content[start : start + _PIECE])
                time.sleep(0.001)
        elif self.fault == "crawl" and not answer and b"/verdict" in content:
            for byte in content:
                if self._closed.wait(0.2):
                    return False
                to.sendall(bytes([byte]))
        elif self.fault == "cut" and self.cuts and not answer and b"/verdict" in content:
            self.cuts -= 1
            # Whole, and then its answer is lost; or only a part of it.
            to.sendall(content if self.cuts % 2 else content[: len(content) // 2])
            time.sleep(0.05)  # the broker is to have it before the connection is reset
            return False
        elif self.fault == "hold" and answer and content[0] >> 4 == _SUBACK:
            while self.fault == "hold":
                if self._closed.wait(0.01):
                    return False
            to.sendall(content)
        elif self.fault != "silent":
            to.sendall(content)
        return True


def _without_acknowledgements(stream: bytearray) -> bytes:
    """Take the whole packets off a stream of MQTT; all but the PUBACKs."""
    passed = bytearray()
    while len(stream) >= 2:
        # MQTT 5.0, 2.1.4: the length after the first byte has seven bits to a byte.
        length = end = 0
        while end < len(stream) - 1:
            end += 1
            length += (stream[end] & 0x7F) << 7 * (end - 1)
            if not stream[end] & 0x80:
                break
        else:
            break
        whole = end + 1 + length
        if len(stream) < whole:
            break
        if stream[0] >> 4 != _PUBACK:
            passed += stream[:whole]
        del stream[:whole]
    return bytes(passed)
