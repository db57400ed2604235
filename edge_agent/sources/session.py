"""Whether the broker should have a session for this source: what it keeps, nobody else has."""

from __future__ import annotations

import contextlib
import json
import logging
from typing import TYPE_CHECKING

from edge_agent.system.durable import sync_directory, write_whole

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)


class KnownSession:
    """Remembers, in a file, the session that was begun last."""

    def __init__(self, file: Path, *, broker: str, client_id: str, topic: str) -> None:
        """Read what is remembered.

        Args:
            file: that outlives the daemon.
            broker: ``host:port``; another broker never had this session, nor is it one of
                another client id or topic.
            client_id: see there.
            topic: see there.
        """
        self._file = file
        self._own = {"broker": broker, "client_id": client_id, "topic": topic}
        self.expected = False
        """It was begun, and the broker was told to keep it."""
        with contextlib.suppress(OSError, ValueError):  # none yet, or a disk has lost it
            self.expected = json.loads(file.read_bytes()) == self._own

    def begun(self) -> None:
        """The broker has it from now on."""
        if self.expected:
            return
        self.expected = True
        try:
            write_whole(self._file, json.dumps(self._own).encode())
            sync_directory(self._file.parent)
        except OSError as error:
            log.warning("%s can't be written: %s", self._file, error.strerror)
