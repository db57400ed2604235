"""The camera-drop folder. Events only wake the scanner; a scan of the directory is the truth.

A file counts as whole when it was renamed into the folder, or has come to rest (`Settling`); the
worker's decoder has the last word.

An entry that can't be taken is tried again, each with a back-off of its own and behind what is
new. Only what concerns the place alone, such as a full disk, is told to the caller.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
import tempfile
import time
from collections import deque
from dataclasses import dataclass
from fnmatch import translate
from itertools import islice
from typing import TYPE_CHECKING

from edge_agent.sources.entries import Entries, is_passed_over
from edge_agent.sources.identity import REFUSED, identity_of, look_of
from edge_agent.sources.settling import RESTLESS, Settling
from edge_agent.sources.spool import Spool, SpoolError, sha256_of
from edge_agent.sources.watch import Watch
from edge_agent.system.text import printable
from edge_agent.system.trouble import Trouble
from edge_agent.types import Failure, Image

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from edge_agent.settings import FolderSettings
    from edge_agent.sources.entries import Entry
    from edge_agent.sources.identity import Identity
    from edge_agent.sources.settling import Signature
    from edge_agent.types import Claim

log = logging.getLogger(__name__)

LISTED = 50_000  # names held in memory at once; the rest waits on disk for a later scan
_NAMED = 100  # of what is not taken, by name
_SCAN_COST = 20  # a scan of a huge folder may take at most 1/20 of the time,
_EVENT_COST = 4  # or 1/4 where events call for it
_REFUSALS = (errno.EPERM, errno.EACCES, errno.EROFS)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE)
_BACKOFF = (0.5, 30.0)  # seconds from one try of an entry to the next, from first to longest
_STRAYS = 60.0
"""Seconds between two looks at the folders of other stations."""


@dataclass
class _Done:
    """An entry that was taken, and is still there."""

    signature: Signature
    why: str = ""
    """Why it is still there, where it was to be moved."""
    doubtful: bool = False
    """Its bytes were judged before it was changed; nothing told of another image."""


@dataclass
class _Sick:
    """An entry that could not be taken."""

    signature: Signature
    why: str
    delay: float
    at: float
    """When it is tried again."""


class FolderSource:
    """Finds whole images in a folder and claims them into the spool, oldest first."""

    warnings: tuple[str, ...] = ()
    """What is not well though images can be taken."""
    forgotten = 0
    """Nobody else holds its images, who could forget them."""

    def __init__(
        self,
        settings: FolderSettings,
        spool: Spool,
        *,
        judged: Callable[[str], dict[str, str]],
        wake: Callable[[], None],
        max_bytes: int = 1 << 62,
        patience: float = 0.0,
        inodes_last: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Watch and check the folder.

        Args:
            settings: the folder and how its files are taken.
            spool: where claims go.
            judged: the identities in the journal that begin so, each with the SHA-256 of what was
                judged, or nothing where that is not known; for files that stay in place.
            wake: called from the watcher's thread when there may be something to claim.
            max_bytes: a larger file that stays in place is refused without being copied.
            patience: seconds without a change after which a file counts as whole whatever its end
                looks like.
            inodes_last: a file keeps its inode number there as long as it exists.
            clock: monotonic seconds.

        Raises:
            SpoolError: the folder is missing or can't be read.
        """
        self._settings = settings
        self._path = settings.path
        self._tree = Entries(self._path, settings.depth)
        self._wanted = re.compile("|".join(map(translate, settings.patterns))).match
        self._spool = spool
        self._judged = judged
        self._max_bytes = max_bytes
        self._inodes_last = inodes_last
        self._clock = clock
        self._ready: deque[str] = deque()
        self._again: deque[str] = deque()
        """What could not be taken before: behind all that is new."""
        self._queued: set[str] = set()
        self._settling = Settling(self._path, settle=settings.settle, patience=patience)
        self._taken_at = clock()
        """When an image was taken last."""
        self._restless = ""
        """What is written to all the time, where no image was taken meanwhile."""
        self._done: dict[str, _Done] = {}
        """Files that stay where they are."""
        self._sick: dict[str, _Sick] = {}
        self._refused = {look_of(known) for known in (*judged(REFUSED), *spool.left(REFUSED))}
        """How files look that could not be moved, and were copied."""
        self._remove_at = 0.0
        """When what could not be removed is tried again."""
        self._fresh: set[str] = set()
        """Names under which a file was made, renamed in or closed since one was taken."""
        self._copying: Generator[None, None, Claim | None] | None = None
        self.ignored: dict[str, str] = {}
        """Why something in the folder is not taken, by its printable name."""
        self._strays: dict[str, str] = {}
        self._seen_strays: set[str] = set()
        self._next_strays = 0.0
        self._trouble = Trouble(log, "the folder is back", clock=clock)
        self._rescan = True
        self._rest_until = 0.0
        """No event calls for a scan before: in a folder of many files that would be all we do."""
        self._next_scan = 0.0
        self._next_settled = float("inf")
        self._adopt = False
        """The folder was not there for a while: an earlier run may have claimed images in it."""
        check_inbox(settings)
        self._wake = wake
        self._watch = Watch(self._path, wake)

    @property
    def trouble(self) -> str:
        """Why nothing can be taken; empty when all is well."""
        return self._trouble.text or self._restless

    @property
    def delayed(self) -> dict[str, str]:
        """What could not be taken and is tried again, by its printable name, with the reason."""
        sick = list(islice(self._sick.items(), _NAMED))
        return {printable(name): one.why for name, one in sick}

    def close(self) -> None:
        """Stop watching."""
        self._watch.close()

    def waiting(self) -> int:
        """Files known to be whole and not yet claimed."""
        return len(self._ready)

    def due(self) -> float:
        """Seconds until this source wants to be asked again, without an event before."""
        if self._ready or self._again or self._copying:
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
        if self._adopt:
            self._adopt = False
            claims += self._spool.adopt()
        while len(claims) < limit and (self._copying or self._ready or self._again):
            try:
                copying = self._copying
                claim = self._step(copying) if copying else self._take_next()
            except OSError:
                self._rescan = True
                if claims:
                    break  # these are safe; what is wrong will show at the next
                raise
            if claim is not None:
                self._taken_at = self._clock()
                claims.append(claim)
            elif self._copying:
                break  # a step was made: the caller has its turn
        return claims

    def again(self, _: Claim) -> bool:
        """Nothing is taken back: what is not whole becomes so where it is."""
        return False

    def look(self) -> None:
        """See what has come, if it is time to: `claim` does so first."""
        changed, renamed, closed = self._watch.drain()
        self._rescan |= changed
        for name in closed:
            if self._settling.closed(name):
                self._settling.forget(name)
                self._offer(name)
        for name in renamed:
            self._settling.forget(name)
            self._sick.pop(name, None)
            if len(self._ready) < LISTED:
                self._offer(name)
            else:
                self._rescan = True
        now = self._clock()
        if now >= self._next_look() and len(self._ready) < 256:
            self._scan(now)

    def _scan(self, now: float) -> None:
        self._rescan = False
        if self._watch.lost():  # it was made anew, or something was mounted there
            log.info("%s was replaced by another folder, which is now watched", self._path)
            self._watch.close()
            self._watch = Watch(self._path, self._wake)
            self._adopt = True
        self._fresh |= self._watch.fresh()
        whole: list[tuple[int, str]] = []
        present: set[str] = set()
        ignored: dict[str, str] = {}
        restless: list[tuple[float, str]] = []
        earliest = float("inf")
        settling = 0
        try:
            for name, status, reason in self._entries():
                present.add(name)
                if reason or status is None:
                    ignored[name] = reason
                    continue
                signature = _signature(status)
                if name in self._queued:
                    continue
                if self._is_done(name, signature):
                    if self._done[name].why and now >= self._remove_at:
                        self._offer(name, again=True)
                    continue
                sick = self._sick.get(name)
                if sick and sick.signature == signature:
                    ignored[name] = sick.why
                    if now >= sick.at:
                        self._offer(name, again=True)
                    else:
                        earliest = min(earliest, sick.at)
                    continue
                writing = self._watch.writing(name, signature[1:3])
                ready = self._settling.ready_at(name, signature, now, writing=writing)
                if now >= ready:
                    whole.append((status.st_mtime_ns, name))
                else:
                    earliest = min(earliest, ready)
                    since = self._settling.restless_since(name, now)
                    if since is not None:
                        ignored[name] = f"is still being written to after {now - since:.0f} s"
                        restless.append((since, name))
                settling += 1
                if settling >= LISTED:
                    break
            else:
                self._forget_all_but(present)
                # What came before they were watched is found by one more scan.
                self._rescan |= self._watch.follow(self._tree.folders)
            self._look_for_strays(now)
        except OSError as error:
            self._next_scan = now + self._settings.scan_every
            self._next_settled = float("inf")
            self._adopt = True
            self._trouble.failed(f"{self._path} can't be listed: {error.strerror}")
            return
        self._trouble.worked()
        self._note_restless(restless, now)
        if now >= self._remove_at:
            self._remove_at = now + _BACKOFF[1]
        left = {name: done.why for name, done in self._done.items() if done.why}
        self._tell(ignored | self._strays | left)
        for _, name in sorted(whole):
            self._offer(name)
        finished = self._clock()
        self._next_scan = finished + max(self._settings.scan_every, _SCAN_COST * (finished - now))
        self._rest_until = finished + _EVENT_COST * (finished - now)
        self._next_settled = max(earliest, self._rest_until)

    def _note_restless(self, restless: list[tuple[float, str]], now: float) -> None:
        """A file that is never whole is a trouble where no image was taken beside it."""
        idle = now - self._taken_at
        self._restless = ""
        if restless and idle >= RESTLESS:
            _, name = min(restless)
            self._restless = (
                f"no image was taken in the last {idle:.0f} s, in which {printable(name)} was "
                "written to again and again: let the camera write each image under a name of its "
                "own, or under another name and rename it"
            )

    def _forget_all_but(self, present: set[str]) -> None:
        """What is gone and comes again is another image, though it may look the same."""
        for folder in self._tree.unlisted:  # what lies there may be there still
            known = (*self._done, *self._sick)
            present |= {name for name in known if name.startswith(f"{folder}/")}
        self._fresh |= {name for name in self._done if name not in present}
        self._done = {name: what for name, what in self._done.items() if name in present}
        self._sick = {name: what for name, what in self._sick.items() if name in present}
        self._settling.keep_only(present)
        self._watch.keep_only(present)

    def _look_for_strays(self, now: float) -> None:
        if now < self._next_strays:
            return
        self._next_strays = now + _STRAYS
        found = self._spool.strays()
        self._strays = {
            name: f"holds {count} images that another station has claimed and not filed for more "
            "than a minute: start that station, or move them back into the folder"
            for name, count in found.items()
            if name in self._seen_strays
        }
        self._seen_strays = set(found)

    def _entries(self) -> Iterator[Entry]:
        """Names, what lies behind them, and why it is not to be taken."""
        for name, status, why in self._tree.list():
            if status is None:
                self._put_off(name, (0, 0, 0, 0), why)
                yield name, None, why
            else:
                yield name, status, why or self._why_not(name, status)

    def _why_not(self, name: str, status: os.stat_result) -> str:
        if stat.S_ISLNK(status.st_mode):
            return "is a symbolic link: links are not followed"
        if stat.S_ISDIR(status.st_mode):
            return (
                "is a directory: only files directly in the folder are taken"
                if self._settings.depth == 0
                else f"is a directory deeper than [source.folder] depth = {self._settings.depth}"
            )
        if not stat.S_ISREG(status.st_mode):
            return "is not a regular file"
        if not self._wanted(name.rpartition("/")[2].lower()):
            return "its name matches no pattern in [source.folder]"
        return ""

    def _name(self, path: Path) -> str:
        """What an entry is called here: its path within the folder."""
        return path.relative_to(self._path).as_posix()

    def _offer(self, name: str, *, again: bool = False) -> None:
        if name not in self._queued:
            (self._again if again else self._ready).append(name)
            self._queued.add(name)

    # -- taking one ------------------------------------------------------------------------------

    def _take_next(self) -> Claim | None:
        name = (self._ready or self._again).popleft()
        self._queued.discard(name)
        path = self._path / name
        signature: Signature = (0, 0, 0, 0)
        try:
            status = path.lstat()
            signature = _signature(status)
            claim = self._take(path, status)
        except FileNotFoundError:
            if os.path.lexists(path):
                raise  # it is the spool that is gone
            return None
        except OSError as error:
            if not _of_the_file(error, path):
                raise
            how = "read" if self._settings.after == "keep" else "taken"
            self._put_off(name, signature, f"can not be {how}: {error.strerror}")
            return None
        if claim is not None:
            self._is_well(name)
        return claim

    def _take(self, path: Path, status: os.stat_result) -> Claim | None:
        name = self._name(path)
        if is_passed_over(path.name) or self._why_not(name, status):
            return None  # a hint from an event; the next scan says why
        if self._settling.changed(name, _signature(status)):
            self._rescan = True  # it changed between the scan and now: let it settle again
            return None
        stays = self._settings.after == "keep"
        if not stays and not self._could_not_be_moved(path, status):
            try:
                return self._spool.claim(path)
            except OSError as error:
                if error.errno not in _REFUSALS or not _names(error, path):
                    raise
        identity = identity_of(path, status, stays=stays)
        if self._was_taken(path, identity):
            self._settle(path, status, stays=stays, doubtful=True)
            return None
        if not stays:
            self._refused.add(identity.look)
        if stays and status.st_size > self._max_bytes:
            why = f"{status.st_size} bytes is more than the limit of {self._max_bytes}"
            self._settle(path, status, stays=stays)
            return self._spool.refuse(
                path, status, identity.whole, Failure(why, Image("", status.st_size))
            )
        return self._step(self._copy(path, status, identity))

    def _copy(
        self, path: Path, status: os.stat_result, identity: Identity
    ) -> Generator[None, None, Claim | None]:
        try:
            claim = yield from self._spool.copy(path, status, identity.whole)
        except FileNotFoundError:
            if os.path.lexists(path):
                raise
            return None
        except OSError as error:
            if not _of_the_file(error, path):
                raise
            self._put_off(
                self._name(path), _signature(status), f"can not be read: {error.strerror}"
            )
            return None
        if claim is None:
            self._rescan = True  # written to meanwhile: it settles again
            return None
        self._is_well(self._name(path))
        self._settle(path, status, stays=self._settings.after == "keep")
        return claim

    def _step(self, copying: Generator[None, None, Claim | None]) -> Claim | None:
        """Make a step of a copy; its claim, when that was the last."""
        self._copying = None
        try:
            next(copying)
        except StopIteration as end:
            claim: Claim | None = end.value
            return claim
        self._copying = copying
        return None

    def _settle(
        self, path: Path, status: os.stat_result, *, stays: bool, doubtful: bool = False
    ) -> None:
        """What is copied is to be judged, whatever becomes of the file."""
        name = self._name(path)
        self._fresh.discard(name)
        if stays:
            self._done[name] = _Done(_signature(status), doubtful=doubtful)
        else:
            self._remove(path, status)

    def _remove(self, path: Path, status: os.stat_result) -> None:
        try:
            if _signature(path.lstat()) == _signature(status):
                path.unlink()
        except FileNotFoundError:
            return
        except OSError as error:
            why = f"was judged, but it can't be removed: {error.strerror}"
            name = self._name(path)
            self._done[name] = _Done(_signature(status), why)
            self._tell({**self.ignored, name: why})

    def _could_not_be_moved(self, path: Path, status: os.stat_result) -> bool:
        """Whether a copy of this very file was taken, when it could not be moved."""
        if not self._refused:
            return False
        identity = identity_of(path, status, stays=False)
        return identity.look in self._refused and self._was_taken(path, identity)

    def _was_taken(self, path: Path, identity: Identity) -> bool:
        """Whether this version of a file is in work or was judged.

        Raises:
            OSError: it had to be read to know, and can't be.
        """
        found = dict.fromkeys(self._spool.like(identity.look), "") | self._judged(identity.look)
        if identity.whole in found:
            return True
        if identity.earlier:
            found |= self._judged(identity.earlier)
        if not found or self._name(path) in self._fresh:
            return False
        # Nothing but rights may have changed, or the inode's number where numbers don't last.
        same = [
            (known, digest or self._spool.sha256_of(known))
            for known, digest in found.items()
            if known == identity.earlier
            or not self._inodes_last
            or known.startswith(identity.look + identity.inode)
        ]
        return bool(same) and any(digest in ("", sha256_of(path)) for _, digest in same)

    def _put_off(self, name: str, signature: Signature, why: str) -> None:
        before = self._sick.get(name)
        delay = min(before.delay * 2, _BACKOFF[1]) if before else _BACKOFF[0]
        self._sick[name] = _Sick(signature, why, delay, self._clock() + delay)
        self._next_settled = min(self._next_settled, self._sick[name].at)
        self._tell({**self.ignored, name: why})

    def _is_well(self, name: str) -> None:
        if self._sick.pop(name, None):
            shown = printable(name)
            self.ignored = {key: why for key, why in self.ignored.items() if key != shown}

    def _is_done(self, name: str, signature: Signature) -> bool:
        done = self._done.get(name)
        if done is None or done.signature != signature:
            return False
        if done.doubtful and name in self._fresh:
            return False  # it was told late that this is another image
        self._fresh.discard(name)
        return True

    def _tell(self, ignored: dict[str, str]) -> None:
        shown = {printable(name): ignored[name] for name in sorted(ignored)[:_NAMED]}
        for name, reason in shown.items():
            if name not in self.ignored or (
                self.ignored[name] != reason and "still being written" not in reason
            ):
                log.warning("ignored %s: %s", name, reason)
        if len(ignored) > len(shown):
            shown[f"and {len(ignored) - len(shown)} more"] = "are ignored too"
        self.ignored = shown


def _signature(status: os.stat_result) -> Signature:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _names(error: OSError, path: Path) -> bool:
    """Whether it is this file that an error speaks of, and nothing of the station's own."""
    return str(error.filename or path) == str(path)


def _of_the_file(error: OSError, path: Path) -> bool:
    """Whether an error concerns this file alone: it is tried again by itself."""
    return error.errno not in _NO_ROOM and _names(error, path)


def check_inbox(settings: FolderSettings) -> None:
    """See that the folder is there, and may be used as the settings say.

    Raises:
        SpoolError: it may not; the message says what to do.
    """
    path = settings.path
    try:
        if not path.is_dir():
            raise SpoolError(
                f"[source.folder] path {path} is not a directory: create it, and let the camera "
                "write there"
            )
        next(path.iterdir(), None)
        if settings.after == "move":
            with tempfile.TemporaryFile(dir=path):  # without a name: a kill leaves nothing
                pass
    except OSError as error:
        raise SpoolError(
            f"[source.folder] path {path} is not writable ({error.strerror}): images are moved "
            'out of it. Change its owner, or set after = "keep" to leave them there'
        ) from None
