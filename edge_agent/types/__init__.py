"""What travels along the way of an image: one frozen dataclass a stage.

producer -> Claim -> worker -> Prediction | Failure -> decide -> Inspection -> journal, outbox

Times are seconds. Wall-clock times (``captured``, ``received``, ``completed``) are since the epoch
and may jump with the clock; durations come from a monotonic clock and never do.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Verdict(str, Enum):
    """What is said of an image. ``ERROR``: it can't be judged, or is no picture of the part."""

    OK = "ok"
    DEFECT = "defect"
    REVIEW = "review"
    ERROR = "error"


@dataclass(frozen=True)
class ReplyTo:
    """Where a producer wants to have the verdict of its image."""

    topic: str
    correlation: bytes | None
    """Goes back with it, unread."""


@dataclass(frozen=True)
class Wanted:
    """An image that a message names: a file that stays where it is, and may have yet to come."""

    file: str
    """As the message names it."""
    captured: float | None
    """When it was taken, wall clock; None: the message does not say, so the file's mtime."""


@dataclass(frozen=True)
class Claim:
    """An image that this station has taken: on disk, under ``work/<id>/``, until it is judged."""

    id: str
    """The frame's identity, for ever: in the journal, in every message, in ``work/``."""
    name: str
    """The file name as the producer gave it; printable, never used as a path."""
    path: Path
    """Where the bytes are."""
    captured: float
    """When the producer finished the file (its mtime), wall clock."""
    received: float
    """When this station claimed it, wall clock."""
    claimed: float
    """When this station claimed it, monotonic clock: what ``wait`` is measured from."""
    copy: bool = False
    """The original stays in its folder: this copy is dropped when it is judged."""
    whole: bool = False
    """It came in one piece: nothing of it can be still to come."""
    origin: Path | None = None
    """The file that this is a copy of, which is still in its folder; None: it is the file."""
    recovered: bool = False
    """An earlier run has claimed it, and may have judged it."""
    reply: ReplyTo | None = None
    refused: Failure | None = None
    """Why it can't be judged: known before any worker has seen it."""
    wanted: Wanted | None = None
    """Set where a message has named its file, which is read again while it is not whole."""


@dataclass(frozen=True)
class Region:
    """A box around a connected part of the heatmap, in pixels of the original image."""

    x: int
    y: int
    width: int
    height: int
    peak: float
    """The heatmap's largest value inside the box, 0-1."""


@dataclass(frozen=True)
class Image:
    """The file that was judged. Width and height are 0 where it could not be decoded."""

    sha256: str
    bytes: int
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class Latency:
    """Milliseconds by stage; ``total`` is from claim to judgement."""

    wait: float = 0.0
    decode: float = 0.0
    preprocess: float = 0.0
    infer: float = 0.0
    total: float = 0.0


@dataclass(frozen=True)
class Appearance:
    """How a frame looks that was fitted to the graph's input, grey values 0..255."""

    brightness: float
    """Mean grey, 0..255."""
    contrast: float
    """Standard deviation of grey, 0..127.5."""
    sharpness: float
    """Variance of the Laplacian (Pech-Pacheco et al. 2000): falls when the lens loses focus."""


@dataclass(frozen=True)
class Prediction:
    """What a worker found in one image."""

    score: float
    """Probability of a defect, 0-1."""
    regions: tuple[Region, ...]
    image: Image
    latency: Latency
    worker_rss: int
    """Resident bytes of the worker after the frame."""
    gpu_memory: int | None = None
    """Bytes that the worker has of its GPU's memory; None where there is none, or it isn't told."""
    appearance: Appearance | None = None
    implausible: str = ""
    """Why it is no picture that the bundle was made for; empty where it is, or nobody knows."""


@dataclass(frozen=True)
class Failure:
    """Why an image could not be judged."""

    reason: str
    image: Image
    latency: Latency = Latency()
    worker_rss: int = 0
    gpu_memory: int | None = None


@dataclass(frozen=True)
class Model:
    """Which bundle and variant judged, and what it ran on."""

    name: str
    version: str
    variant: str
    provider: str
    device: str
    digest: str = ""
    """SHA-256 of the bundle's manifest; empty where it is not known."""


@dataclass(frozen=True)
class Inspection:
    """The durable record of one image: what the journal keeps and what is published."""

    id: str
    verdict: Verdict
    score: float | None
    """None where the verdict is ``error``."""
    threshold: float
    reason: str
    """Why it could not be judged, or is no picture of the part; else empty."""
    name: str
    image: Image
    captured: float
    received: float
    completed: float
    model: Model
    latency: Latency
    worker_rss: int
    agent_rss: int
    regions: tuple[Region, ...] = ()
    gpu_memory: int | None = None
    reply: ReplyTo | None = None
    """Kept in the outbox until it is delivered, not in the record."""
    appearance: Appearance | None = None
    """What drift is measured in; not kept in the journal."""
    stored: str = ""
    """Where the image is filed, ``processed/NAME`` or ``quarantine/NAME``; empty: it stays where
    it was, was not kept, or that is not known."""


@dataclass(frozen=True)
class Recorded:
    """What files a frame away that has its inspection."""

    verdict: Verdict
    reason: str
    sha256: str
    """Of the bytes that were judged; empty: not known."""
    stored: str
    """As in `Inspection`."""


@dataclass(frozen=True)
class Seen:
    """What the journal knows of a frame that has its inspection."""

    failed: bool
    """It could not be judged."""
    sha256: str = ""
    """Of the bytes that were judged; empty: they could not be read, or that is not known."""
    bytes: int = 0
    """How many there were; 0 where there were none to read."""


@dataclass(frozen=True)
class Message:
    """An outbox row: the exact bytes to publish, the same at every repeat."""

    sequence: int
    id: str
    alarm: bool
    """Also goes to the ``defect`` topic."""
    payload: bytes
    reply: ReplyTo | None = None
    """Also goes there, once."""
