"""Stderr as a bounded queue: whoever writes to it never waits for whoever reads it.

A stopped ``| tee`` or a journal that hangs would otherwise stop the line, and its end too: a write
to a full pipe takes as long as its reader likes.
"""

from __future__ import annotations

import io
import os
import select
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_ROOM = 1 << 20  # bytes: some 10,000 lines
_STANDS = 5.0  # seconds that one write may take
_RETRY = 1.0  # seconds between two tries where writing fails


class QueuedStream(io.TextIOBase):
    """Takes the place of ``sys.stderr``; a thread of its own writes. From any thread."""

    def __init__(
        self, descriptor: int, lost: Callable[[int], str], *, encoding: str, room: int = _ROOM
    ) -> None:
        """Start the thread.

        Args:
            descriptor: where the lines go.
            lost: the line that tells how many were not written.
            encoding: of the lines; what it lacks is escaped.
            room: bytes that may wait.

        Raises:
            RuntimeError: there is no thread to be had.
        """
        self._descriptor = descriptor
        self._notice = lost
        self._encoding = encoding
        self._room = room
        # Reentrant: a signal's handler logs too, in a thread that may be in here.
        self._news = threading.Condition(threading.RLock())
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._full = False
        """From the first line that did not fit until that was told."""
        self._lost = 0
        self._since: float | None = None
        """When the write that is under way began."""
        self._error = ""
        """Why the last write failed."""
        threading.Thread(target=self._run, name="stderr", daemon=True).start()

    @property
    def trouble(self) -> str:
        """Why lines are not written; empty while they are."""
        since, lost = self._since, f"{self._lost} log lines are lost" if self._full else ""
        if error := self._error:
            why = f"stderr can't be written: {error}"
        elif self._full or (since is not None and time.monotonic() - since > _STANDS):
            why = "the reader of stderr has stalled"
        else:
            return ""
        return f"{why}; {lost}" if lost else why

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Of the lines."""
        return self._encoding

    def fileno(self) -> int:
        """The descriptor that is written to."""
        return self._descriptor

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, text: str) -> int:
        """Take ``text``, or count its lines where there is no room."""
        data = text.encode(self._encoding, "backslashreplace")
        with self._news:
            # After the first that is lost all are, until it was told: their order stays.
            self._full = self._full or self._size + len(data) > self._room
            if self._full:
                self._lost += data.count(b"\n")
            elif data:
                self._waiting.append(data)
                self._size += len(data)
            self._news.notify_all()
        return len(text)

    def finish(self, seconds: float) -> None:
        """Wait until all is written, as long as somebody reads, and no longer than this."""

        def done() -> bool:
            return bool(self._error) or not (self._waiting or self._full or self._since)

        with self._news:
            self._news.wait_for(done, seconds)

    def _run(self) -> None:
        while True:
            self._write_out(self._next())
            with self._news:
                self._since = None
                self._news.notify_all()

    def _next(self) -> bytes:
        with self._news:
            self._news.wait_for(lambda: self._waiting or self._full)
            if self._waiting:
                data = self._waiting.popleft()
                self._size -= len(data)
            else:
                data = self._notice(self._lost).encode(self._encoding, "backslashreplace")
                self._full, self._lost = False, 0
            self._since = time.monotonic()
        return data

    def _write_out(self, data: bytes) -> None:
        while data:
            data = data[self._try(data) :]

    def _try(self, data: bytes) -> int:
        """Write some of it, or wait for the next try; how many bytes were written."""
        try:
            written = os.write(self._descriptor, data)
        except BlockingIOError:  # another program has set the pipe that it shares with us so
            poll = select.poll()
            poll.register(self._descriptor, select.POLLOUT)
            poll.poll()
            return 0
        except OSError as error:  # a full disk, a pipe that nobody reads any more
            with self._news:
                self._error = error.strerror or str(error)
                self._news.notify_all()
            time.sleep(_RETRY)
            return 0
        self._since, self._error = time.monotonic(), ""
        return written
