"""Supervises the worker processes: starts, feeds, watches, buries and replaces them."""

from __future__ import annotations

import logging
import selectors
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_agent.engine.worker.process import HungUpError, WorkerProcess, spawn
from edge_agent.engine.worker.protocol import (
    Broken,
    Failed,
    Judged,
    Ready,
    Refused,
    Reply,
    WorkerOptions,
)
from edge_agent.engine.worker.want import want_in
from edge_agent.system.limits import MemoryGuard, shortage
from edge_agent.system.wake import Wake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from edge_agent.types import Claim

log = logging.getLogger(__name__)

_AHEAD = 2  # frames given to a worker at once, so that it never waits for the daemon
_GIVE_UP = 3  # failures in a row, times the workers, before the provider is taken for lost
BACKOFF = (0.5, 30.0)
"""Seconds, from first to longest, before a worker that died at its start is tried again."""
_REST = (5.0, 600.0)  # the same, of one that there was no room for beside the others


class WorkerStartError(Exception):
    """No worker can be started with these settings; the message says why."""


@dataclass(frozen=True)
class Lost:
    """The frame's worker died or hung while it had it."""

    reason: str


@dataclass(frozen=True)
class Outcome:
    """What became of a claim that was submitted."""

    claim: Claim
    reply: Judged | Failed | Lost
    ran: Ready
    """What the worker said of itself: which variant ran on what."""


