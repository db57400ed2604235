"""The camera-drop folder. Events only wake the scanner; a scan of the directory is the truth.

A file counts as whole when it was renamed into the folder, or has not changed for ``settle``
seconds by a monotonic clock; the worker's decoder has the last word.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import tempfile
import time
from collections import deque
from fnmatch import fnmatch
from typing import TYPE_CHECKING

from edge_agent.sources.spool import Spool, SpoolError, new_id, sha256_of, stable_id
from edge_agent.sources.watch import Watch
from edge_agent.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from edge_agent.settings import FolderSettings
    from edge_agent.types import Claim

log = logging.getLogger(__name__)

_LISTED = 50_000  # names held in memory at once; the rest waits on disk for a later scan
_NAMED = 100  # of what is not taken, by name
_SCAN_COST = 20  # a scan of a huge folder may take at most 1/20 of the time,
_EVENT_COST = 4  # or 1/4 where events call for it
_REFUSALS = (errno.EPERM, errno.EACCES, errno.EROFS)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE)

Signature = tuple[int, int, int, int]


class FolderSource:
    """Finds whole images in one directory and claims them into the spool, oldest first."""

    warnings: tuple[str, ...] = ()
    """What is not well though images can be taken."""
    forgotten = 0
    """Nobody else holds its images, who could forget them."""

    def __init__(
        self,
        settings: FolderSettings,
        spool: Spool,
        *,
        known: Callable[[str], bool],
        wake: Callable[[], None],
        sha256_of: Callable[[str], str] = lambda _: "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Watch and check the folder.

        Args:
            settings: the folder and how its files are taken.
            spool: where claims go.
            known: whether the journal has a frame identity, for files that stay in place.
            wake: called from the watcher's thread when there may be something to claim.
            sha256_of: the hash of what was judged under a frame identity; empty: not known.
            clock: monotonic seconds.

        Raises:
            SpoolError: the folder is missing or can't be read.
        """
        self._settings = settings
        self._path = settings.path
        self._spool = spool
        self._known = known
        self._sha256_of = sha256_of
        self._clock = clock
        self._ready: deque[str] = deque()
        self._queued: set[str] = set()
        self._observed: dict[str, tuple[Signature, float]] = {}
        self._done: dict[str, tuple[Signature, str]] = {}
        """Files that stay where they are: what they looked like, and why they were not taken."""
        self.ignored: dict[str, str] = {}
        """Why something in the folder is not taken, by its printable name."""
        self.trouble = ""
        """Why nothing can be taken; empty when all is well."""
        self._rescan = True
        self._rest_until = 0.0
        """No event calls for a scan before: in a folder of many files that would be all we do."""
        self._next_scan = 0.0
        self._next_settled = float("inf")
        _check(self._path, writable=settings.after == "move")
        self._wake = wake
        self._watch = Watch(self._path, wake)

    def close(self) -> None:
        """Stop watching."""
        self._watch.close()

    def waiting(self) -> int:
        """Files known to be whole and not yet claimed."""
        return len(self._ready)

    def due(self) -> float:
        """Seconds until this source wants to be asked again, without an event before."""
        if self._ready:
            return 0.0
        return max(0.0, self._next_look() - self._clock())

    def _next_look(self) -> float:
        soonest = min(self._next_scan, self._next_settled)
        return min(soonest, self._rest_until) if self._rescan else soonest

    def claim(self, limit: int) -> list[Claim]:
        """Claim up to ``limit`` images.

        Raises:
            OSError: none can be claimed now, for want of space, say.
        """
        claims: list[Claim] = []
        self.look()
        while self._ready and len(claims) < limit:
            name = self._ready.popleft()
            self._queued.discard(name)
            try:
                claim = self._take(name)
            except OSError:
                self._rescan = True
                if claims:
                    break  # these are safe; what is wrong will show at the next
                raise
            if claim is not None:
                claims.append(claim)
        return claims

    def look(self) -> None:
        """See what has come, if it is time to: `claim` does so first."""
        changed, renamed = self._watch.drain()
        self._rescan |= changed
        for name in renamed:
            self._observed.pop(name, None)
            if len(self._ready) < _LISTED:
                self._offer(name)
            else:
                self._rescan = True
        now = self._clock()
        if now >= self._next_look() and len(self._ready) < 256:
            self._scan(now)

    def _scan(self, now: float) -> None:
        self._rescan = False
        if self._watch.lost():  # it was made anew, or something was mounted there
            log.info("%s is another folder than before, and watched anew", self._path)
            self._watch.close()
            self._watch = Watch(self._path, self._wake)
        # What waits to be taken is held against what it looked like when it was offered.
        observed = {name: self._observed[name] for name in self._queued if name in self._observed}
        whole: list[tuple[int, str]] = []
        present: set[str] = set()
        ignored: dict[str, str] = {}
        earliest = float("inf")
        try:
            for name, status, reason in self._entries():
                present.add(name)
                if reason:
                    ignored[name] = reason
                    continue
                signature = _signature(status)
                if self._is_done(name, signature) or name in self._queued:
                    continue
                before = self._observed.get(name)
                since = before[1] if before and before[0] == signature else now
                if now - since >= self._settings.settle:
                    whole.append((status.st_mtime_ns, name))
                else:
                    earliest = min(earliest, since + self._settings.settle)
                observed[name] = (signature, since)
                if len(observed) >= _LISTED:
                    break
            else:
                self._done = {name: what for name, what in self._done.items() if name in present}
        except OSError as error:
            self._next_scan = now + self._settings.scan_every
            self._next_settled = float("inf")
            self._say(f"{self._path} can't be listed: {error.strerror}")
            return
        self._say("")
        self._observed = observed
        self._tell(ignored | {name: what[1] for name, what in self._done.items() if what[1]})
        for _, name in sorted(whole):
            self._offer(name)
        finished = self._clock()
        self._next_scan = finished + max(self._settings.scan_every, _SCAN_COST * (finished - now))
        self._rest_until = finished + _EVENT_COST * (finished - now)
        self._next_settled = max(earliest, self._rest_until)

    def _entries(self) -> Iterator[tuple[str, os.stat_result, str]]:
        """Names, what lies behind them, and why it is not to be taken."""
        for path in self._path.iterdir():
            if path.name.startswith(".") or _unfinished(path.name):
                continue
            try:
                status = path.lstat()
            except FileNotFoundError:
                continue
            yield path.name, status, self._why_not(path.name, status)

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
        moves = self._settings.after == "move"
        identity = stable_id(path, status, stays=not moves)
        # What was copied before, and could not be removed then, is only removed now.
        known = self._known(identity)
        if moves and self._is_another(path, identity, judged=known):
            identity, known = new_id(), False
        try:
            if moves and not known and not self._spool.holds(identity):
                return self._spool.claim(path)
        except FileNotFoundError:
            if os.path.lexists(path):
                raise  # it is the spool that is gone
            return None
        except OSError as error:
            if error.errno != errno.EXDEV and error.errno not in _REFUSALS:
                raise
        return self._take_copy(path, status, None if known else identity)

    def _is_another(self, path: Path, identity: str, *, judged: bool) -> bool:
        """Whether a file is not the one that has this identity, but only looks like it.

        A camera may give a name again, for as many bytes, before its filesystem's clock moves on;
        and what has been copied is removed.
        """
        digest = self._sha256_of(identity) if judged else self._spool.sha256_of(identity)
        if not digest:
            return False
        try:
            return sha256_of(path) != digest
        except OSError:
            return True  # it is not removed unread

    def _take_copy(self, path: Path, status: os.stat_result, identity: str | None) -> Claim | None:
        """``identity``: None where it has been judged."""
        claim, failure = None, ""
        try:
            if identity is not None:
                claim = self._spool.claim_copy(path, status, identity)
        except FileNotFoundError:
            if os.path.lexists(path):
                raise
            return None
        except OSError as error:
            if error.errno in _NO_ROOM or str(error.filename or path) != str(path):
                raise  # not for this file's sake
            failure = f"can not be read: {error.strerror}"
        else:
            try:
                if self._settings.after == "move" and _signature(path.lstat()) == _signature(
                    status
                ):
                    path.unlink()
                    return claim
            except FileNotFoundError:
                return claim
            except OSError as error:  # whatever it is, the copy is claimed and to be judged
                failure = f"was judged, but it can't be removed: {error.strerror}"
        self._done[path.name] = _signature(status), failure
        self._tell({**self.ignored, path.name: failure} if failure else self.ignored)
        return claim

    def _is_done(self, name: str, signature: Signature) -> bool:
        return name in self._done and self._done[name][0] == signature

    def _tell(self, ignored: dict[str, str]) -> None:
        shown = {printable(name): ignored[name] for name in sorted(ignored)[:_NAMED]}
        for name, reason in shown.items():
            if self.ignored.get(name) != reason:
                log.warning("not taken: %s %s", name, reason)
        if len(ignored) > len(shown):
            shown[f"and {len(ignored) - len(shown)} more"] = "are not taken either"
        self.ignored = shown

    def _say(self, trouble: str) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            log.log(logging.ERROR if trouble else logging.INFO, trouble or "the folder is back")


def _signature(status: os.stat_result) -> Signature:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _unfinished(name: str) -> bool:
    """Names that producers give to files they have not finished."""
    return name.lower().endswith((".tmp", ".temp", ".part", ".partial", ".filepart", "~"))


def _check(path: Path, *, writable: bool) -> None:
    try:
        if not path.is_dir():
            raise SpoolError(
                f"[source.folder] path {path} is not a directory: create it, and let the camera "
                "write there"
            )
        next(path.iterdir(), None)
        if writable:
            with tempfile.TemporaryFile(dir=path):  # without a name: a kill leaves nothing
                pass
    except OSError as error:
        raise SpoolError(
            f"[source.folder] path {path} is not writable ({error.strerror}): images are moved "
            'out of it. Change its owner, or set after = "keep" to leave them there'
        ) from None
