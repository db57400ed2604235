"""``/metrics``: a `Reading` in Prometheus' text format.

Nothing is counted here, and nothing by Prometheus' client: what the loop knows already is only
written down when somebody asks.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.registry import Collector

from edge_agent.telemetry.tally import BOUNDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client import Metric

    from edge_agent.types.reading import Reading

TEXT = "text/plain; version=0.0.4; charset=utf-8"
"""The content type of what `Metrics.text` gives."""


class Metrics(Collector):
    """Writes down what ``read`` says, and what the kernel knows of this process."""

    def __init__(self, read: Callable[[], Reading], version: str) -> None:
        self._read = read
        self._version = version
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """One scrape."""
        return generate_latest(self._registry)

    def describe(self) -> list[Metric]:
        """Nothing: the registry would take a reading only to learn the names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The station's metrics; the registry calls it."""
        reading = self._read()
        yield from _what_runs(reading, self._version)
        yield from _work(reading)
        yield from _state(reading)
        yield from _machine(reading)
        yield from _drift(reading)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"edge_agent_{name}", text, value)


def _what_runs(reading: Reading, version: str) -> Iterator[Metric]:
    model = reading.model
    yield InfoMetricFamily("edge_agent_build", "Version of the agent.", {"version": version})
    yield InfoMetricFamily(
        "edge_agent_model",
        "What judges, and the execution provider that it runs on.",
        {
            "name": model.name,
            "version": model.version,
            "variant": model.variant,
            "provider": model.provider,
            "device": model.device,
            "digest": model.digest,
        },
    )


def _work(reading: Reading) -> Iterator[Metric]:
    health = reading.health
    verdicts = CounterMetricFamily(
        "edge_agent_inspections", "Inspections in the journal since the start.", labels=["verdict"]
    )
    for verdict, count in health.verdicts.items():
        verdicts.add_metric([verdict], count)
    yield verdicts
    stages = HistogramMetricFamily(
        "edge_agent_stage_seconds", "Time an image spends in each stage.", labels=["stage"]
    )
    bounds = [*map(str, BOUNDS), "+Inf"]
    for stage in reading.stages:
        buckets = list(zip(bounds, accumulate(stage.counts), strict=True))
        stages.add_metric([stage.stage], buckets, stage.seconds)
    yield stages
    yield _gauge("waiting_images", "Whole files in the source, not claimed yet.", health.waiting)
    yield _gauge("work_images", "Images claimed and not filed away yet.", health.in_work)
    if health.last_inspection_age is not None:
        yield _gauge(
            "last_inspection_age_seconds",
            "Time since the last inspection was committed.",
            health.last_inspection_age,
        )


def _state(reading: Reading) -> Iterator[Metric]:
    health = reading.health
    yield _gauge(
        "failing",
        "1 when images are not judged or not kept, or none comes.",
        health.status == "failing",
    )
    yield _gauge(
        "silent", "1 when failing since none comes within [source] expect_every.", health.silent
    )
    yield _gauge("degraded", "1 when something is wrong.", health.status != "ok")
    yield _gauge("paused", "1 while a command keeps it from taking images.", health.paused)
    yield _gauge(
        "provider_degraded",
        "1 when it runs on another execution provider than asked for.",
        reading.degraded,
    )
    yield _gauge("ready_workers", "Worker processes that have proved themselves.", reading.workers)
    yield CounterMetricFamily(
        "edge_agent_worker_restarts",
        "Workers that crashed, hung or were lost since the start.",
        health.worker_restarts,
    )
    yield CounterMetricFamily(
        "edge_agent_commands_refused",
        "Commands that were not obeyed because too many came, since the start.",
        health.commands_refused,
    )
    yield CounterMetricFamily(
        "edge_agent_sessions_lost",
        "How often the broker had no session for [source.mqtt] where one was expected.",
        health.sessions_lost,
    )
    if health.broker != "none":
        yield _gauge("broker_connected", "1 while connected.", health.broker == "connected")
        yield _gauge("outbox_messages", "Inspections that no broker has taken yet.", health.outbox)


def _machine(reading: Reading) -> Iterator[Metric]:
    yield _gauge("workers_resident_memory_bytes", "Of all workers together.", reading.worker_rss)
    if reading.gpu_memory is not None:
        yield _gauge(
            "gpu_memory_bytes", "GPU memory of the worker that judged last.", reading.gpu_memory
        )
    free = GaugeMetricFamily(
        "edge_agent_disk_free_bytes", "What the station may still write.", labels=["place"]
    )
    size = GaugeMetricFamily(
        "edge_agent_disk_size_bytes", "Size of the filesystem.", labels=["place"]
    )
    for disk in reading.disks:
        free.add_metric([disk.place], disk.free)
        size.add_metric([disk.place], disk.size)
    yield free
    yield size


def _drift(reading: Reading) -> Iterator[Metric]:
    labels = ["figure"]
    psi = GaugeMetricFamily("edge_agent_drift_psi", "Population stability index.", labels=labels)
    distance = GaugeMetricFamily(
        "edge_agent_drift_distance", "Kolmogorov and Smirnov's D, 0 to 1.", labels=labels
    )
    drifting = GaugeMetricFamily(
        "edge_agent_drifting", "1 while it differs from the training images.", labels=labels
    )
    for one in reading.drift:
        psi.add_metric([one.figure], one.psi)
        distance.add_metric([one.figure], one.distance)
        drifting.add_metric([one.figure], one.drifting)
    yield psi
    yield distance
    yield drifting