class WorkerPool:
    """A fixed number of workers. All calls from one thread."""

    def __init__(
        self,
        worker_options: WorkerOptions,
        *,
        workers: int = 1,
        frame_timeout: float = 30.0,
        start_timeout: float = 120.0,
        guard: MemoryGuard | None = None,
        wake: Wake | None = None,
    ) -> None:
        """Nothing is started yet; ``wake`` ends a `poll` early, and is closed by whose it is.

        The timeouts are seconds: of a worker for a frame, and for its start.
        """
        self._guard = guard or MemoryGuard()
        self._options = worker_options
        self._frame_timeout = frame_timeout
        self._start_timeout = start_timeout
        self._selector = selectors.DefaultSelector()
        if wake is not None:
            self._selector.register(wake, selectors.EVENT_READ, wake)
        self._workers: list[WorkerProcess] = []
        self._vacant: list[tuple[float, int]] = [(0.0, number) for number in range(workers)]
        """When which worker may be started again."""
        self._failures = dict.fromkeys(range(workers), 0)
        self._requeued: deque[Claim] = deque()
        self._refusal = ""
        self._at_fault = True
        """Whether it is the provider that a worker which refused, or died, speaks of."""
        self._unstarted = dict.fromkeys(range(workers), 0)
        """Starts of each worker that failed in a row."""
        self._rests: dict[int, tuple[int, float]] = {}
        """How often in a row there was no room for a worker beside the others, and when last."""
        self._broken = 0
        """Sessions that raised in a row, without a frame judged between them."""
        self._deaths: list[str] = []
        """The frames in whose inference workers died in a row, without one judged between them."""
        self.restarts = 0
        self.trouble = ""
        """Why there are fewer workers than there should be; empty when all is well."""

    # -- life ------------------------------------------------------------------------------

    def start(self, meanwhile: Callable[[], None] = lambda: None) -> Ready:
        """Start all workers and wait until each has proved itself.

        Where the machine has no room for all of them, those that it has room for are enough;
        ``trouble`` says so. ``meanwhile`` is called again and again until then.

        Raises:
            WorkerStartError: one refused its options, or died, or took too long.
        """
        # What they are to judge is held back: nobody takes in outcomes before all are ready.
        held, self._requeued = self._requeued, deque()
        try:
            while True:
                self.poll(0.05)
                meanwhile()
                if self._refusal:
                    raise WorkerStartError(self._refusal)
                if any(self._failures.values()):
                    raise WorkerStartError(f"a worker can't be started: {self.trouble}")
                ready = [worker.ready for worker in self._workers if worker.ready]
                resting = sum(1 for _, number in self._vacant if number in self._rests)
                if ready and len(ready) == len(self._failures) - resting:
                    return ready[0]
        finally:
            self._requeued.extendleft(reversed(held))
            self._feed()

    def close(self) -> None:
        """Hang up on every worker; they finish what they are at, then leave."""
        self._dismiss_all()
        self._selector.close()

    def replace(
        self, worker_options: WorkerOptions, workers: int, proven: Iterable[WorkerProcess] = ()
    ) -> None:
        """Begin again with other options; claims that the old workers had are judged anew.

        Args:
            worker_options: for all workers that are started from now on.
            workers: how many there are to be.
            proven: those that are there already, as another pool released them.
        """
        self._requeued.extend(claim for worker in self._workers for claim in worker.claims)
        self._dismiss_all()
        self._options = worker_options
        for worker in proven:
            if worker.process.poll() is None:
                worker.number = len(self._workers)
                self._welcome(worker)
            else:
                log.warning("a worker that was to take over is gone: %s", worker.end())
        self._vacant = [(0.0, number) for number in range(len(self._workers), workers)]
        self._failures = dict.fromkeys(range(workers), 0)
        self._unstarted = dict.fromkeys(range(workers), 0)
        self._rests.clear()
        self._refusal = self.trouble = ""
        self._at_fault = True
        self._broken = 0
        self._deaths.clear()
        self._feed()

    def release(self) -> list[WorkerProcess]:
        """Give all workers away: they are the caller's to end, or another pool's."""
        released = list(self._workers)
        for worker in released:
            self._part_with(worker)
        return released

    @property
    def lost(self) -> str:
        """Why the execution provider can't be worked with any more; empty while it can.

        Its workers refuse, crash or hang at each start; or its session raises, or its workers die
        in the session over one frame and another, and none is judged between. A single frame that
        takes down worker after worker is poison, not a fault of the provider, and so is every
        frame that kills the decoder. A bundle that can't be read at the moment is waited for, and
        so is memory, or a process, that can't be had: no other provider would help.
        """
        most = _GIVE_UP * len(self._failures)
        dying = len(self._deaths) >= most and len(set(self._deaths)) > 1
        if dying or self._broken >= most:
            return self.trouble
        if self.working() or not self._at_fault:
            return ""
        return self.trouble if min(self._unstarted.values()) >= _GIVE_UP else ""

    # -- the way of a frame ----------------------------------------------------------------

    def room(self) -> int:
        """How many claims can be submitted now."""
        free = sum(_AHEAD - len(worker.claims) for worker in self._workers if worker.ready)
        return max(0, free - len(self._requeued))

    def working(self) -> int:
        """Workers that are ready."""
        return sum(1 for worker in self._workers if worker.ready)

    def processes(self) -> list[int]:
        """The process ids of all workers."""
        return [worker.process.pid for worker in tuple(self._workers)]

    @property
    def ready(self) -> Ready | None:
        """What the workers that are ready say of themselves; None while none is."""
        return next((worker.ready for worker in self._workers if worker.ready), None)

    def pending(self) -> int:
        """Claims submitted and not yet come back."""
        return sum(len(worker.claims) for worker in self._workers) + len(self._requeued)

    def submit(self, claim: Claim) -> None:
        """Give a claim to the least busy worker; only while there is ``room``."""
        self._requeued.append(claim)
        self._feed()

    def poll(self, timeout: float) -> list[Outcome]:
        """Wait up to ``timeout`` seconds for outcomes, a wake-up call or a death."""
        outcomes: list[Outcome] = []
        self._hire()
        now = time.monotonic()
        deadline = min([self._deadline(w) for w in self._workers], default=float("inf"))
        hire = min((at for at, _ in self._vacant), default=float("inf"))
        wait = max(0.0, min(timeout, deadline - now, hire - now))
        for key, _ in self._selector.select(wait):
            if isinstance(key.data, Wake):
                key.data.clear()
                continue
            worker: WorkerProcess = key.data
            if worker not in self._workers:
                continue  # buried on account of the event before
            if key.fileobj is worker.link:
                self._listen(worker, outcomes)
            elif not worker.overhear():
                self._selector.unregister(worker.errors)
        for worker in [w for w in self._workers if time.monotonic() >= self._deadline(w)]:
            at = "its start" if worker.ready is None else "a frame"
            limit = self._start_timeout if worker.ready is None else self._frame_timeout
            worker.kill(f"hung for {limit:g} s at {at}")
            self._bury(worker, outcomes)
        self._hire()
        self._feed()
        return outcomes

    # -- workers ---------------------------------------------------------------------------

    def _deadline(self, worker: WorkerProcess) -> float:
        if worker.ready is None:
            return worker.started + self._start_timeout
        return worker.busy_since + self._frame_timeout if worker.claims else float("inf")

    def _hire(self) -> None:
        now = time.monotonic()
        for vacancy in [(at, number) for at, number in self._vacant if at <= now]:
            self._vacant.remove(vacancy)
            try:
                self._welcome(spawn(vacancy[1], self._options))
            except OSError as error:  # no process, descriptor or memory to be had
                lack = shortage(error)
                why = f"no process could be started: {lack or error.strerror}"
                if why != self.trouble:
                    log.warning("worker %d is missing: %s", vacancy[1], why)
                self._put_off(vacancy[1], why, rest=bool(lack))

    def _welcome(self, worker: WorkerProcess) -> None:
        self._workers.append(worker)
        self._selector.register(worker.link, selectors.EVENT_READ, worker)
        self._selector.register(worker.errors, selectors.EVENT_READ, worker)

    def _dismiss_all(self) -> None:
        leaving = self.release()
        for worker in leaving:
            worker.hang_up()
        for worker in leaving:
            worker.end()

    def _part_with(self, worker: WorkerProcess) -> None:
        self._workers.remove(worker)
        self._selector.unregister(worker.link)
        if worker.errors in self._selector.get_map():
            self._selector.unregister(worker.errors)

    def _feed(self) -> None:
        while self._requeued:
            free = [w for w in self._workers if w.ready and len(w.claims) < _AHEAD]
            if not free:
                return
            try:
                min(free, key=lambda w: len(w.claims)).give(self._requeued.popleft())
            except OSError:
                return  # it is dying: its end of the link will say so, and its claims come back

    def _listen(self, worker: WorkerProcess, outcomes: list[Outcome]) -> None:
        while True:
            try:
                reply = worker.receive()
            except HungUpError:
                self._bury(worker, outcomes)
                return
            if reply is None:
                return
            self._heed(worker, reply, outcomes)

    def _heed(self, worker: WorkerProcess, reply: Reply, outcomes: list[Outcome]) -> None:
        if isinstance(reply, Ready):
            worker.ready = reply
            self._unstarted[worker.number] = 0
            self._refusal, self._at_fault = "", True
            if self.working() == len(self._failures):
                self.trouble = ""
        elif isinstance(reply, Refused):
            worker.sentence = reply.reason
            if want_in(reply.reason, self._options.memory_mb, self._options.provider):
                return  # told when it has ended, which it does now
            self._refusal = reply.reason
            self._at_fault = reply.provider
        elif isinstance(reply, Broken):
            worker.broken = True
            worker.sentence = reply.reason
        else:
            worker.judged += 1
            worker.busy_since = time.monotonic()
            self._failures[worker.number] = 0
            if isinstance(reply, Judged):  # a file that does not decode proves no provider
                self._broken = 0
                self._deaths.clear()
            assert worker.ready is not None
            outcomes.append(Outcome(worker.claims.popleft(), reply, worker.ready))

    def _bury(self, worker: WorkerProcess, outcomes: list[Outcome]) -> None:
        inferring = worker.stage.inferring
        self._part_with(worker)
        reason, want = worker.end(), worker.want(self._guard)
        if want:
            reason = f"{want.words} ({reason})"
        rest = want is not None and want.shared and bool(self._workers)
        claims = list(worker.claims)
        faultless = rest or (worker.broken and not want)
        if claims and worker.ready and not faultless:
            outcomes.append(Outcome(claims[0], Lost(reason), worker.ready))
            claims = claims[1:]
        self._requeued.extendleft(reversed(claims))
        self.restarts += 1
        if not want and not worker.killed:  # else it is nothing that the provider has done
            self._blame(worker, inferring=inferring)
        if worker.judged and not rest:
            self.trouble = reason
            self._vacant.append((time.monotonic(), worker.number))
        else:
            self._put_off(worker.number, reason, rest=rest)
        log.warning("worker %d is replaced: %s", worker.number, reason)

    def _blame(self, worker: WorkerProcess, *, inferring: bool) -> None:
        """Count what the provider may have done."""
        if worker.ready is None:
            self._unstarted[worker.number] += 1
        elif worker.broken:
            self._broken += 1
        elif worker.claims and inferring:
            self._deaths.append(worker.claims[0].id)

    def _put_off(self, number: int, reason: str, *, rest: bool = False) -> None:
        """Try later, and later each time: it can't be started, or did nothing before it died.

        ``rest``: there is no room for it beside the others, which go on without it.
        """
        self.trouble, now = reason, time.monotonic()
        if rest and self._workers:
            first, most = _REST
            times, last = self._rests.get(number, (0, 0.0))
            times = times + 1 if now - last < 2 * most else 1
            self._rests[number] = times, now
        else:
            times = self._failures[number] = self._failures[number] + 1
            first, most = BACKOFF
        delay = min(first * 2 ** min(times - 1, 16), most)
        self._vacant.append((now + delay, number))
