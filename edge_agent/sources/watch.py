"""inotify through watchdog: what may have changed, was renamed in, or is open for writing."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileClosedNoWriteEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileOpenedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.inotify import InotifyFullEmitter, InotifyObserver
from watchdog.observers.inotify_c import InotifyConstants

from edge_agent.system.limits import shortage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from watchdog.observers.api import ObservedWatch

log = logging.getLogger(__name__)

HINTS = 10_000  # beyond that the scan finds them
_FOLLOWED = 16  # folders in the folder: each costs a thread
_LATELY = 0.25
"""Seconds. A file that was changed so shortly before its opening is told may have been changed by
whoever has opened it: events come after what they tell."""

Version = tuple[int, int]
"""Size and mtime (ns)."""


class _Emitter(InotifyFullEmitter):
    """Asks the kernel only for what may bring an image.

    Not for "moved from": our own claims are renames out of the folder. Each would be an event to
    read and drop, and watchdog holds it back for half a second, with all that follows it, in case
    there is a "moved to" to pair it with. Not for changed attributes either: watchdog does not
    tell them from changed bytes. Nor for changed bytes: each small addition to a file would be an
    event, through three threads, and a thousand files that grow would take half a processor.
    """

    def get_event_mask_from_filter(self) -> Any:  # a Mask, or an int in watchdog 6
        return (
            InotifyConstants.IN_CREATE
            | InotifyConstants.IN_OPEN
            | InotifyConstants.IN_CLOSE_WRITE
            | InotifyConstants.IN_CLOSE_NOWRITE
            | InotifyConstants.IN_MOVED_TO
            | InotifyConstants.IN_DELETE_SELF
        )


@dataclass
class _Open:
    """A file that somebody has open."""

    version: Version | None
    """What it was when it was opened; None: whoever opened it has made it, or has just changed it.
    Then they write. Others do once it is no longer what it was."""
    made: bool
    """It was created and opened then."""
    times: int = 1


class Watch:
    """Watches one directory and what `follow` adds; never the truth, only a wake-up call.

    Names are relative to the directory: ``part.png``, ``2026-11-30/part.png``.
    """

    def __init__(self, path: Path, wake: Callable[[], None]) -> None:
        real = path.resolve()  # watchdog follows no link
        self._path = os.fsencode(real).rstrip(b"/") + b"/"
        self._folder = path
        self._watched = _identity(path)
        """Which folder had this path when it was watched; None: there was none."""
        self._wake = wake
        self._lock = threading.Lock()
        self._changed = False
        self._renamed: list[str] = []
        self._closed: list[str] = []
        self._made: set[str] = set()
        """Files that were created, and not opened since."""
        self._open: dict[str, _Open] = {}
        self._fresh: set[str] = set()
        self._followed: dict[str, tuple[ObservedWatch, tuple[int, int] | None]] = {}
        """Folders in the folder, and which folder had the path when it was watched."""
        self._observer = InotifyObserver()
        self._observer._emitter_class = _Emitter  # noqa: SLF001  there is no other way in
        self._handler = FileSystemEventHandler()
        self._handler.on_any_event = self._on_event  # type: ignore[method-assign]
        try:
            self._own = self._observer.schedule(self._handler, str(real), recursive=False)
            self._observer.start()
            self._started = True
        except (OSError, RuntimeError) as error:  # a RuntimeError: no thread to be had
            self._started = False
            why = shortage(error) or getattr(error, "strerror", None) or str(error)
            log.warning("no events from %s (%s): it is scanned on a period", path, why)

    def drain(self) -> tuple[bool, list[str], list[str]]:
        """What happened since the last call.

        Returns:
            Whether anything changed; the names of files that were renamed in; and of files that
            were closed by a writer.
        """
        with self._lock:
            changed, renamed, closed = self._changed, self._renamed, self._closed
            self._changed, self._renamed, self._closed = False, [], []
        return changed, renamed, closed

    def writing(self, name: str, version: Version) -> bool:
        """Whether somebody who has a file open has written to it, as far as events tell.

        Args:
            name: of the file.
            version: what it is now.
        """
        opened = self._open.get(name)
        return opened is not None and opened.version != version

    def fresh(self) -> set[str]:
        """Names of files that were created, renamed in or closed by a writer since the last call.

        Not more than memory should hold: beyond that, what a file looks like has to do.
        """
        with self._lock:
            fresh, self._fresh = self._fresh, set()
        return fresh

    def keep_only(self, names: set[str]) -> None:
        """Forget what is known of all other files.

        But not of those that are fresh: they came while these names were listed.
        """
        with self._lock:
            names = names | self._fresh
            self._open = {name: what for name, what in self._open.items() if name in names}
            self._made &= names

    def follow(self, folders: Mapping[str, int]) -> bool:
        """Watch the newest of these folders too, and no others; whether one is watched anew.

        What came to it before is found by a scan alone.

        Args:
            folders: in the watched one, and their mtimes.
        """
        if not self._started:
            return False
        newest = sorted(folders, key=lambda name: folders[name], reverse=True)[:_FOLLOWED]
        alive = {emitter.watch for emitter in self._observer.emitters if emitter.is_alive()}
        for name, (watch, was) in list(self._followed.items()):
            if name not in newest or watch not in alive or was != _identity(self._folder / name):
                del self._followed[name]
                self._observer.unschedule(watch)
        added = [self._add(name) for name in newest if name not in self._followed]
        return any(added)

    def _add(self, name: str) -> bool:
        path = os.path.join(os.fsdecode(self._path), name)  # noqa: PTH118  as watchdog wants it
        was = _identity(self._folder / name)
        try:
            watch = self._observer.schedule(self._handler, path, recursive=False)
        except (OSError, RuntimeError) as error:
            why = shortage(error) or getattr(error, "strerror", None) or str(error)
            log.debug("no events from %s: %s", path, why)
            return False
        self._followed[name] = watch, was
        return True

    def lost(self) -> bool:
        """Whether another folder has the path now: of that one nothing is told here."""
        now = _identity(self._folder)
        if now is None or now != self._watched:
            return now is not None
        # A new folder may have an old one's number: the emitter ends with the folder.
        return self._started and not any(
            emitter.watch == self._own and emitter.is_alive() for emitter in self._observer.emitters
        )

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
        if event.is_directory:
            if not isinstance(event, DirCreatedEvent | DirMovedEvent):
                return
            with self._lock:
                self._changed = True  # there may be images in it
        elif event.event_type == "deleted":
            return
        elif isinstance(event, FileMovedEvent):
            name = self._relative(event.dest_path)
            if name is None:
                return
            self._renamed_in(name)
        else:
            name = self._relative(event.src_path)
            if name is None or not self._happened(name, event):
                return
        self._wake()

    def _relative(self, path: bytes | str) -> str | None:
        whole = os.fsencode(path)
        return os.fsdecode(whole[len(self._path) :]) if whole.startswith(self._path) else None

    def _renamed_in(self, name: str) -> None:
        with self._lock:
            self._forget(name)
            self._freshen(name)
            if len(self._renamed) < HINTS:
                self._renamed.append(name)
            else:
                self._changed = True

    def _happened(self, name: str, event: FileSystemEvent) -> bool:
        """Take it in; whether it calls for a scan."""
        with self._lock:
            if isinstance(event, FileCreatedEvent):  # or linked: then nobody opens it
                self._forget(name)
                self._made.add(name)
                self._freshen(name)
            elif isinstance(event, FileOpenedEvent):
                if not self._opened(name):
                    return False
            elif isinstance(event, FileClosedNoWriteEvent):
                if not self._let_go(name):
                    return False
            elif isinstance(event, FileClosedEvent):
                self._forget(name)
                self._freshen(name)
                if len(self._closed) < HINTS:
                    self._closed.append(name)
            self._changed = True
            return True

    def _opened(self, name: str) -> bool:
        """Whether it was its maker who has opened it."""
        if name in self._open:
            self._open[name].times += 1
            return False
        made = name in self._made
        self._made.discard(name)
        self._open[name] = _Open(None if made else self._version(name), made)
        return made

    def _let_go(self, name: str) -> bool:
        """Whether nobody has it open now, and its maker had."""
        opened = self._open.get(name)
        if opened is None:
            return False
        opened.times -= 1
        if opened.times:
            return False
        del self._open[name]
        return opened.made

    def _version(self, name: str) -> Version | None:
        try:
            status = (self._folder / name).lstat()
        except OSError:
            return None
        lately = time.time() - status.st_mtime < _LATELY
        return None if lately else (status.st_size, status.st_mtime_ns)

    def _forget(self, name: str) -> None:
        """Nobody is known to have it open."""
        self._made.discard(name)
        self._open.pop(name, None)

    def _freshen(self, name: str) -> None:
        if len(self._fresh) < HINTS:
            self._fresh.add(name)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
