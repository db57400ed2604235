"""inotify through watchdog: what may have changed, and what was renamed in."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from typing import TYPE_CHECKING

from watchdog.events import FileMovedEvent, FileSystemEvent, FileSystemEventHandler
from watchdog.observers.inotify import InotifyObserver

try:
    from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper as _Pairing
except ImportError:  # watchdog 6, the last for Python 3.10
    from watchdog.observers.inotify_buffer import (  # type: ignore[import-not-found,no-redef]
        InotifyBuffer as _Pairing,
    )

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = logging.getLogger(__name__)

# watchdog holds every "moved from" back for half a second, and all that follows it in the queue,
# to pair it with a "moved to". Our own claims are renames out of the folder: each would delay the
# next image. Unpaired events are all that is needed here.
_Pairing.delay = 0.0

_HINTS = 10_000  # beyond that the scan finds them


class Watch:
    """Watches one directory; never the truth, only a wake-up call."""

    def __init__(self, path: Path, wake: Callable[[], None]) -> None:
        self._path = os.fsencode(path)
        self._wake = wake
        self._lock = threading.Lock()
        self._changed = False
        self._renamed: list[str] = []
        self._observer = InotifyObserver(generate_full_events=True)
        handler = FileSystemEventHandler()
        handler.on_any_event = self._on_event  # type: ignore[method-assign]
        try:
            self._observer.schedule(handler, str(path), recursive=False)
            self._observer.start()
            self._started = True
        except OSError as error:
            self._started = False
            log.warning("no events from %s (%s): it is scanned on a period", path, error.strerror)

    @property
    def alive(self) -> bool:
        """Whether events can still arrive."""
        return self._started and self._observer.is_alive() and bool(self._observer.emitters)

    def drain(self) -> tuple[bool, list[str]]:
        """Whether anything changed since the last call, and the names that were renamed in."""
        with self._lock:
            changed, renamed = self._changed, self._renamed
            self._changed, self._renamed = False, []
        return changed, renamed

    def close(self) -> None:
        """Stop; safe to call twice."""
        if self._started:
            self._started = False
            self._observer.stop()
            self._observer.join()
        else:
            with contextlib.suppress(RuntimeError):
                self._observer.stop()

    def _on_event(self, event: FileSystemEvent) -> None:
        if event.is_directory or event.event_type in ("opened", "closed_no_write", "deleted"):
            return
        if isinstance(event, FileMovedEvent):
            if not event.dest_path:
                return  # renamed out: a claim of ours
            directory, name = os.path.split(os.fsencode(event.dest_path))
            if directory != self._path:
                return
            with self._lock:
                if len(self._renamed) < _HINTS:
                    self._renamed.append(os.fsdecode(name))
                else:
                    self._changed = True
        else:
            with self._lock:
                self._changed = True
        self._wake()
