"""What a station knows of itself at a moment: for ``/healthz``, ``/metrics`` and ``telemetry``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from edge_agent.system.percentiles import Percentiles
    from edge_agent.types import Model


@dataclass(frozen=True)
class Health:
    """The station's state, as told to whoever asks."""

    status: Literal["ok", "degraded", "failing"]
    """``degraded``: images are judged and kept, but not all is well. ``failing``: they are not, or
    none comes where some are expected."""
    reasons: tuple[str, ...]
    """What is wrong, in words an operator can act on; empty when ``ok``."""
    inspections: int
    """Since the start."""
    verdicts: dict[str, int]
    last_inspection_age: float | None
    """Seconds; None before the first."""
    in_work: int
    waiting: int
    """Whole files in the folder, not yet claimed."""
    outbox: int
    """Inspections not yet acknowledged by the broker."""
    broker: str
    worker_restarts: int
    ignored: dict[str, str]
    """What lies in the folder and is not taken, with the reason."""
    paused: bool = False
    """By a command: images wait."""
    silent: bool = False
    """No image comes although some are expected, and nothing else is failing."""
    held_up: int = 0
    """Of those in work: nothing can be done about them now, so that they are no backlog."""
    commands_refused: int = 0
    """Since the start, because too many came."""
    sessions_lost: int = 0
    """Since the start, of ``[source.mqtt]``: what the broker held for it may be lost."""

    @property
    def ready(self) -> bool:
        """Whether an image that is offered now would be judged; also where none comes."""
        return (self.status != "failing" or self.silent) and not self.paused


@dataclass(frozen=True)
class Histogram:
    """Durations of one stage since the start."""

    stage: str
    counts: tuple[int, ...]
    """By bucket, not cumulative; the last has what is beyond every bound."""
    seconds: float
    """All durations together."""


@dataclass(frozen=True)
class Disk:
    """The filesystem that one of the station's directories lies on."""

    place: str
    """Which directory: ``state``, ``processed``, ``quarantine``."""
    free: int
    """Bytes that the station may still write."""
    size: int


@dataclass(frozen=True)
class Drift:
    """One figure of the last inspections beside the bundle's ``reference``."""

    figure: str
    """``brightness``, ``contrast``, ``sharpness``, ``compression``, ``score``."""
    frames: int
    """How many inspections are compared."""
    psi: float
    """Population stability index."""
    distance: float
    """Kolmogorov and Smirnov's D, 0-1."""
    higher: bool
    """Than in the training images, where it differs; else lower."""
    drifting: bool


@dataclass(frozen=True)
class Reading:
    """All of it."""

    health: Health
    model: Model
    """What judges now."""
    degraded: bool
    """It is not the execution provider asked for."""
    workers: int
    """Ready."""
    agent_rss: int
    """Resident bytes."""
    worker_rss: int
    """Resident bytes of all workers together."""
    gpu_memory: int | None
    """Bytes, of the worker that judged last; None where there is no GPU, or it isn't told."""
    disks: tuple[Disk, ...]
    stages: tuple[Histogram, ...]
    recent: dict[str, Percentiles]
    """By stage; empty before the first inspection."""
    drift: tuple[Drift, ...]
    """Empty before the first comparison."""
