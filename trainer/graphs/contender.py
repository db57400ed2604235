"""PyTorch or a variant on a provider, judging images: what `compare` runs in a process."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edge_agent.bundle import look_at_bundle
from edge_agent.engine.runtime.session import open_session
from trainer.config import read_config
from trainer.data.frames import fitted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from edge_agent.bundle import Bundle
    from trainer.data import Sample

_WARM_UP = 8
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Contender:
    """What judges, and on what."""

    how: Literal["eager", "compiled", "onnx"]
    variant: str = ""
    provider: str = ""

    @property
    def name(self) -> str:
        """As it stands in the table."""
        if self.how == "onnx":
            return f"{self.variant} on {self.provider}"
        return f"PyTorch {self.how}"


@dataclass(frozen=True)
class Measured:
    """One pass over images, one at a time."""

    scores: tuple[float, ...]
    seconds: tuple[float, ...]
    """From the fitted frame to the score: decoding and fitting are the same for all."""
    peak_mb: float | None
    """Resident memory of the process at its highest; None where the system doesn't tell."""


def measure(
    contender: Contender, run: Path, bundle: Path, samples: Sequence[Sample], threads: int
) -> Measured:
    """Judge ``samples`` and take the time.

    Args:
        contender: who.
        run: for PyTorch, the folder of the run.
        bundle: for a variant, the bundle.
        samples: the images.
        threads: for one inference.
    """
    opened = look_at_bundle(bundle)
    spec = opened.manifest.preprocess
    score = _score(contender, run, opened, threads)
    for frame in fitted(samples[:_WARM_UP], spec):  # compiles, allocates, settles
        score(frame[None])
    scores, seconds = [], []
    for frame in fitted(samples, spec):
        image = frame[None]
        started = time.perf_counter()
        scores.append(score(image))
        seconds.append(time.perf_counter() - started)
    return Measured(tuple(scores), tuple(seconds), _peak_mb())


def _score(
    contender: Contender, run: Path, bundle: Bundle, threads: int
) -> Callable[[NDArray[np.uint8]], float]:
    if contender.how == "onnx":
        variant = bundle.variant(contender.variant)
        session = open_session(
            bundle.read(variant), name=variant.file, provider=contender.provider, threads=threads
        )
        return lambda image: float(session.run(["score"], {"image": image})[0][0])
    import torch  # noqa: PLC0415  a variant's memory is measured without it

    from trainer.networks.checkpoint import load_model  # noqa: PLC0415

    torch.set_num_threads(threads or torch.get_num_threads())
    module = load_model(run, read_config(run / "config.json"))
    module.to(memory_format=torch.channels_last)
    called = torch.compile(module) if contender.how == "compiled" else module

    def score(image: NDArray[np.uint8]) -> float:
        with torch.inference_mode():
            return float(called(torch.from_numpy(image))[0][0])

    return score


def _peak_mb() -> float | None:
    # Not getrusage: a process starts with the peak of the one that started it.
    if not _STATUS.exists():
        return None
    lines = _STATUS.read_text().splitlines()
    kilobytes = [line.split()[1] for line in lines if line.startswith("VmHWM")]
    return int(kilobytes[0]) / 1024 if kilobytes else None
