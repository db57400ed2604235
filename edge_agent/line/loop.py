"""The way of an image through the station: claim, judge, record, file away; one thread.

Whatever fails leaves the frame where it is safe: in ``work/`` until its inspection is committed,
and after that until its file has found its place. Nothing here is needed to recover: the next
start finds it all on disk.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from edge_agent.engine.worker.pool import Lost, Outcome
from edge_agent.engine.worker.protocol import Failed, Judged
from edge_agent.line.again import Again
from edge_agent.line.attempts import Attempts
from edge_agent.line.filing import Filing
from edge_agent.line.recorder import JudgedFrame, Recorder
from edge_agent.line.waiting import UNREAD, Waiting
from edge_agent.system.trouble import Trouble
from edge_agent.types import Failure, Image, Inspection, Prediction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from edge_agent.engine.worker.pool import WorkerPool
    from edge_agent.journal import Journal
    from edge_agent.line.judgement import Judgement
    from edge_agent.line.recorder import Outlets
    from edge_agent.settings import WorkerSettings
    from edge_agent.sources.several import Source
    from edge_agent.sources.spool import Spool
    from edge_agent.types import Claim, Recorded

log = logging.getLogger(__name__)

_RETRY = 1.0  # seconds between tries to claim, while that fails
_REREAD = 2.0  # seconds without a change after which a file that had changed is read again
_UNFILED = 1000  # judged files that can't be filed, before claiming stops
# While there is a backlog, frames share a claim's trip to the disk.
_CLAIMED = 8  # at once, beyond what the workers have room for,
_CLAIMED_MS = 150.0  # and no more than is judged in so long: a stop finishes them


@dataclass(frozen=True)
class Stages:
    """What the loop moves frames between."""

    source: Source
    spool: Spool
    pool: WorkerPool
    journal: Journal


class Loop:
    """Moves frames along; ``step`` is the daemon's heartbeat."""

    def __init__(
        self,
        settings: WorkerSettings,
        judgement: Judgement,
        stages: Stages,
        outlets: Outlets,
        *,
        paused: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is taken up yet.

        Args:
            settings: how often and how long frames are tried.
            judgement: makes inspections of answers.
            stages: where frames come from and go to.
            outlets: where inspections go beside the journal.
            paused: whether an operator keeps the station from taking images.
            clock: monotonic seconds.
        """
        self._max_attempts = settings.max_attempts
        self._judgement = judgement
        self._source = stages.source
        self._spool = stages.spool
        self._pool = stages.pool
        self._journal = stages.journal
        self._paused = paused
        self._clock = clock
        self._process = psutil.Process()
        self._rss = 0
        self._queue: deque[Claim] = deque()
        """Claimed and to be judged: recovered, claimed ahead, or to be judged again."""
        self._waiting = Waiting(_signature_of, clock)
        """Frames whose file is not whole yet, is still written to, or can't be read now."""
        self._again = Again(self._waiting, stages.spool, stages.source, settings.retry_truncated)
        self._busy = _CLAIMED_MS
        """How long the last frame kept its worker, ms."""
        self._unsynced: list[Claim] = []
        """Claims that are not durable yet: nothing of them may be committed."""
        self._claim_at = 0.0
        self._claiming = Trouble(log, "claim: back to normal", clock=clock)
        self._filing = Filing(stages.spool, stages.journal, clock)
        self._recorder = Recorder(
            stages.journal,
            outlets,
            sync=self._sync,
            rewritten=self._rewritten,
            recorded=self._file,
            clock=clock,
        )
        self._attempts = Attempts(stages.journal, self._recorder.trouble)

    @property
    def recorded(self) -> int:
        """Inspections committed since the start: progress is a commit, not an effort."""
        return self._recorder.count

    @property
    def trouble(self) -> dict[str, str]:
        """What is wrong, by where; in words an operator can act on."""
        troubles = {
            "claim": self._claiming,
            "journal": self._recorder.trouble,
            "filing": self._filing.trouble,
        }
        return {where: trouble.text for where, trouble in troubles.items() if trouble.text}

    @property
    def delayed(self) -> dict[str, str]:
        """Frames that have waited for long to be judged again, by name, and why."""
        return self._waiting.named()

    def held_up(self) -> int:
        """Frames in ``work/`` that nothing can be done about now."""
        return len(self._waiting) + self._filing.failed

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
                self._filing.add(claim, recorded)
        return found

    def step(self, longest: float) -> None:
        """Wait for something to happen, at most ``longest`` seconds, and deal with it."""
        wait = min(longest, self._recorder.due(), self._filing.due())
        if self._pool.room():
            wait = min(wait, self._waiting.due(idle=self._idle()))
            if self._may_claim():
                wait = min(wait, max(self._source.due(), self._claim_at - self._clock()))
        self._settle(self._pool.poll(max(0.0, wait)))
        self._recorder.commit(behind=not self._idle())
        self._resume()
        self._fill()

    def drain(self, seconds: float) -> bool:
        """Claim nothing more and finish what the workers have; whether ``work/`` is empty then.

        What was claimed ahead is finished too; a backlog from an earlier run is left.
        """
        deadline = self._clock() + seconds
        ahead = self._queue if len(self._queue) <= _CLAIMED else deque()
        while (self._pool.pending() or ahead) and self._clock() < deadline:
            while ahead and self._pool.room():
                self._submit(ahead.popleft())
            self._settle(self._pool.poll(0.1))
            self._recorder.commit(behind=False)
        self._recorder.commit(behind=False)  # a group that was still waiting for more
        self._resume()
        to_judge = self._pool.pending() or self._queue or len(self._waiting)
        return not (to_judge or self._recorder.held_back or len(self._filing))

    # -- in ----------------------------------------------------------------------------------

    def _may_claim(self) -> bool:
        held_up = self._recorder.held_back or self._filing.failed >= _UNFILED
        return not self._paused() and not held_up

    def _fill(self) -> None:
        self._submit_queue()
        if not self._may_claim() or not self._pool.working():
            self._source.look()  # how many wait is asked all the more
        elif self._pool.room() and self._clock() >= self._claim_at:
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
            self._claiming.failed(f"images can't be claimed: {error.strerror}: {error.filename}")
            self._claim_at = self._clock() + _RETRY
            return
        if claims or (self._claiming.text and self._spool.probe()):
            self._claiming.worked()
        self._take_up(claims)
        self._submit_queue()
        self._unsynced += claims
        self._sync()  # while the workers are at it already

    def _sync(self) -> bool:
        try:
            self._spool.sync(self._unsynced)
        except OSError as error:
            self._claiming.failed(
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
                reply = outcome.reply
                signature = UNREAD if isinstance(reply, Lost) else reply.signature
                self._recorder.add(JudgedFrame(outcome.claim, inspection, signature))

    def _conclude(self, outcome: Outcome) -> Inspection | None:
        """The inspection, or None where the frame has to be judged again."""
        claim, reply = outcome.claim, outcome.reply
        if isinstance(reply, Lost):
            attempts = self._attempts.add(claim)
            if attempts < self._max_attempts:
                log.warning("%s cost a worker (%d): %s", claim.name, attempts, reply.reason)
                # Before all others: at their end, it could be at hand again and again when a
                # provider that fails every few frames takes the next worker with it.
                self._queue.appendleft(claim)
                return None
            self._attempts.forget(claim)
            reason = f"took down {attempts} workers, the last: {reply.reason}"
            return self._inspection(outcome, Failure(reason, _unread(claim)))
        if isinstance(reply, Failed) and self._again.wait(claim, reply):
            return None
        what = reply.prediction if isinstance(reply, Judged) else reply.failure
        return self._inspection(outcome, what)

    def _inspection(self, outcome: Outcome, what: Prediction | Failure) -> Inspection:
        own = what.latency
        self._busy = own.decode + own.preprocess + own.infer
        total = (self._clock() - outcome.claim.claimed) * 1e3
        return self._judgement.inspect(outcome.claim, outcome.ran, what, total=total, rss=self._rss)

    def _rewritten(self, judged: JudgedFrame) -> bool:
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

    def _file(self, claim: Claim, recorded: Recorded) -> None:
        """Its inspection stands in the journal: file the frame away as that says."""
        self._waiting.drop(claim)
        self._filing.add(claim, recorded)
        self._take_renewed()

    def _resume(self) -> None:
        """Go on with copies, and try again what a full disk held up."""
        self._filing.resume()
        self._recorder.resume()
        self._take_renewed()

    def _take_renewed(self) -> None:
        renewed, self._filing.renewed = self._filing.renewed, []
        self._unsynced += renewed
        self._queue += renewed


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
