"""Files that messages name and that can't be judged yet: not there, not readable, not whole.

Each waits by itself, with looks that come ever less often, in a thread that nobody else waits for:
a share may hang. Its message is in the spool by then, durable, and the broker's no more, so that a
kill loses nothing and what is behind it goes on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edge_agent.sources.inside import Named, Signature, look_inside, read_named
from edge_agent.sources.message import file_name, taken
from edge_agent.sources.spool import Note

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge_agent.sources.spool import Spool
    from edge_agent.types import Claim

log = logging.getLogger(__name__)

MOST = 1000  # files that wait; beyond that they are judged as they are
_LOOKS = (0.1, 1.0)  # seconds between two looks, from first to longest
_SLOWER = 1.5
_QUIET = 0.4  # seconds without a change after which a file that was not whole is read again
RESTLESS = 100  # times the patience: then a file that never rests is judged as it is
_FULL = 10.0  # seconds until an image that could not be written is tried again
_LEAVE = 1.0  # seconds that a stop waits for the thread: its share may hang
NAMED_AFTER = 10.0  # seconds
_NAMED = 100


@dataclass
class _File:
    """One that waits."""

    identity: str
    note: Note
    claim: Claim | None
    """What is in the spool of it; None: its message alone."""
    read: Signature | None
    """What the file was when it was read last; None: it never was."""
    seen: Signature | None
    """What it was at the last look; None: it could not be looked at."""
    since: float
    """Since when it has been so."""
    began: float
    at: float
    """When it is looked at again."""
    delay: float = _LOOKS[0]
    why: str = "names a file that is not there yet"


class NamedFiles:
    """Looks after them until they are read; `deliver` then has them, to be judged."""

    def __init__(
        self,
        folder: Path,
        limit: int,
        spool: Spool,
        *,
        patience: float,
        deliver: Callable[[Claim], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is looked at before `start`.

        Args:
            folder: that the files are in.
            limit: bytes that one may have.
            spool: where images go.
            patience: seconds that a file may stay as it is.
            deliver: called from a thread of this object's own.
            clock: monotonic seconds.
        """
        self._folder = folder
        self._limit = limit
        self._spool = spool
        self._patience = patience
        self._deliver = deliver
        self._clock = clock
        self._come: deque[_File] = deque()
        self._files: dict[str, _File] = {}
        """By identity; the thread's own."""
        self._wake = threading.Event()
        self._stopping = False
        # Daemon: a share that hangs can hold it for longer than anyone waits.
        self._thread = threading.Thread(target=self._run, name="mqtt-files", daemon=True)

    def start(self) -> None:
        """Look after what an earlier run has left, and all that comes."""
        self.take_up()
        self._thread.start()

    def take_up(self) -> None:
        """Take up what an earlier run has left."""
        for identity, note in self._spool.expected():
            self.expect(identity, note)

    def room(self) -> bool:
        """Whether another one may wait."""
        return self._patience > 0 and len(self._come) + len(self._files) < MOST

    def expect(self, identity: str, note: Note) -> None:
        """A file that can't be read now; the spool expects it."""
        now = self._clock()
        self._add(_File(identity, note, None, None, None, now, now, now + _LOOKS[0]))

    def again(self, claim: Claim) -> bool:
        """A file that was read and was not whole; whether it is waited for.

        What is in the spool has the size and mtime that the file had when it was read.
        """
        if claim.wanted is None or not self.room():
            return False
        try:
            status = claim.path.lstat()
        except OSError:
            return False
        now, read = self._clock(), (status.st_size, status.st_mtime_ns)
        note = Note(
            claim.name, claim.captured, claim.received, claim.reply, None, wanted=claim.wanted
        )
        made = _File(claim.id, note, claim, read, read, now, now, now + _LOOKS[0])
        made.why = "names a file that is not whole yet"
        self._add(made)
        return True

    def delayed(self) -> dict[str, str]:
        """Those that have waited for long, by name, and why."""
        now = self._clock()
        files = [f for f in list(self._files.values()) if now - f.began >= NAMED_AFTER]
        return {file.note.name: file.why for file in files[:_NAMED]}

    def step(self) -> float:
        """Look at what is due; return the seconds until something else is."""
        while self._come:
            file = self._come.popleft()
            self._files[file.identity] = file
        for file in list(self._files.values()):
            if file.at <= self._clock() and not self._stopping:
                self._look(file)
        return min((file.at for file in self._files.values()), default=1e9) - self._clock()

    def close(self) -> None:
        """Leave what waits to the next start."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(_LEAVE)

    def _add(self, file: _File) -> None:
        self._come.append(file)
        self._wake.set()

    def _run(self) -> None:
        while not self._stopping:
            try:
                wait = self.step()
            except Exception:  # a station runs for years: a thread that ends would tell nobody
                log.exception("checking the files that messages name failed and is retried")
                wait = 1.0
            self._wake.wait(max(0.0, min(wait, 60.0)))
            self._wake.clear()

    def _look(self, file: _File) -> None:
        wanted = file.note.wanted
        seen = look_inside(self._folder, wanted.file) if wanted else None
        now = self._clock()
        if seen != file.seen:
            file.seen, file.since, file.delay = seen, now, _LOOKS[0]
        new = seen is not None and seen != file.read
        if new and now - file.since >= (0.0 if file.read is None else _QUIET):
            self._read(file, final=False)
        elif self._is_over(file, now, new=new):
            self._read(file, final=True)
        else:
            self._look_later(file, now, slower=not new)

    def _look_later(self, file: _File, now: float, *, slower: bool) -> None:
        file.at = now + file.delay
        if slower:
            file.at = min(file.at, max(now, file.since + self._patience))
            file.delay = min(_SLOWER * file.delay, _LOOKS[1])

    def _is_over(self, file: _File, now: float, *, new: bool) -> bool:
        if new:  # it changes, and never rests
            return now - file.began >= RESTLESS * self._patience
        return now - file.since >= self._patience

    def _read(self, file: _File, *, final: bool) -> None:
        """Bring it to the spool as it is now, and have it judged."""
        note, wanted, claim = file.note, file.note.wanted, file.claim
        if wanted is None or note.refused is not None:
            named = Named(refused=note.refused)
        elif claim is not None and file.seen in (file.read, None):
            named = None  # what is in the spool is the last that there is of it
        else:
            named = read_named(self._folder, wanted.file, self._limit)
        if named is not None and named.may_come:  # it is gone again, or its disk fails
            now = self._clock()
            if not final and now - file.since < self._patience:
                self._look_later(file, now, slower=True)
                return
            named, final = (named if claim is None else None), True
        try:
            made = self._receive(file, named) if named else claim
        except OSError as error:
            file.why = f"can't be written to {self._spool.work}: {error.strerror or error}"
            file.at = self._clock() + _FULL
            return
        self._files.pop(file.identity, None)
        if made is not None:
            self._deliver(replace(made, whole=final or made.whole))

    def _receive(self, file: _File, named: Named) -> Claim:
        note, wanted = replace(file.note, refused=named.refused), file.note.wanted
        if named.refused is None and wanted is not None:
            captured = taken(wanted, named)
            note = replace(note, captured=note.captured if captured is None else captured)
        name = file.claim.path.name if file.claim else file_name(note.name, named.content)
        mtime = named.signature[1] if named.refused is None else None
        return self._spool.receive(file.identity, name, named.content, note, mtime)
