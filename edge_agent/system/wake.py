"""A way to interrupt a thread that waits on sockets, or for workers."""

from __future__ import annotations

import contextlib
import select
import socket


class Wake:
    """Set from any thread or signal handler; waited for with ``poll`` on ``fileno()``."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def set(self) -> None:
        """Wake the thread. Never blocks, and does no harm after `close`."""
        # BlockingIOError: it is full of earlier wakes, which do as well.
        with contextlib.suppress(OSError):
            self._writer.send(b"!")

    def clear(self) -> bool:
        """Whether it was set since the last call."""
        try:
            return bool(self._reader.recv(4096))
        except BlockingIOError:
            return False

    def wait(self, timeout: float) -> None:
        """Wait until it is set, for ``timeout`` seconds at most."""
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        poll.poll(timeout * 1000)

    def fileno(self) -> int:
        return self._reader.fileno()

    def close(self) -> None:
        self._reader.close()
        self._writer.close()
