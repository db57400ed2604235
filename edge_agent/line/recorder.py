"""Inspections on their way into the journal: in groups, and held back while its disk is full."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_agent.journal import JournalError
from edge_agent.system.trouble import Trouble
from edge_agent.types import Recorded, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.journal import Journal
    from edge_agent.types import Claim, Inspection

log = logging.getLogger(__name__)

_RETRY = 1.0  # seconds between tries of what a full disk holds up
# While there is a backlog, frames share a commit's trip to the disk.
_GROUP = 16  # inspections in a commit
_GROUP_WAIT = 0.05  # seconds that the first of them waits for the others


@dataclass(frozen=True)
class JudgedFrame:
    """A frame and its inspection, which is not committed yet."""

    claim: Claim
    inspection: Inspection
    signature: tuple[int, int]
    """Size and mtime (ns) of the file whose bytes were judged."""


@dataclass(frozen=True)
class Outlets:
    """Where inspections go beside the journal."""

    render: Callable[[int, Inspection], bytes]
    """The message of an inspection, given its sequence number."""
    counts: tuple[Callable[[Inspection], None], ...]
    """Each is called with each that is committed."""
    notify: Callable[[], None] = lambda: None
    """Called when there may be messages to publish."""


class Recorder:
    """Commits inspections; hands over the frames whose inspection stands in the journal."""

    def __init__(
        self,
        journal: Journal,
        outlets: Outlets,
        *,
        sync: Callable[[], bool],
        rewritten: Callable[[JudgedFrame], bool],
        recorded: Callable[[Claim, Recorded], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing waits.

        Args:
            journal: where they are committed.
            outlets: who is told.
            sync: bring the claims to the disk; False: it can't be done now.
            rewritten: whether a frame's file was written to since it was read; then it is taken
                back, and not committed.
            recorded: called with each frame that may be filed away now.
            clock: monotonic seconds.
        """
        self._journal = journal
        self._outlets = outlets
        self._sync = sync
        self._rewritten = rewritten
        self._recorded = recorded
        self._clock = clock
        self._group: list[JudgedFrame] = []
        """To be committed together, at the latest at ``_commit_at``."""
        self._commit_at = float("inf")
        self._held_back: list[JudgedFrame] = []
        """What a full disk, or another program's lock, keeps from being committed."""
        self._retry_at = 0.0
        self.count = 0
        """Inspections committed since the start: progress is a commit, not an effort."""
        self.trouble = Trouble(log, "journal: back to normal", clock=clock)

    @property
    def held_back(self) -> int:
        """Inspections that can't be committed now."""
        return len(self._held_back)

    def due(self) -> float:
        """Seconds until a commit is due; infinite: nothing waits."""
        retry = self._retry_at if self._held_back else float("inf")
        return min(self._commit_at, retry) - self._clock()

    def add(self, judged: JudgedFrame) -> None:
        """Take in an inspection, to be committed by `commit`."""
        if not self._group:
            self._commit_at = self._clock() + _GROUP_WAIT
        self._group.append(judged)

    def commit(self, *, behind: bool) -> None:
        """Commit what was judged: at once, or, ``behind`` with work, when it is a group."""
        wait = behind and len(self._group) < _GROUP and self._clock() < self._commit_at
        if self._group and not wait:
            group, self._group = self._group, []
            self._commit_at = float("inf")
            self.record(group)

    def resume(self) -> None:
        """Try again what was held back, if it is time to."""
        if self._held_back and self._clock() >= self._retry_at:
            held_back, self._held_back = self._held_back, []
            self.record(held_back)

    def record(self, group: list[JudgedFrame]) -> None:
        """Commit these now, and hand over their frames; held back where they can't be."""
        done = [one for one in group if not self._rewritten(one)]
        if not done:
            return
        if not self._sync():
            self._hold_back(done)
            return
        try:
            new = self._journal.record([one.inspection for one in done], self._outlets.render)
        except JournalError as error:
            if not error.temporary:
                raise  # the disk is failing: only a new start knows what is really on it
            self._hold_back(done)
            self.trouble.failed(str(error))
            return
        self.trouble.worked()
        self.count += len(done)
        self._outlets.notify()
        ids = {message.id for message in new}
        for one in done:
            for count in self._outlets.counts:
                count(one.inspection)
            _log(one.claim, one.inspection)
            # Where it was judged before, that stands.
            first = None if one.claim.id in ids else self._journal.find(one.claim.id)
            self._recorded(one.claim, first or _as_recorded(one.inspection))

    def _hold_back(self, judged: list[JudgedFrame]) -> None:
        self._held_back.extend(judged)
        self._retry_at = self._clock() + _RETRY


def _as_recorded(one: Inspection) -> Recorded:
    return Recorded(one.verdict, one.reason, one.image.sha256, one.stored)


def _log(claim: Claim, inspection: Inspection) -> None:
    if inspection.verdict is Verdict.ERROR:
        log.warning("%s can't be judged: %s", claim.name, inspection.reason)
    elif inspection.reason:
        log.warning("%s needs review: %s", claim.name, inspection.reason)
    else:
        log.debug("%s %s %.4f", claim.name, inspection.verdict.value, inspection.score)
