"""What is said on ``telemetry``, every few seconds: how the station is, in figures."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from edge_agent.publish.payloads import (
    TIME,
    Message,
    ModelName,
    Runtime,
    StationName,
    model_name,
    runtime_name,
    station_name,
)
from edge_agent.system.text import iso_utc, printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.publish.topics import Station
    from edge_agent.types.reading import Reading


class VerdictCounts(Message):
    """Since the start."""

    ok: int
    defect: int
    review: int
    error: int


class StagePercentiles(Message):
    """Milliseconds of one stage."""

    stage: Literal["wait", "decode", "preprocess", "infer", "total"]
    p50: float
    p95: float
    p99: float


class StationMemory(Message):
    """Bytes."""

    agent_rss: int = Field(description="resident")
    workers_rss: int = Field(description="resident, all workers together")
    gpu_memory: int | None = Field(
        description="of the worker that judged last; null: none, or not told"
    )


class DiskSpace(Message):
    """Of the filesystem that a directory of the station lies on, bytes."""

    place: str
    free: int
    size: int


class FigureDrift(Message):
    """One figure of the last inspections beside the bundle's reference."""

    figure: Literal["brightness", "contrast", "sharpness", "compression", "score"]
    frames: int = Field(description="inspections compared; nothing is said before there are 50")
    psi: float = Field(description="population stability index")
    distance: float = Field(ge=0, le=1, description="Kolmogorov and Smirnov's D")
    higher: bool = Field(description="than in the training images, if it differs; else lower")
    drifting: bool


class TelemetryMessage(Message):
    """Not retained, not kept while the broker is away: it is about now."""

    station: StationName
    time: str = Field(pattern=TIME, description="UTC")
    status: Literal["ok", "degraded", "failing"]
    reasons: list[str] = Field(description="what is wrong, and what to do; empty when ok")
    paused: bool = Field(description="it takes no images until it gets command/resume")
    verdicts: VerdictCounts
    rate: float = Field(ge=0, description="inspections a second, since the message before")
    last_inspection_age: float | None = Field(description="seconds; null before the first")
    waiting: int = Field(ge=0, description="whole files in the source, not claimed yet")
    in_work: int = Field(ge=0, description="images claimed and not filed away yet")
    outbox: int = Field(ge=0, description="inspections that no broker has taken yet")
    latency_ms: list[StagePercentiles] = Field(description="of the last inspections, at most 500")
    memory: StationMemory
    disks: list[DiskSpace]
    workers: int = Field(ge=0, description="ready")
    worker_restarts: int = Field(ge=0, description="since the start")
    model: ModelName
    runtime: Runtime
    provider_degraded: bool = Field(description="not on the execution provider asked for")
    commands_refused: int = Field(ge=0, description="since the start: too many came")
    sessions_lost: int = Field(
        ge=0, description="since the start: what the broker held for [source.mqtt] may be lost"
    )
    drift: list[FigureDrift] = Field(description="empty before the first ten inspections")


class Telemetry:
    """Says how the station is; for one thread."""

    def __init__(
        self,
        station: Station,
        read: Callable[[], Reading],
        *,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._station = station
        self._read = read
        self._wall = wall
        self._clock = clock
        self._before = (clock(), 0)

    def payload(self) -> bytes:
        """The next message."""
        reading, now = self._read(), self._clock()
        then, inspections = self._before
        self._before = (now, reading.health.inspections)
        passed = now - then
        rate = (reading.health.inspections - inspections) / passed if passed > 0 else 0.0
        return telemetry_payload(self._station, reading, at=self._wall(), rate=rate)


def telemetry_payload(station: Station, reading: Reading, *, at: float, rate: float) -> bytes:
    """The message of a reading; ``at`` in seconds since the epoch, ``rate`` in 1/s."""
    health = reading.health
    age = health.last_inspection_age
    message = TelemetryMessage(
        station=station_name(station),
        time=iso_utc(at),
        status=health.status,
        reasons=[printable(reason) for reason in health.reasons],
        paused=health.paused,
        verdicts=VerdictCounts(**health.verdicts),
        rate=round(rate, 3),
        last_inspection_age=None if age is None else round(age, 3),
        waiting=health.waiting,
        in_work=health.in_work,
        outbox=health.outbox,
        latency_ms=[
            StagePercentiles.model_validate(
                {
                    "stage": stage,
                    "p50": round(p.p50, 3),
                    "p95": round(p.p95, 3),
                    "p99": round(p.p99, 3),
                }
            )
            for stage, p in reading.recent.items()
        ],
        memory=StationMemory(
            agent_rss=reading.agent_rss,
            workers_rss=reading.worker_rss,
            gpu_memory=reading.gpu_memory,
        ),
        disks=[DiskSpace(place=d.place, free=d.free, size=d.size) for d in reading.disks],
        workers=reading.workers,
        worker_restarts=health.worker_restarts,
        model=model_name(reading.model),
        runtime=runtime_name(reading.model),
        provider_degraded=reading.degraded,
        commands_refused=health.commands_refused,
        sessions_lost=health.sessions_lost,
        drift=[
            FigureDrift.model_validate(
                {
                    "figure": one.figure,
                    "frames": one.frames,
                    "psi": round(one.psi, 4),
                    "distance": round(one.distance, 4),
                    "higher": one.higher,
                    "drifting": one.drifting,
                }
            )
            for one in reading.drift
        ],
    )
    return message.model_dump_json().encode()
