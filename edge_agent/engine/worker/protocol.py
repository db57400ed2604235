"""What the daemon and a worker say to each other: one JSON message a packet of a socket pair.

No pickle: a worker that a hostile image has taken over must not be able to run code in the daemon.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, TypeAdapter

from edge_agent.types import Failure, Prediction  # noqa: TC001  pydantic reads them at run time

if TYPE_CHECKING:
    from edge_agent.bundle import Bundle
    from edge_agent.settings import RuntimeSettings, WorkerSettings

PACKET = 1 << 18
"""Bytes that one message may have."""


@dataclass(frozen=True)
class WorkerOptions:
    """Everything a worker needs to know, sent once at its start."""

    bundle: str
    digest: str
    """Of the manifest that was verified: no other may have taken its place."""
    variant: str
    provider: str
    threads: int
    precision: str
    cache: str
    """A directory for compiled models; empty: none."""
    gpu_memory_mb: int
    memory_mb: int
    formats: tuple[str, ...]
    max_pixels: int
    max_bytes: int


def worker_options(
    worker: WorkerSettings,
    runtime: RuntimeSettings,
    bundle: Bundle,
    *,
    variant: str,
    provider: str,
    threads: int,
    cache: Path | None = None,
) -> WorkerOptions:
    """What a worker is told of the station's settings, and of what was chosen to run."""
    return WorkerOptions(
        bundle=str(bundle.path),
        digest=bundle.digest,
        variant=variant,
        provider=provider,
        threads=threads,
        precision=runtime.precision,
        cache=str(cache or ""),
        gpu_memory_mb=runtime.gpu_memory_mb,
        memory_mb=worker.memory_mb,
        formats=worker.formats,
        max_pixels=worker.max_pixels,
        max_bytes=worker.max_bytes,
    )


@dataclass(frozen=True)
class Ready:
    """The worker has proved itself on the golden images."""

    variant: str
    provider: str
    device: str
    golden_error: float
    rss: int
    kind: Literal["ready"] = "ready"


@dataclass(frozen=True)
class Refused:
    """The worker can't work with these options, and trying again would not help."""

    reason: str
    provider: bool
    """The provider is at fault, or scores the golden images wrong; not the bundle's files."""
    kind: Literal["refused"] = "refused"


@dataclass(frozen=True)
class Broken:
    """The session raised while it judged a frame; the worker ends after saying so.

    Every input is of one shape, so it is not the frame's fault: a device was lost, or its driver
    was reset.
    """

    id: str
    reason: str
    kind: Literal["broken"] = "broken"


@dataclass(frozen=True)
class Judged:
    """A frame's prediction, and the size and mtime (ns) of the file when it was read."""

    id: str
    prediction: Prediction
    signature: tuple[int, int]
    kind: Literal["judged"] = "judged"


@dataclass(frozen=True)
class Failed:
    """A frame that can't be judged, and the size and mtime (ns) of the file when it was read."""

    id: str
    failure: Failure
    signature: tuple[int, int]
    truncated: bool = False
    """It may be that the rest is still to come."""
    errno: int = 0
    """Why the file could not be read; 0 where it could."""
    kind: Literal["failed"] = "failed"


Reply = Annotated[Ready | Refused | Broken | Judged | Failed, Field(discriminator="kind")]

replies: TypeAdapter[Ready | Refused | Broken | Judged | Failed] = TypeAdapter(Reply)
options: TypeAdapter[WorkerOptions] = TypeAdapter(WorkerOptions)


def pack_task(identity: str, path: Path) -> bytes:
    """A task: the frame's identity and its file, whose name may be any bytes."""
    return identity.encode() + b"\0" + os.fsencode(path)


def unpack_task(packet: bytes) -> tuple[str, Path]:
    """The identity and file of ``pack_task``."""
    identity, _, path = packet.partition(b"\0")
    return identity.decode(), Path(os.fsdecode(path))
