"""One file to one reply: read, decode, preprocess, infer. The only place for untrusted bytes."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from typing import TYPE_CHECKING

from edge_agent.bundle.appearance import appearance
from edge_agent.bundle.plausible import see, why_implausible
from edge_agent.bundle.preprocess import DecodeError, decode_for, fit
from edge_agent.engine.worker.memory import Memory
from edge_agent.engine.worker.protocol import Failed, Judged, WorkerOptions
from edge_agent.engine.worker.regions import find_regions
from edge_agent.types import Failure, Image, Latency, Prediction

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge_agent.bundle import Expects
    from edge_agent.engine.worker.predictor import Predictor


class Judge:
    """Holds a predictor and the limits; judges files one by one."""

    def __init__(
        self,
        predictor: Predictor,
        options: WorkerOptions,
        inferring: Callable[[bool], None] = lambda _: None,
        expects: Expects | None = None,
    ) -> None:
        """Judge by these.

        Args:
            predictor: scores fitted frames.
            options: the limits.
            inferring: told when the session begins and ends.
            expects: bounds of a picture that the bundle was made for; None: nobody knows.
        """
        self._predictor = predictor
        self._options = options
        self._memory = Memory(predictor.target)
        self._inferring = inferring
        self._expects = expects

    def judge(self, identity: str, path: Path) -> Judged | Failed:
        """Judge one file. Exceptions of the session are not caught: they end the worker."""
        started = time.perf_counter()
        signature = (0, 0)
        image = Image("", 0)
        try:
            data, signature = _read(path, self._options.max_bytes)
            image = Image(hashlib.sha256(data).hexdigest(), len(data))
            frame = decode_for(
                self._predictor.preprocess,
                data,
                formats=self._options.formats,
                max_pixels=self._options.max_pixels,
            )
            decoded = time.perf_counter()
            fitted = fit(frame, self._predictor.preprocess)
        except (DecodeError, OSError, MemoryError) as error:
            reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            if isinstance(error, MemoryError):
                reason = f"no memory left: [worker] memory_mb = {self._options.memory_mb}"
            latency = Latency(decode=_ms(started))
            truncated = isinstance(error, DecodeError) and not isinstance(error, _RefusedError)
            failure = Failure(reason, image, latency, self._memory.rss(), self._memory.gpu())
            number = (error.errno or 0) if isinstance(error, OSError) else 0
            return Failed(identity, failure, signature, truncated, number)
        prepared = time.perf_counter()
        self._inferring(True)
        scored = self._predictor.predict(fitted.tensor[None])
        self._inferring(False)
        score = min(max(float(scored.score[0]), 0.0), 1.0)
        image = Image(image.sha256, image.bytes, frame.width, frame.height)
        latency = Latency(
            decode=(decoded - started) * 1e3,
            preprocess=(prepared - decoded) * 1e3,
            infer=_ms(prepared),
        )
        reason = scored.fault()
        rss, gpu = self._memory.rss(), self._memory.gpu()
        if reason:
            return Failed(identity, Failure(reason, image, latency, rss, gpu), signature)
        regions = find_regions(scored.heatmap[0], fitted, frame.width, frame.height)
        looks = appearance(fitted.tensor)
        expects = self._expects
        odd = why_implausible(see(frame, fitted, looks), expects) if expects else ""
        prediction = Prediction(score, regions, image, latency, rss, gpu, looks, odd)
        return Judged(identity, prediction, signature)


class _RefusedError(DecodeError):
    """The file is not read: whatever may still come, it would not be judged."""


def _read(path: Path, limit: int) -> tuple[bytes, tuple[int, int]]:
    """The bytes of a regular file, and its size and mtime; links and pipes are not followed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _RefusedError("not a regular file")
        if status.st_size > limit:
            raise _RefusedError(f"{status.st_size} bytes is more than the limit of {limit}")
        # Not up to the limit: as much as is asked for is allocated, whatever the file has.
        return stream.read(status.st_size), (status.st_size, status.st_mtime_ns)


def _ms(since: float) -> float:
    return (time.perf_counter() - since) * 1e3
