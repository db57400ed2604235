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


class Wiretap:
    """On a loopback port of its own, until it is closed."""

    fault: Literal["", "cut", "trickle", "silent"] = ""
    """``cut``: hang up in the middle of a verdict, or before its answer, ``cuts`` times;
    ``trickle``: a few bytes at a time; ``silent``: nothing passes, and nobody hangs up."""
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
            while not self._closed.is_set():
                for link in select.select(list(other), [], [], 0.1)[0]:
                    content = link.recv(65_536)
                    if not content:
                        return
                    self._heard += content
                    if not self._send(other[link], content, answer=link is far):
                        return

    def _send(self, to: socket.socket, content: bytes, *, answer: bool) -> bool:
        """Pass it on, as well as the wire can; whether it is still there."""
        if self.fault == "trickle":
            for start in range(0, len(content), _PIECE):
                to.sendall(content[start : start + _PIECE])
                time.sleep(0.001)
        elif self.fault == "cut" and self.cuts and not answer and b"/verdict" in content:
            self.cuts -= 1
            # Whole, and then its answer is lost; or only a part of it.
            to.sendall(content if self.cuts % 2 else content[: len(content) // 2])
            time.sleep(0.05)  # the broker is to have it before the connection is reset
            return False
        elif self.fault != "silent":
            to.sendall(content)
        return True
