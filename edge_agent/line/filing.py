"""Judged frames on their way out of ``work/``, to ``processed/`` or ``quarantine/``."""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_agent.journal import JournalError
from edge_agent.sources.spool import RewrittenError
from edge_agent.system.trouble import Trouble
from edge_agent.types import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge_agent.journal import Journal
    from edge_agent.sources.spool import Spool
    from edge_agent.types import Claim, Recorded

log = logging.getLogger(__name__)

_FIRST_RETRY, _LONGEST_RETRY = 1.0, 10.0  # seconds between tries to file an image away
_DONE = object()


@dataclass
class _Frame:
    claim: Claim
    verdict: Verdict
    reason: str
    sha256: str
    """Of the bytes that were judged; empty: not known."""
    steps: Iterator[None] | None = None
    """What is left of a copy to another filesystem."""
    delay: float = _FIRST_RETRY
    at: float = 0.0
    """When it is tried again."""


class Filing:
    """Files frames away as the journal says, and tries again what fails."""

    def __init__(
        self, spool: Spool, journal: Journal, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._spool = spool
        self._journal = journal
        self._clock = clock
        self._copying: deque[_Frame] = deque()
        """What is being copied to another filesystem, a step at a time."""
        self._failed: list[_Frame] = []
        self.renewed: list[Claim] = []
        """Frames whose file was written to after it was judged: to be judged again."""
        self.trouble = Trouble(log, "filing: back to normal", clock=clock)

    @property
    def failed(self) -> int:
        """Frames that can't be filed away now."""
        return len(self._failed)

    def __len__(self) -> int:
        """Frames that are not filed away yet."""
        return len(self._failed) + len(self._copying)

    def due(self) -> float:
        """Seconds until `resume` has something to do; infinite: nothing waits."""
        if self._copying:
            return 0.0
        return min((one.at for one in self._failed), default=float("inf")) - self._clock()

    def add(self, claim: Claim, recorded: Recorded) -> None:
        """File a frame away, or begin to."""
        self._spool.reserve_again(claim, recorded.stored)
        self._file(_Frame(claim, recorded.verdict, recorded.reason, recorded.sha256))

    def resume(self) -> None:
        """Make a step of a copy, and try again what failed long enough ago."""
        if self._copying:
            self._file(self._copying.popleft())
        if not self._failed:
            return
        now = self._clock()
        due = [one for one in self._failed if one.at <= now]
        self._failed = [one for one in self._failed if one.at > now]
        for frame in due:
            self._file(frame)
        if not self._failed:
            self.trouble.worked()

    def _file(self, frame: _Frame) -> None:
        """Move a frame to its place, or a step nearer to it."""
        try:
            if frame.steps is None:
                frame.steps = self._begin(frame)
            if next(frame.steps, _DONE) is not _DONE:
                self._copying.append(frame)
        except RewrittenError:
            self._renew(frame)
        except OSError as error:
            self._try_later(frame, error)

    def _begin(self, frame: _Frame) -> Iterator[None]:
        claim = frame.claim
        if claim.copy:
            self._spool.discard(claim)
            return iter(())
        if frame.verdict is Verdict.ERROR:
            return self._spool.quarantine(claim, frame.reason, frame.sha256)
        return self._spool.keep(claim, frame.sha256)

    def _try_later(self, frame: _Frame, error: OSError) -> None:
        frame.steps = None
        frame.at = self._clock() + frame.delay
        frame.delay = min(2 * frame.delay, _LONGEST_RETRY)
        self._failed.append(frame)
        claim = frame.claim
        self.trouble.failed(f"{claim.name} can't leave {claim.path.parent}: {error}")

    def _renew(self, frame: _Frame) -> None:
        """It was written to after it was judged: what it holds now is another image."""
        try:
            claim = self._spool.renew(frame.claim)
        except OSError as error:
            self._try_later(frame, error)
            return
        try:
            self._journal.lose_place(frame.claim.id)
        except JournalError as error:
            if not error.temporary:
                raise
            log.warning("%s: the journal still names a place for it: %s", claim.name, error)
        log.warning("%s was written to after it was judged: it is judged again", claim.name)
        self.renewed.append(claim)
