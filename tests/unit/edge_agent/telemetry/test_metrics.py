"""``/metrics``: each figure of a reading, under a name that Prometheus' own linter accepts."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge_agent.telemetry.metrics import Metrics
from tests.inspections import MODEL
from tests.readings import READING, WELL

PROMTOOL = shutil.which("promtool")


def samples(reading):
    text = Metrics(lambda: reading, "1.2.3").text().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(found, name, **labels):
    return found.get((name, tuple(sorted(labels.items()))))


def test_what_was_inspected():
    found = samples(READING)
    for verdict, count in WELL.verdicts.items():
        assert value(found, "edge_agent_inspections_total", verdict=verdict) == count
    assert value(found, "edge_agent_last_inspection_age_seconds") == 0.5
    assert value(found, "edge_agent_work_images") == 1
    assert value(found, "edge_agent_waiting_images") == 0
    assert value(found, "edge_agent_outbox_messages") == 0


def test_a_histogram_is_cumulative_and_in_seconds():
    found = samples(READING)  # infer took 3, 30 and 300 ms
    buckets = {
        bound: value(found, "edge_agent_stage_seconds_bucket", stage="infer", le=bound)
        for bound in ("0.0025", "0.005", "0.05", "0.25", "0.5", "+Inf")
    }
    assert list(buckets.values()) == [0, 1, 2, 2, 3, 3]
    assert value(found, "edge_agent_stage_seconds_count", stage="infer") == 3
    assert value(found, "edge_agent_stage_seconds_sum", stage="infer") == pytest.approx(0.333)


@pytest.mark.parametrize(
    ("status", "expected"), [("ok", (0, 0)), ("degraded", (0, 1)), ("failing", (1, 1))]
)
def test_how_it_is(status, expected):
    found = samples(replace(READING, health=replace(WELL, status=status)))
    names = ("edge_agent_failing", "edge_agent_degraded")
    assert tuple(value(found, name) for name in names) == expected
    assert value(found, "edge_agent_silent") == 0


def test_silence_is_a_failure_of_its_own():
    found = samples(replace(READING, health=replace(WELL, status="failing", silent=True)))
    assert value(found, "edge_agent_failing") == value(found, "edge_agent_silent") == 1


def test_what_runs():
    found = samples(replace(READING, degraded=True))
    assert value(found, "edge_agent_build_info", version="1.2.3") == 1
    (labels,) = [dict(labels) for name, labels in found if name == "edge_agent_model_info"]
    assert labels == {
        "name": "demo",
        "version": "1.2.0",
        "variant": "fp32",
        "provider": "CPUExecutionProvider",
        "device": "CPU",
        "digest": MODEL.digest,
    }
    assert value(found, "edge_agent_provider_degraded") == 1
    assert value(found, "edge_agent_ready_workers") == 2


def test_the_machine():
    found = samples(replace(READING, gpu_memory=123))
    assert value(found, "edge_agent_disk_free_bytes", place="state") == 7 << 30
    assert value(found, "edge_agent_disk_size_bytes", place="processed") == 100 << 30
    assert value(found, "edge_agent_workers_resident_memory_bytes") == 420_000_000
    assert value(found, "edge_agent_gpu_memory_bytes") == 123
    assert value(found, "process_resident_memory_bytes") > 1 << 20  # of who is asked


def test_drift_by_figure():
    found = samples(READING)
    assert value(found, "edge_agent_drift_psi", figure="brightness") == 4.25
    assert value(found, "edge_agent_drift_distance", figure="score") == 0.125
    assert value(found, "edge_agent_drifting", figure="brightness") == 1
    assert value(found, "edge_agent_drifting", figure="score") == 0


def test_what_there_is_not_is_not_told_as_zero():
    idle = replace(WELL, last_inspection_age=None, broker="none")
    found = {name for name, _ in samples(replace(READING, health=idle))}
    for name in ("last_inspection_age_seconds", "broker_connected", "outbox_messages"):
        assert f"edge_agent_{name}" not in found
    assert "edge_agent_gpu_memory_bytes" not in found


def test_each_scrape_asks_anew():
    readings = iter([READING, replace(READING, workers=1)])
    metrics = Metrics(lambda: next(readings), "1")
    assert b"edge_agent_ready_workers 2.0" in metrics.text()
    assert b"edge_agent_ready_workers 1.0" in metrics.text()


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is missing: apt-get install prometheus")
def test_prometheus_own_linter_finds_nothing():
    reading = replace(READING, gpu_memory=123)
    text = Metrics(lambda: reading, "1.2.3").text()
    found = subprocess.run(
        [str(PROMTOOL), "check", "metrics"], input=text, capture_output=True, check=False
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, b"", b"")
