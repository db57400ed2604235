"""``edge-agent classify``: judge files one-off, with no state, through the daemon's own workers."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from edge_agent.engine.worker.pool import Lost, Outcome, WorkerPool, WorkerStartError
from edge_agent.engine.worker.protocol import Judged, worker_options
from edge_agent.engine.worker.verify import verify_apart
from edge_agent.line.decide import decide
from edge_agent.settings import SettingsError, WorkerSettings
from edge_agent.types import Claim, Latency, Verdict
from edge_agent.types.target import ProviderError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from edge_agent.bundle import Decision
    from edge_agent.settings import Instead, RuntimeSettings


@dataclass(frozen=True)
class Classified:
    """One line of the answer."""

    path: str
    verdict: Verdict
    score: float | None
    threshold: float
    latency: Latency
    error: str
    """Why it could not be judged, or is no picture of the part; else empty."""

    def as_json(self) -> dict[str, object]:
        """What a line of ``--json`` holds."""
        latency = {stage: round(ms, 3) for stage, ms in asdict(self.latency).items()}
        return {
            "path": self.path,
            "verdict": self.verdict.value,
            "score": self.score,
            "threshold": self.threshold,
            "latency_ms": latency,
            "error": self.error,
        }


def classify(
    bundle_path: Path,
    paths: Sequence[Path],
    runtime: RuntimeSettings,
    settings: WorkerSettings | None = None,
    implausible: Instead = "error",
) -> Iterator[Classified]:
    """Judge files in order; a worker that an image kills is replaced, the image is an error.

    Args:
        bundle_path: the bundle's directory.
        paths: the files.
        runtime: which variant on what.
        settings: the limits of a worker; None: as they are where nobody sets them.
        implausible: what is said of a picture that the bundle was not made for.

    Raises:
        BundleError, WorkerStartError: the bundle can't be used.
        ProviderError: the execution provider fails at one image after the other.
    """
    settings = settings or WorkerSettings()
    bundle = verify_apart(bundle_path)
    decision = bundle.manifest.decision_of(runtime.variant)
    pool = WorkerPool(
        worker_options(
            settings,
            runtime,
            bundle,
            variant=runtime.variant,
            provider=runtime.provider,
            threads=runtime.threads,
        ),
        frame_timeout=settings.frame_timeout,
        start_timeout=settings.start_timeout,
    )
    try:
        pool.start()
        worked = time.monotonic()
        left = deque(_claim(number, path) for number, path in enumerate(paths))
        while left or pool.pending():
            while left and pool.room():
                pool.submit(left.popleft())
            for outcome in pool.poll(1.0):
                yield _classified(outcome, decision, implausible)
            if pool.lost:
                raise ProviderError(f"{runtime.provider} was lost: {pool.lost}")
            worked = time.monotonic() if pool.working() else worked
            if time.monotonic() - worked > settings.start_timeout:
                raise WorkerStartError(f"no worker can be started: {pool.trouble}")
    finally:
        pool.close()


def find_images(paths: Sequence[Path]) -> list[Path]:
    """The files given, and the files directly in the folders given, sorted by name.

    Raises:
        SettingsError: one of them may not be looked at.
    """
    found: list[Path] = []
    try:
        for path in paths:
            if path.is_dir():
                inside = (p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
                found.extend(sorted(inside))
            else:
                found.append(path)
    except OSError as error:
        raise SettingsError(f"{error.filename} can't be read: {error.strerror}") from None
    return found


def _claim(number: int, path: Path) -> Claim:
    now = time.time()
    return Claim(str(number), str(path), path, now, now, time.monotonic())


def _classified(outcome: Outcome, decision: Decision, implausible: Instead) -> Classified:
    name, reply, threshold = outcome.claim.name, outcome.reply, decision.threshold
    if isinstance(reply, Judged):
        own = reply.prediction.latency
        busy = own.decode + own.preprocess + own.infer
        latency = Latency(0.0, own.decode, own.preprocess, own.infer, busy)
        score = reply.prediction.score
        odd = "" if implausible == "ok" else reply.prediction.implausible
        verdict = decide(score, decision, odd, implausible)
        known = None if verdict is Verdict.ERROR else score
        return Classified(name, verdict, known, threshold, latency, odd)
    reason = reply.reason if isinstance(reply, Lost) else reply.failure.reason
    return Classified(name, Verdict.ERROR, None, threshold, Latency(), reason)
