"""Measure candidates with the daemon's own workers, all of them running at once.

A candidate that crashes, hangs, runs elsewhere or scores wrong is caught by the same pool that
would have caught it in service; its reason stands in the table.
"""

from __future__ import annotations

import itertools
import statistics
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from edge_agent.engine.tuning.candidates import Candidate  # noqa: TC001  pydantic reads it at run time
from edge_agent.engine.worker.pool import WorkerPool, WorkerStartError
from edge_agent.engine.worker.protocol import Failed, Judged
from edge_agent.types import Claim
from edge_agent.types.target import ProviderError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from edge_agent.bundle import Bundle
    from edge_agent.engine.worker.protocol import WorkerOptions

_WARM_UP = 3
_SINGLE = 15  # frames, one at a time, for the latency
CLOSE = 0.75  # of the best rate: these are measured again, in turn
_ROUNDS = 2  # so often


@dataclass(frozen=True)
class Measured:
    """What a candidate can do, or why it can't."""

    candidate: Candidate
    ok: bool
    reason: str
    """Why it is out; empty when it is ok."""
    golden_error: float | None = None
    """Largest difference to the golden images' expected scores."""
    latency_ms: float | None = None
    """Inference of one frame with nothing else going on: median; best of the rounds."""
    fps: float | None = None
    """Frames a second with all workers busy, decoding included: best of the rounds."""


class _MisjudgedError(Exception):
    """A frame did not come back judged."""


def measure(
    bundle: Bundle,
    candidates: Sequence[Candidate],
    options_for: Callable[[Candidate], WorkerOptions],
    *,
    scratch: Path | None = None,
    seconds: float = 1.0,
    start_timeout: float = 60.0,
    frame_timeout: float = 10.0,
    tell: Callable[[Measured], None] = lambda _: None,
) -> list[Measured]:
    """Probe every candidate; the fastest ones again and again, in turn, for noise hits them alike.

    Args:
        bundle: verified.
        candidates: in the order of the result.
        options_for: what the workers of a candidate are told.
        scratch: a writable directory for the frames; None: the system's own for such things.
        seconds: that each rate is measured for.
        start_timeout: seconds that a worker may take to load and prove the model.
        frame_timeout: seconds that a frame may take.
        tell: called with every candidate's first result.

    Raises:
        BundleError: a golden image is not the one that the manifest names.
        ProviderError: there is no room for the frames.
    """

    def probe(candidate: Candidate) -> Measured:
        pool = WorkerPool(
            options_for(candidate),
            workers=candidate.workers,
            frame_timeout=frame_timeout,
            start_timeout=start_timeout,
        )
        try:
            ready = pool.start()
            if pool.working() < candidate.workers:
                raise _MisjudgedError(f"not all workers can be started: {pool.trouble}")
            with _frames(bundle, scratch) as frames:
                _run(pool, frames, _WARM_UP * candidate.workers)
                latency = _latency(pool, frames)
                fps = _rate(pool, frames, seconds)
        except (WorkerStartError, _MisjudgedError) as error:
            return Measured(candidate, ok=False, reason=str(error))
        finally:
            pool.close()
        return Measured(candidate, True, "", ready.golden_error, round(latency, 2), round(fps, 1))

    first: list[Measured] = []
    for candidate in candidates:
        # What does not work with one layout of workers and threads is not waited for in another.
        same = (one for one in first if not one.ok and one.candidate.is_like(candidate))
        failed = next(same, None)
        first.append(replace(failed, candidate=candidate) if failed else probe(candidate))
        tell(first[-1])
    best = max((one.fps or 0.0 for one in first), default=0.0)
    close = [one for one in first if one.fps and one.fps >= CLOSE * best]
    if len(close) < 2:
        return first
    again = [[probe(one.candidate) for one in close] for _ in range(_ROUNDS)]
    final = {
        one.candidate: _best([one, *(turn[place] for turn in again)])
        for place, one in enumerate(close)
    }
    return [final.get(one.candidate, one) for one in first]


def choose(measured: Sequence[Measured]) -> Measured | None:
    """The fastest that is right; None where nothing is."""
    right = [one for one in measured if one.ok]
    return max(right, key=lambda one: (one.fps or 0.0, -(one.latency_ms or 0.0)), default=None)


def _best(turns: list[Measured]) -> Measured:
    """Whatever else the machine does can only make a candidate slower than it is."""
    wrong = [one for one in turns if not one.ok]
    if wrong:
        return wrong[0]
    return Measured(
        turns[0].candidate,
        ok=True,
        reason="",
        golden_error=turns[0].golden_error,
        latency_ms=min(one.latency_ms or 0.0 for one in turns),
        fps=max(one.fps or 0.0 for one in turns),
    )


@contextmanager
def _frames(bundle: Bundle, scratch: Path | None) -> Iterator[Iterator[Claim]]:
    """The golden images, over and over, in files of our own: the bundle's may be exchanged."""
    with ExitStack() as stack:
        files = []
        try:
            made = TemporaryDirectory(prefix="golden-", dir=scratch, ignore_cleanup_errors=True)
            folder = Path(stack.enter_context(made))
            for number, golden in enumerate(bundle.manifest.golden):
                files.append(folder / str(number))
                files[-1].write_bytes(bundle.read(golden))
        except OSError as error:
            raise ProviderError(
                f"nothing can be measured: the golden images can't be written to "
                f"{scratch or 'the temporary directory'}: {error.strerror}"
            ) from None
        yield _claims(files)


def _claims(files: Sequence[Path]) -> Iterator[Claim]:
    for number, file in enumerate(itertools.cycle(files)):
        yield Claim(str(number), file.name, file, 0.0, 0.0, time.monotonic())


def _run(pool: WorkerPool, frames: Iterator[Claim], count: int) -> list[Judged]:
    """Judge ``count`` frames, one at a time."""
    replies = []
    for claim in itertools.islice(frames, count):
        pool.submit(claim)
        while pool.pending():
            replies += _judged(pool, 1.0)
    return replies


def _latency(pool: WorkerPool, frames: Iterator[Claim]) -> float:
    replies = _run(pool, frames, _SINGLE)
    return statistics.median(reply.prediction.latency.infer for reply in replies)


def _rate(pool: WorkerPool, frames: Iterator[Claim], seconds: float) -> float:
    done = 0
    started = time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        for claim in itertools.islice(frames, pool.room()):
            pool.submit(claim)
        done += len(_judged(pool, 0.1))
    while pool.pending():  # leave nothing behind for whoever measures next
        _judged(pool, 1.0)
    return done / elapsed


def _judged(pool: WorkerPool, timeout: float) -> list[Judged]:
    replies = []
    outcomes = pool.poll(timeout)
    if pool.restarts:
        raise _MisjudgedError(f"a worker was lost: {pool.trouble}")
    for outcome in outcomes:
        if isinstance(outcome.reply, Failed):
            reason = outcome.reply.failure.reason
            raise _MisjudgedError(f"a golden image was not judged: {reason}")
        if isinstance(outcome.reply, Judged):
            replies.append(outcome.reply)
    return replies
