"""Listens as systemd does: what the service says, and how long its watchdog went unfed."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self


class ServiceManager:
    """Hears a service whose watchdog bites after ``period`` seconds, until the block ends."""

    def __init__(self, directory: Path, period: float) -> None:
        self.period = period
        self._path = directory / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self._path))
        self._socket.settimeout(0.1)
        self._over = threading.Event()
        self._fed: float | None = None
        self._longest = 0.0
        self._thread = threading.Thread(target=self._listen)

    @property
    def under(self) -> list[str]:
        """The command that starts a service for it."""
        return ["env", f"NOTIFY_SOCKET={self._path}", f"WATCHDOG_USEC={int(self.period * 1e6)}"]

    @property
    def hungry(self) -> float:
        """The longest time between two feeds so far, the one that lasts included; seconds."""
        now = time.monotonic()
        return max(self._longest, now - self._fed if self._fed is not None else 0.0)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while not self._over.is_set():
            try:
                words = self._socket.recv(4096)
            except TimeoutError:
                continue
            if words in (b"READY=1", b"WATCHDOG=1"):  # it is counted from the start on
                now = time.monotonic()
                if self._fed is not None:
                    self._longest = max(self._longest, now - self._fed)
                self._fed = now
