"""The way of an image through the station: claim, judge, record, file away; one thread.

Whatever fails leaves the frame where it is safe: in ``work/`` until its inspection is committed,
and after that until its file has found its place. Nothing here is needed to recover: the next
start finds it all on disk.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from edge_agent.engine.worker.pool import Lost, Outcome
from edge_agent.engine.worker.protocol import Failed, Judged
from edge_agent.journal import JournalError
from edge_agent.line.decide import decide
from edge_agent.line.waiting import UNREAD, Waiting
from edge_agent.sources.spool import RewrittenError
from edge_agent.system.trouble import Trouble
from edge_agent.types import (
    Failure,
    Image,
    Inspection,
    Latency,
    Prediction,
    Recorded,
    Region,
    Verdict,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from edge_agent.bundle import Decision
    from edge_agent.engine.worker.pool import WorkerPool
    from edge_agent.engine.worker.protocol import Ready
    from edge_agent.journal import Journal
    from edge_agent.settings import Settings
    from edge_agent.sources.several import Source
    from edge_agent.sources.spool import Spool
    from edge_agent.types import Claim, Model

log = logging.getLogger(__name__)

_RETRY = 1.0  # seconds between tries of what a full disk holds up
_LONGEST_RETRY = 10.0  # between tries to file an image away
_OWN_DISK = 100
"""Times ``retry_truncated``: how long an image is tried that the station's own disk can't read."""
_REREAD = 2.0  # seconds without a change after which a file that had changed is read again
_DONE = object()
_LATER = 1000  # truncated frames waiting for their rest; beyond that they are judged as they are
# What says something of the file. All else may pass: a share or its server does not answer, a
# process has no descriptor left.
_LASTING = frozenset(
    {
        *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.EISDIR, errno.ENOTDIR),
        *(errno.EINVAL, errno.ENAMETOOLONG),
    }
)
_UNFILED = 1000  # judged files that can't be filed, before claiming stops
# While there is a backlog, frames share a claim's and a commit's trip to the disk.
_CLAIMED = 8  # at once, beyond what the workers have room for,
_CLAIMED_MS = 150.0  # and no more than is judged in so long: a stop finishes them
_GROUP = 16  # inspections in a commit
_GROUP_WAIT = 0.05  # seconds that the first of them waits for the others


@dataclass(frozen=True)
class _Judged:
    """An inspection that is not committed yet."""

    claim: Claim
    inspection: Inspection
    signature: tuple[int, int]
    """Size and mtime (ns) of the file whose bytes were judged."""


@dataclass
class _Filing:
    """A judged frame on its way out of ``work/``."""

    claim: Claim
    verdict: Verdict
    reason: str
    sha256: str
    """Of the bytes that were judged; empty: not known."""
    steps: Iterator[None] | None = None
    """What is left of a copy to another filesystem."""
    delay: float = _RETRY
    at: float = 0.0
    """When it is tried again."""


class Loop:
    """Moves frames along; ``step`` is the daemon's heartbeat."""

    def __init__(
        self,
        *,
        settings: Settings,
        decisions: Mapping[str, Decision],
        model_of: Callable[[Ready], Model],
        source: Source,
        spool: Spool,
        pool: WorkerPool,
        journal: Journal,
        render: Callable[[int, Inspection], bytes],
        count: Callable[[Inspection], None],
        notify: Callable[[], None],
        paused: Callable[[], bool] = lambda: False,
    ) -> None:
        self._max_attempts = settings.worker.max_attempts
        self._retry_truncated = settings.worker.retry_truncated
        self.decisions = decisions
        """The thresholds by variant, whichever runs; a reload changes them."""
        self.implausible = settings.decision.implausible
        """What is said of a picture that the bundle was not made for; a reload changes it."""
        self._model_of = model_of
        self._source = source
        self._spool = spool
        self._pool = pool
        self._journal = journal
        self._render = render
        self._count = count
        self._notify = notify
        self._paused = paused
        self._process = psutil.Process()
        self._rss = 0
        self._queue: deque[Claim] = deque()
        """Claimed and to be judged: recovered, claimed ahead, or to be judged again."""
        self._waiting = Waiting(_signature_of)
        """Frames whose file is not whole yet, is still written to, or can't be read now."""
        self._uncounted: dict[str, int] = {}
        """Workers that a frame has cost, and that the journal could not count yet."""
        self._judged: list[_Judged] = []
        """To be committed together, at the latest at ``_commit_at``."""
        self._commit_at = float("inf")
        self._busy = _CLAIMED_MS
        """How long the last frame kept its worker, ms."""
        self._unsynced: list[Claim] = []
        """Claims that are not durable yet: nothing of them may be committed."""
        self._unrecorded: list[_Judged] = []
        """What a full disk, or another program's lock, keeps from being committed."""
        self._filing: deque[_Filing] = deque()
        """What is being copied to another filesystem, a step at a time."""
        self._unfiled: list[_Filing] = []
        self._retry_at = 0.0
        self._claim_at = 0.0
        self._troubles = {
            where: Trouble(log, f"{where}: back to normal")
            for where in ("claim", "journal", "filing")
        }
        self.recorded = 0
        """Inspections committed since the start: progress is a commit, not an effort."""

    @property
    def trouble(self) -> dict[str, str]:
        """What is wrong, by where; in words an operator can act on."""
        return {where: trouble.text for where, trouble in self._troubles.items() if trouble.text}

    @property
    def delayed(self) -> dict[str, str]:
        """Frames that have waited for long to be judged again, by name, and why."""
        return self._waiting.named()

    def held_up(self) -> int:
        """Frames in ``work/`` that nothing can be done about now."""
        return len(self._waiting) + len(self._unfiled)

    def recover(self) -> int:
        """Take up what an earlier run left in ``work/``; return how many frames.

        A frame with an inspection only has to be filed away; the others are judged.
        """
        return self._take_up(self._spool.recover())

    def _take_up(self, claims: Iterable[Claim]) -> int:
        found = 0
        for claim in claims:
            found += 1
            recorded = self._journal.find(claim.id) if claim.recovered else None
            if recorded is None:
                self._queue.append(claim)
            else:
                self._file_as(claim, recorded)
        return found

    def step(self, longest: float) -> None:
        """Wait for something to happen, at most ``longest`` seconds, and deal with it."""
        now = time.monotonic()
        wait = longest
        if self._may_claim() and self._pool.room():
            wait = min(wait, max(self._source.due(), self._claim_at - now))
        if self._pool.room():
            wait = min(wait, self._waiting.due(idle=self._idle()))
        if self._unrecorded:
            wait = min(wait, self._retry_at - now)
        if self._unfiled:
            wait = min(wait, min(one.at for one in self._unfiled) - now)
        if self._filing:
            wait = 0.0
        wait = min(wait, self._commit_at - now)
        self._settle(self._pool.poll(max(0.0, wait)))
        self._commit(behind=not self._idle())
        self._resume()
        self._fill()

    def drain(self, seconds: float) -> bool:
        """Claim nothing more and finish what the workers have; whether ``work/`` is empty then.

        What was claimed ahead is finished too; a backlog from an earlier run is left.
        """
        deadline = time.monotonic() + seconds
        ahead = self._queue if len(self._queue) <= _CLAIMED else deque()
        while (self._pool.pending() or ahead) and time.monotonic() < deadline:
            while ahead and self._pool.room():
                self._submit(ahead.popleft())
            self._settle(self._pool.poll(0.1))
            self._commit(behind=False)
        self._commit(behind=False)  # a group that was still waiting for more
        self._resume()
        to_judge = self._pool.pending() or self._queue or len(self._waiting)
        return not (to_judge or self._unrecorded or self._unfiled or self._filing)

    # -- in ----------------------------------------------------------------------------------

    def _may_claim(self) -> bool:
        return not self._paused() and not self._unrecorded and len(self._unfiled) < _UNFILED

    def _fill(self) -> None:
        self._submit_queue()
        if not self._may_claim() or not self._pool.working():
            self._source.look()  # how many wait is asked all the more
        elif self._pool.room() and time.monotonic() >= self._claim_at:
            self._claim()
        self._waiting.look()
        while self._pool.room():
            claim = self._waiting.take(idle=self._idle())
            if claim is None:
                return
            self._judge_again(claim)

    def _submit_queue(self) -> None:
        while self._queue and self._pool.room():
            self._submit(self._queue.popleft())

    def _claim(self) -> None:
        try:
            ahead = min(_CLAIMED, int(_CLAIMED_MS / max(self._busy, 1.0)))
            claims = self._source.claim(self._pool.room() + ahead)
        except OSError as error:  # no room for a directory in work/, say
            self._troubles["claim"].failed(
                f"images can't be claimed: {error.strerror}: {error.filename}"
            )
            self._claim_at = time.monotonic() + _RETRY
            return
        trouble = self._troubles["claim"]
        if claims or (trouble.text and self._spool.probe()):
            trouble.worked()
        self._take_up(claims)
        self._submit_queue()
        self._unsynced += claims
        self._sync()  # while the workers are at it already

    def _sync(self) -> bool:
        try:
            self._spool.sync(self._unsynced)
        except OSError as error:
            self._troubles["claim"].failed(
                f"claimed images can't be synced to the disk: {error.strerror}: {error.filename}"
            )
            return False
        self._unsynced.clear()
        return True

    def _idle(self) -> bool:
        """Nothing new waits to be judged."""
        return not self._queue and not self._source.waiting()

    def _judge_again(self, claim: Claim) -> None:
        if claim.origin is None or not self._waiting.changed(claim):
            self._submit(claim)
            return
        # The file was copied before it was whole: what it is now is another frame.
        try:
            self._spool.discard(claim)
        except OSError as error:
            self._waiting.add(claim, f"can't be removed: {error}", UNREAD, float("inf"))
            return
        self._waiting.drop(claim)
        log.info("%s was copied before it was whole: it is read again", claim.name)

    def _submit(self, claim: Claim) -> None:
        ready = self._pool.ready
        if claim.refused is None or ready is None:
            self._pool.submit(claim)
        else:
            failed = Failed(claim.id, claim.refused, UNREAD)
            self._settle([Outcome(claim, failed, ready)])

    # -- out ---------------------------------------------------------------------------------

    def _settle(self, outcomes: list[Outcome]) -> None:
        if outcomes:
            self._rss = int(self._process.memory_info().rss)
        for outcome in outcomes:
            inspection = self._conclude(outcome)
            if inspection is not None:
                if not self._judged:
                    self._commit_at = time.monotonic() + _GROUP_WAIT
                reply = outcome.reply
                signature = UNREAD if isinstance(reply, Lost) else reply.signature
                self._judged.append(_Judged(outcome.claim, inspection, signature))

    def _commit(self, *, behind: bool) -> None:
        """Commit what was judged: at once, or when a backlog has made it a group."""
        wait = behind and len(self._judged) < _GROUP and time.monotonic() < self._commit_at
        if self._judged and not wait:
            done, self._judged = self._judged, []
            self._commit_at = float("inf")
            self._record(done)

    def _conclude(self, outcome: Outcome) -> Inspection | None:
        """The inspection, or None where the frame has to be judged again."""
        claim, reply = outcome.claim, outcome.reply
        if isinstance(reply, Lost):
            attempts = self._attempt(claim)
            if attempts < self._max_attempts:
                log.warning("%s cost a worker (%d): %s", claim.name, attempts, reply.reason)
                # Before all others: at their end, it could be at hand again and again when a
                # provider that fails every few frames takes the next worker with it.
                self._queue.appendleft(claim)
                return None
            self._uncounted.pop(claim.id, None)
            reason = f"took down {attempts} workers, the last: {reply.reason}"
            return self._inspection(outcome, Failure(reason, _unread(claim)))
        if isinstance(reply, Failed) and self._wait(claim, reply):
            return None
        what = reply.prediction if isinstance(reply, Judged) else reply.failure
        return self._inspection(outcome, what)

    def _attempt(self, claim: Claim) -> int:
        """How many workers the frame has cost by now; while none is counted, as far as we know."""
        uncounted = self._uncounted.pop(claim.id, 0) + 1
        try:
            return self._journal.add_attempts(claim.id, uncounted)
        except JournalError as error:
            if not error.temporary:
                raise
            self._troubles["journal"].failed(str(error))
        self._uncounted[claim.id] = uncounted
        return self._journal.attempts(claim.id) + uncounted

    def _wait(self, claim: Claim, reply: Failed) -> bool:
        """Whether the frame may be judged later: its file may become whole, or readable."""
        if reply.errno:
            here = self._spool.reachable(claim)
            passes = not self._spool.ours(claim) or (
                self._waiting.waited(claim) < _OWN_DISK * self._retry_truncated
            )
            if here and (reply.errno in _LASTING or not passes):
                return False
            why = f"can not be read: {os.strerror(reply.errno)}"
            return self._waiting.add(claim, why, UNREAD, float("inf"))
        if not reply.truncated or claim.whole or len(self._waiting) >= _LATER:
            return False
        if claim.wanted is not None:
            return self._source.again(claim)
        return self._waiting.add(claim, "is not whole yet", reply.signature, self._retry_truncated)

    def _inspection(self, outcome: Outcome, what: Prediction | Failure) -> Inspection:
        claim, decision = outcome.claim, self.decisions[outcome.ran.variant]
        total = (time.monotonic() - claim.claimed) * 1e3
        score: float | None = None
        regions = tuple[Region, ...]()
        if isinstance(what, Failure):
            verdict, reason = Verdict.ERROR, what.reason
        else:
            reason = "" if self.implausible == "ok" else what.implausible
            verdict = decide(what.score, decision, reason, self.implausible)
            if verdict is not Verdict.ERROR:
                score, regions = what.score, what.regions
        own = what.latency
        busy = self._busy = own.decode + own.preprocess + own.infer
        return Inspection(
            id=claim.id,
            verdict=verdict,
            score=score,
            threshold=decision.threshold,
            reason=reason,
            name=claim.name,
            image=what.image,
            captured=claim.captured,
            received=claim.received,
            completed=time.time(),
            model=self._model_of(outcome.ran),
            latency=Latency(
                wait=max(0.0, total - busy),
                decode=own.decode,
                preprocess=own.preprocess,
                infer=own.infer,
                total=total,
            ),
            worker_rss=what.worker_rss,
            agent_rss=self._rss,
            regions=regions,
            appearance=None if isinstance(what, Failure) else what.appearance,
            gpu_memory=what.gpu_memory,
            reply=claim.reply,
            # Chosen before the commit, so that verdict and journal can say it, and kept from then
            # on: a start finds it in the journal.
            stored=self._spool.reserve(claim, quarantined=verdict is Verdict.ERROR),
        )

    def _record(self, judged: list[_Judged]) -> None:
        done = [one for one in judged if not self._rewritten(one)]
        if not done:
            return
        if not self._sync():
            self._hold_back(done)
            return
        try:
            new = self._journal.record([one.inspection for one in done], self._render)
        except JournalError as error:
            if not error.temporary:
                raise  # the disk is failing: only a new start knows what is really on it
            self._hold_back(done)
            self._troubles["journal"].failed(str(error))
            return
        self._troubles["journal"].worked()
        self.recorded += len(done)
        self._notify()
        recorded = {message.id for message in new}
        for one in done:
            claim, inspection = one.claim, one.inspection
            self._count(inspection)
            if inspection.verdict is Verdict.ERROR:
                log.warning("%s can't be judged: %s", claim.name, inspection.reason)
            elif inspection.reason:
                log.warning("%s needs review: %s", claim.name, inspection.reason)
            else:
                log.debug("%s %s %.4f", claim.name, inspection.verdict.value, inspection.score)
            self._waiting.drop(claim)
            # Where it was judged before, that stands.
            first = None if claim.id in recorded else self._journal.find(claim.id)
            sha256 = inspection.image.sha256
            now = Recorded(inspection.verdict, inspection.reason, sha256, inspection.stored)
            self._file_as(claim, first or now)

    def _hold_back(self, judged: list[_Judged]) -> None:
        self._unrecorded.extend(judged)
        self._retry_at = time.monotonic() + _RETRY

    def _rewritten(self, judged: _Judged) -> bool:
        """Whether a camera has written to it since it was read; then it is judged again.

        Looked at as late as can be: a full disk may have kept the inspection for hours.
        """
        claim = judged.claim
        try:
            status = claim.path.lstat()
        except OSError:
            return False
        if judged.signature in (UNREAD, (status.st_size, status.st_mtime_ns)):
            return False
        if not self._waiting.waited(claim):
            log.info("%s was still being written: it is judged again", claim.name)
        if not self._waiting.add(claim, "is still being written", judged.signature, _REREAD):
            self._queue.append(claim)
        return True

    def _file_as(self, claim: Claim, recorded: Recorded) -> None:
        """File a frame away as the journal says."""
        self._spool.reserve_again(claim, recorded.stored)
        self._file(_Filing(claim, recorded.verdict, recorded.reason, recorded.sha256))

    def _file(self, filing: _Filing) -> None:
        """Move a frame to its place, or a step nearer to it."""
        steps = filing.steps
        try:
            if steps is None:
                steps = self._begin_to_file(filing)
            filing.steps = steps
            if next(steps, _DONE) is not _DONE:
                self._filing.append(filing)
        except RewrittenError:
            self._renew(filing)
        except OSError as error:
            self._file_later(filing, error)

    def _file_later(self, filing: _Filing, error: OSError) -> None:
        claim = filing.claim
        filing.steps = None
        filing.at = time.monotonic() + filing.delay
        filing.delay = min(2 * filing.delay, _LONGEST_RETRY)
        self._unfiled.append(filing)
        self._troubles["filing"].failed(f"{claim.name} can't leave {claim.path.parent}: {error}")

    def _renew(self, filing: _Filing) -> None:
        """It was written to after it was judged: what it holds now is another image."""
        try:
            claim = self._spool.renew(filing.claim)
        except OSError as error:
            self._file_later(filing, error)
            return
        try:
            self._journal.lose_place(filing.claim.id)
        except JournalError as error:
            if not error.temporary:
                raise
            log.warning("%s: the journal still names a place for it: %s", claim.name, error)
        log.warning("%s was written to after it was judged: it is judged again", claim.name)
        self._unsynced.append(claim)
        self._queue.append(claim)

    def _begin_to_file(self, filing: _Filing) -> Iterator[None]:
        claim = filing.claim
        if claim.copy:
            self._spool.discard(claim)
            return iter(())
        if filing.verdict is Verdict.ERROR:
            return self._spool.quarantine(claim, filing.reason, filing.sha256)
        return self._spool.keep(claim, filing.sha256)

    def _resume(self) -> None:
        """Go on with copies, and try again what a full disk held up."""
        if self._filing:
            self._file(self._filing.popleft())
        now = time.monotonic()
        if self._unrecorded and now >= self._retry_at:
            unrecorded, self._unrecorded = self._unrecorded, []
            self._record(unrecorded)
        if self._unfiled:
            due = [one for one in self._unfiled if one.at <= now]
            self._unfiled = [one for one in self._unfiled if one.at > now]
            for filing in due:
                self._file(filing)
            if not self._unfiled:
                self._troubles["filing"].worked()


def _signature_of(claim: Claim) -> tuple[int, int] | None:
    """Size and mtime of a frame's file, where it is copied of what it was copied from."""
    for path in (claim.origin, claim.path):
        if path is not None:
            try:
                status = path.lstat()
            except OSError:
                continue
            return status.st_size, status.st_mtime_ns
    return None


def _unread(claim: Claim) -> Image:
    """What can be said of a file that no worker survived."""
    try:
        return Image("", claim.path.lstat().st_size)
    except OSError:
        return Image("", 0)
