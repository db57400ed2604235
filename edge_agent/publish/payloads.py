"""What is said on ``verdict``, ``defect`` and ``status``: pure functions.

The models here are the interface to everyone who listens. Adding a field is compatible;
renaming or removing one is not, and needs a new topic root.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from edge_agent.system.text import iso_utc, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_agent import types
    from edge_agent.publish.topics import Station

TIME = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$"
Probability = Field(ge=0.0, le=1.0)


class Message(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class StationName(Message):
    site: str
    line: str
    station: str


class ImageFile(Message):
    name: str = Field(description="as the producer named it; control characters escaped")
    sha256: str = Field(description="of the file's bytes; empty where it could not be read")
    width: int = Field(ge=0, description="pixels; 0 where it could not be decoded")
    height: int = Field(ge=0)
    bytes: int = Field(ge=0)
    stored: str | None = Field(
        description="where the station files it: processed/NAME or quarantine/NAME, in the folders "
        "of [storage], control characters escaped as in `name`; null: it stays where it was, was "
        "not kept, or that is not known",
    )


class ModelName(Message):
    name: str
    version: str
    variant: str
    digest: str = Field(
        default="", description="SHA-256 of the bundle's manifest; not in messages made earlier"
    )


class Runtime(Message):
    provider: str = Field(description="the execution provider that judged")
    device: str


class LatencyMs(Message):
    """Milliseconds by stage; ``total`` is from claim to judgement."""

    wait: float
    decode: float
    preprocess: float
    infer: float
    total: float


class Memory(Message):
    """Bytes."""

    worker_rss: int = Field(description="resident")
    agent_rss: int = Field(description="resident")
    gpu_memory: int | None = Field(description="the worker's; null: no GPU, or it isn't told")


class Box(Message):
    """A region of the heatmap, in pixels of the image."""

    x: int
    y: int
    width: int
    height: int
    peak: float = Probability


class VerdictMessage(Message):
    """Published once for every image, at least once; a repeat is byte-identical."""

    id: str = Field(description="the image's identity: what repeats are recognised by")
    sequence: int = Field(ge=1, description="gapless for a station: a gap is a lost message")
    station: StationName
    verdict: Literal["ok", "defect", "review", "error"]
    score: float | None = Field(ge=0.0, le=1.0, description="null where the verdict is error")
    threshold: float = Probability
    reason: str = Field(
        description="why the image could not be judged, or is no picture of the part; else empty"
    )
    image: ImageFile
    captured: str = Field(pattern=TIME, description="when the producer finished the file, UTC")
    received: str = Field(pattern=TIME, description="when the station took it, UTC")
    completed: str = Field(pattern=TIME, description="when it was judged, UTC")
    model: ModelName
    runtime: Runtime
    latency_ms: LatencyMs
    memory: Memory
    regions: list[Box]


class StatusMessage(Message):
    """Retained: birth when the station connects, last will when it is gone."""

    online: bool
    station: StationName
    version: str = Field(description="of edge-inspect")
    started: str = Field(pattern=TIME, description="when the agent started, UTC")
    reason: str = Field(description="why it is offline: stopped, or connection lost; else empty")
    model: ModelName | None = Field(description="what judges; null while offline")
    runtime: Runtime | None
    degraded: bool = Field(description="it runs, but not on the execution provider asked for")
    paused: bool = Field(description="it takes no images until it gets command/resume")
    drift: list[str] = Field(description="figures in which images differ from the training images")
    failing: bool = Field(
        default=False,
        description="images are not judged or not kept, or none comes; telemetry says why",
    )


def verdict_payload(station: Station, sequence: int, inspection: types.Inspection) -> bytes:
    """The message of an inspection. Never fails: an inspection must not be unpublishable.

    Scores and peaks are rounded to 6 digits, latencies to microseconds.
    """
    i = inspection
    message = VerdictMessage(
        id=i.id,
        sequence=sequence,
        station=station_name(station),
        verdict=i.verdict.value,
        score=_probability(i.score),
        threshold=_probability(i.threshold) or 0.0,
        reason=printable(i.reason),
        image=ImageFile(
            name=printable(i.name),
            sha256=i.image.sha256,
            width=i.image.width,
            height=i.image.height,
            bytes=i.image.bytes,
            stored=i.stored or None,
        ),
        captured=iso_utc(i.captured),
        received=iso_utc(i.received),
        completed=iso_utc(i.completed),
        model=model_name(i.model),
        runtime=runtime_name(i.model),
        latency_ms=LatencyMs(
            wait=_milliseconds(i.latency.wait),
            decode=_milliseconds(i.latency.decode),
            preprocess=_milliseconds(i.latency.preprocess),
            infer=_milliseconds(i.latency.infer),
            total=_milliseconds(i.latency.total),
        ),
        memory=Memory(worker_rss=i.worker_rss, agent_rss=i.agent_rss, gpu_memory=i.gpu_memory),
        regions=[
            Box(x=r.x, y=r.y, width=r.width, height=r.height, peak=_probability(r.peak) or 0.0)
            for r in i.regions
        ],
    )
    return message.model_dump_json().encode()


def birth_payload(
    station: Station,
    model: types.Model,
    *,
    version: str,
    started: float,
    degraded: bool = False,
    paused: bool = False,
    failing: bool = False,
    drift: Sequence[str] = (),
) -> bytes:
    """The status of a station that runs; ``started`` in seconds since the epoch."""
    return _status(
        station,
        version=version,
        started=started,
        reason="",
        model=model_name(model),
        runtime=runtime_name(model),
        degraded=degraded,
        paused=paused,
        failing=failing,
        drift=drift,
    )


def offline_payload(
    station: Station,
    reason: Literal["stopped", "connection lost"],
    *,
    version: str,
    started: float,
) -> bytes:
    """The status of a station that is gone: said by itself, or by the broker as last will."""
    return _status(station, version=version, started=started, reason=reason)


def _status(
    station: Station,
    *,
    version: str,
    started: float,
    reason: str,
    model: ModelName | None = None,
    runtime: Runtime | None = None,
    degraded: bool = False,
    paused: bool = False,
    failing: bool = False,
    drift: Sequence[str] = (),
) -> bytes:
    message = StatusMessage(
        online=not reason,
        station=station_name(station),
        version=version,
        started=iso_utc(started),
        reason=reason,
        model=model,
        runtime=runtime,
        degraded=degraded,
        paused=paused,
        drift=list(drift),
        failing=failing,
    )
    return message.model_dump_json().encode()


def station_name(station: Station) -> StationName:
    return StationName(site=station.site, line=station.line, station=station.station)


def model_name(model: types.Model) -> ModelName:
    return ModelName(
        name=model.name, version=model.version, variant=model.variant, digest=model.digest
    )


def runtime_name(model: types.Model) -> Runtime:
    return Runtime(provider=model.provider, device=model.device)


def _probability(value: float | None) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return round(min(max(value, 0.0), 1.0), 6)


def _milliseconds(value: float) -> float:
    return round(value, 3) if math.isfinite(value) else 0.0
