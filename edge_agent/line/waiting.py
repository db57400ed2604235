"""Frames that can't be judged yet: each with a back-off of its own, behind what is new."""

from __future__ import annotations

import heapq
import time
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.types import Claim

_BACKOFF = (0.25, 10.0)  # seconds between two looks, from first to longest
_QUIET = 0.4  # seconds without a change after which a file that was written to is read again
_PATIENCE = 1.0  # seconds that what is due waits at most while there is always something new
_NAMED_AFTER = 10.0  # seconds
_NAMED = 100

Signature = tuple[int, int]
UNREAD: Signature = (0, 0)
"""The size and mtime of what no worker has read."""


@dataclass
class Wait:
    """Why a frame waits, and what its file looked like."""

    claim: Claim
    why: str
    until_quiet: float
    """Seconds without a change until it is judged whatever it is; infinity: it has to change."""
    read: Signature
    """What the file was when it was read last."""
    seen: Signature
    """What it was at the last look."""
    since: float
    """Since when it has been so."""
    began: float
    looks: int = 0


@dataclass
class Waiting:
    """Looks at each file, without reading it, until it is worth a worker's time again."""

    signature_of: Callable[[Claim], Signature | None]
    """Size and mtime of a frame's file now; None: it can't be looked at."""
    clock: Callable[[], float] = time.monotonic
    _by_id: dict[str, Wait] = field(default_factory=dict)
    _due: list[tuple[float, str]] = field(default_factory=list)
    _ready: dict[str, Claim] = field(default_factory=dict)
    """Worth reading again, the longest wait first."""
    _served: float = 0.0

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, claim: Claim, why: str, read: Signature, until_quiet: float) -> bool:
        """Let a frame wait; False where it has been as it is for ``until_quiet`` seconds.

        Args:
            claim: the frame.
            why: in words that stand behind its name.
            read: size and mtime of the file when a worker read it.
            until_quiet: seconds, from when its file last changed.
        """
        now = self.clock()
        wait = self._by_id.get(claim.id)
        if wait is None:
            wait = Wait(claim, why, until_quiet, read, read, now, now)
        elif wait.seen != read:
            wait.seen, wait.since = read, now
        wait.why, wait.until_quiet, wait.read = why, until_quiet, read
        if now - wait.since >= until_quiet:
            self.drop(claim)
            return False
        self._by_id[claim.id] = wait
        self._look_later(wait, now)
        return True

    def drop(self, claim: Claim) -> None:
        """The frame is judged, or given up."""
        self._by_id.pop(claim.id, None)
        self._ready.pop(claim.id, None)

    def look(self) -> None:
        """See which frames are worth reading again."""
        now = self.clock()
        while self._due and self._due[0][0] <= now:
            _, frame = heapq.heappop(self._due)
            wait = self._by_id.get(frame)
            if wait is None or frame in self._ready:
                continue
            seen = self.signature_of(wait.claim)
            if seen is not None and seen != wait.seen:
                wait.seen, wait.since = seen, now
            changed = wait.seen != wait.read
            quiet = _QUIET if changed else wait.until_quiet
            if seen is not None and now - wait.since >= quiet:
                self._ready[frame] = wait.claim
            else:
                self._look_later(wait, now)

    def take(self, *, idle: bool) -> Claim | None:
        """A frame to be judged again: when there is nothing new, and else one now and then."""
        if not self._ready:
            self._served = self.clock()
        if self.due(idle=idle) > 0.0 or not self._ready:
            return None
        self._served = self.clock()
        return self._ready.pop(next(iter(self._ready)))

    def due(self, *, idle: bool) -> float:
        """Seconds until there is something to do."""
        now = self.clock()
        if self._ready:
            return 0.0 if idle else max(0.0, self._served + _PATIENCE - now)
        return max(0.0, self._due[0][0] - now) if self._due else float("inf")

    def waited(self, claim: Claim) -> float:
        """Seconds since the frame was added first; 0 if it was not."""
        wait = self._by_id.get(claim.id)
        return self.clock() - wait.began if wait else 0.0

    def changed(self, claim: Claim) -> bool:
        """Whether the frame's file is another than when it was read; not so if it never was."""
        wait = self._by_id.get(claim.id)
        return wait is not None and wait.read not in (UNREAD, wait.seen)

    def named(self) -> dict[str, str]:
        """The frames that have waited for long, by name, and why."""
        now = self.clock()
        waits = list(self._by_id.values())
        named = {w.claim.name: w.why for w in waits if now - w.began >= _NAMED_AFTER}
        return dict(islice(named.items(), _NAMED))

    def _look_later(self, wait: Wait, now: float) -> None:
        wait.looks += 1
        delay = min(_BACKOFF[0] * 2 ** min(wait.looks // 4, 10), _BACKOFF[1])
        if wait.seen != wait.read:
            pause = max(delay, _QUIET)
        else:
            pause = max(0.01, min(delay, wait.until_quiet - (now - wait.since)))
        heapq.heappush(self._due, (now + pause, wait.claim.id))
