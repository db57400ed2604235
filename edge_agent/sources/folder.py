"""The camera-drop folder. Events only wake the scanner; a scan of the directory is the truth.

A file counts as whole when it was renamed into the folder, or has not changed for ``settle``
seconds by a monotonic clock; the worker's decoder has the last word.
"""

from __future__ import annotations

import errno
import logging
import stat
import time
from collections import deque
from fnmatch import fnmatch
from typing import TYPE_CHECKING

from edge_agent.sources.spool import Spool, SpoolError, stable_id
from edge_agent.sources.watch import Watch
from edge_agent.text import printable

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from pathlib import Path

    from edge_agent.settings import FolderSettings
    from edge_agent.types import Claim

log = logging.getLogger(__name__)

_LISTED = 50_000  # names held in memory at once; the rest waits on disk for a later scan
_SCAN_COST = 20  # a scan of a huge folder may take at most 1/20 of the time
_REFUSALS = (errno.EPERM, errno.EACCES, errno.EROFS)

Signature = tuple[int, int, int]


class FolderSource:
    """Finds whole images in one directory and claims them into the spool, oldest first."""

    def __init__(
        self,
        settings: FolderSettings,
        spool: Spool,
        *,
        known: Callable[[str], bool],
        wake: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Watch and check the folder.

        Args:
            settings: the folder and how its files are taken.
            spool: where claims go.
            known: whether the journal has a frame identity, for files that stay in place.
            wake: called from the watcher's thread when there may be something to claim.
            clock: monotonic seconds.

        Raises:
            SpoolError: the folder is missing or can't be read.
        """
        self._settings = settings
        self._path = settings.path
        self._spool = spool
        self._known = known
        self._clock = clock
        self._ready: deque[str] = deque()
        self._queued: set[str] = set()
        self._observed: dict[str, tuple[Signature, float]] = {}
        self._done: dict[str, Signature] = {}
        """Files that stay where they are and have been taken, by what they looked like."""
        self.ignored: dict[str, str] = {}
        """Why something in the folder is not taken, by its printable name."""
        self._rescan = True
        self._next_scan = 0.0
        self._next_settled = float("inf")
        _check(self._path, writable=settings.after == "move")
        self._watch = Watch(self._path, wake)

    def close(self) -> None:
        """Stop watching."""
        self._watch.close()

    @property
    def events(self) -> bool:
        """Whether the filesystem tells of changes; if not, the folder is scanned on a period."""
        return self._watch.alive

    def waiting(self) -> int:
        """Files known to be whole and not yet claimed."""
        return len(self._ready)

    def due(self) -> float:
        """Seconds until this source wants to be asked again, without an event before."""
        if self._ready:
            return 0.0
        return max(0.0, min(self._next_scan, self._next_settled) - self._clock())

    def claim(self, limit: int) -> list[Claim]:
        """Claim up to ``limit`` images."""
        claims: list[Claim] = []
        self._look()
        while self._ready and len(claims) < limit:
            name = self._ready.popleft()
            self._queued.discard(name)
            claim = self._take(name)
            if claim is not None:
                claims.append(claim)
        return claims

    def _look(self) -> None:
        changed, renamed = self._watch.drain()
        self._rescan |= changed
        for name in renamed:
            self._observed.pop(name, None)
            self._offer(name)
        now = self._clock()
        due = self._rescan or now >= min(self._next_scan, self._next_settled)
        if due and len(self._ready) < 256:
            self._scan(now)

    def _scan(self, now: float) -> None:
        self._rescan = False
        observed: dict[str, tuple[Signature, float]] = {}
        whole: list[tuple[int, str]] = []
        present: set[str] = set()
        ignored: dict[str, str] = {}
        earliest = float("inf")
        try:
            entries = self._list()
        except OSError as error:
            self._next_scan = now + self._settings.scan_every
            self._tell({printable(str(self._path)): f"can't be listed: {error.strerror}"})
            return
        for name, status in entries:
            present.add(name)
            reason = self._why_not(name, status)
            if reason:
                ignored[printable(name)] = reason
                continue
            signature = _signature(status)
            if self._done.get(name) == signature or name in self._queued:
                continue
            before = self._observed.get(name)
            since = before[1] if before and before[0] == signature else now
            if now - since >= self._settings.settle:
                whole.append((status.st_mtime_ns, name))
            else:
                earliest = min(earliest, since + self._settings.settle)
            observed[name] = (signature, since)
        self._observed = observed
        self._done = {name: what for name, what in self._done.items() if name in present}
        self._tell(ignored)
        for _, name in sorted(whole):
            self._offer(name)
        finished = self._clock()
        pause = max(self._settings.scan_every, _SCAN_COST * (finished - now))
        self._next_scan = finished + pause
        self._next_settled = earliest

    def _list(self) -> list[tuple[str, os.stat_result]]:
        listed: list[tuple[str, os.stat_result]] = []
        for path in self._path.iterdir():
            if path.name.startswith(".") or _unfinished(path.name):
                continue
            try:
                listed.append((path.name, path.lstat()))
            except FileNotFoundError:
                continue
            if len(listed) >= _LISTED + len(self._done):
                break
        return listed

    def _why_not(self, name: str, status: os.stat_result) -> str:
        if stat.S_ISLNK(status.st_mode):
            return "is a symbolic link: links are not followed"
        if stat.S_ISDIR(status.st_mode):
            return "is a directory: only files directly in the folder are taken"
        if not stat.S_ISREG(status.st_mode):
            return "is not a regular file"
        if not any(fnmatch(name.lower(), pattern) for pattern in self._settings.patterns):
            return "its name matches none of the patterns in [source.folder]"
        return ""

    def _offer(self, name: str) -> None:
        if name not in self._queued:
            self._ready.append(name)
            self._queued.add(name)

    def _take(self, name: str) -> Claim | None:
        path = self._path / name
        try:
            status = path.lstat()
        except FileNotFoundError:
            return None
        if name.startswith(".") or _unfinished(name) or self._why_not(name, status):
            return None  # a hint from an event; the next scan says why
        before = self._observed.pop(name, None)
        if before and before[0] != _signature(status):
            self._rescan = True  # it changed between the scan and now: let it settle again
            return None
        try:
            if self._settings.after == "keep":
                return self._take_copy(path, status)
            return self._spool.claim(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.EXDEV and error.errno not in _REFUSALS:
                raise
        try:
            claim = self._take_copy(path, status)
        except OSError as error:
            self._done[name] = _signature(status)
            self._tell({**self.ignored, printable(name): f"can't be taken: {error.strerror}"})
            return None
        self._remove(path, status)
        return claim

    def _take_copy(self, path: Path, status: os.stat_result) -> Claim | None:
        identity = stable_id(path, status)
        self._done[path.name] = _signature(status)
        return None if self._known(identity) else self._spool.claim_copy(path, identity)

    def _remove(self, path: Path, status: os.stat_result) -> None:
        try:
            if _signature(path.lstat()) == _signature(status):
                path.unlink()
                self._done.pop(path.name, None)
        except OSError as error:
            log.warning("%s stays in the folder: %s", printable(path.name), error.strerror)

    def _tell(self, ignored: dict[str, str]) -> None:
        for name, reason in ignored.items():
            if self.ignored.get(name) != reason:
                log.warning("not taken: %s %s", name, reason)
        self.ignored = ignored


def _signature(status: os.stat_result) -> Signature:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _unfinished(name: str) -> bool:
    """Names that producers give to files they have not finished."""
    return name.lower().endswith((".tmp", ".temp", ".part", ".partial", ".filepart", "~"))


def _check(path: Path, *, writable: bool) -> None:
    if not path.is_dir():
        raise SpoolError(
            f"[source.folder] path {path} is not a directory: create it, and let the camera "
            "write there"
        )
    probe = path / f".edge-agent-{time.time_ns():x}"
    try:
        next(path.iterdir(), None)
        if writable:
            probe.touch()
            probe.unlink()
    except OSError as error:
        raise SpoolError(
            f"[source.folder] path {path} is not writable ({error.strerror}): images are moved "
            'out of it. Change its owner, or set after = "keep" to leave them there'
        ) from None
