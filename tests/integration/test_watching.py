"""A running station, watched from the outside."""

from __future__ import annotations

import io
import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge_agent.bundle import Distribution, Preprocess, Reference
from edge_agent.bundle.appearance import appearance
from edge_agent.bundle.preprocess import decode, fit
from edge_agent.publish.telemetry import TelemetryMessage
from edge_agent.telemetry.drift import EVERY, FEWEST
from tests.broker import free_port
from tests.bundles import FLAT, HEIGHT, WIDTH, make_bundle, make_image
from tests.integration.conftest import QUICK
from tests.line import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from tests.broker import Broker
    from tests.line import Station
    from tests.subscriber import Received, Subscriber

pytestmark = pytest.mark.slow


def ask(port: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
        return answer.read()


def scrape(port: int) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(ask(port, "/metrics").decode())
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_metrics_are_what_the_journal_has(make_station: Callable[..., Station]) -> None:
    port = free_port()
    station = make_station(f"{QUICK}[http]\nport = {port}\n").start()
    for number in range(4):
        station.drop(f"{number}.png", make_image(defect=number == 0, seed=number))
    station.drop("broken.png", b"no image")
    wait_for(lambda: len(station.rows()) == 5)
    wait_for(lambda: scrape(port)["edge_agent_work_images",] == 0)

    found = scrape(port)

    counted = {v: found["edge_agent_inspections_total", v] for v in ("ok", "defect", "error")}
    assert counted == {"ok": 3, "defect": 1, "error": 1}
    assert found["edge_agent_stage_seconds_count", "total"] == 5
    spent = sum(row["total"] for row in station.rows()) / 1e3
    assert found["edge_agent_stage_seconds_sum", "total"] == pytest.approx(spent)
    assert found["edge_agent_ready_workers",] == 1
    assert found["edge_agent_workers_resident_memory_bytes",] > 20 << 20
    assert found["edge_agent_disk_free_bytes", "state"] > 0
    assert (found["edge_agent_failing",], found["edge_agent_degraded",]) == (0, 0)
    assert json.loads(ask(port, "/readyz")) == {"ready": True, "reasons": []}
    assert station.stop() == 0


@pytest.mark.broker
def test_what_waits_is_told_while_nothing_is_taken_and_that_nothing_comes(
    make_station: Callable[..., Station], broker: Broker, subscribe: Callable[..., Subscriber]
) -> None:
    """It was the number from before the pause; and a dead camera looked like good parts."""
    port = free_port()
    mqtt = f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n[source]\nexpect_every = 2.0\n'
    station = make_station(f"{QUICK}[http]\nport = {port}\n{mqtt}").start()
    consumer = subscribe(broker.port, "inspection/#")
    base = "inspection/site/line/station/command"
    assert consumer.ask(f"{base}/pause")["ok"]
    for number in range(3):
        station.drop(f"{number}.png", make_image(defect=False, seed=number))

    wait_for(lambda: scrape(port)["edge_agent_waiting_images",] == 3)

    assert station.rows() == []
    assert consumer.ask(f"{base}/resume")["ok"]
    wait_for(lambda: len(station.rows()) == 3)
    wait_for(lambda: scrape(port)["edge_agent_waiting_images",] == 0)

    def failing() -> bool:
        return bool(consumer.received("/status")[-1].json()["failing"])

    wait_for(lambda: scrape(port)["edge_agent_silent",] == 1)
    assert scrape(port)["edge_agent_failing",] == 1
    with pytest.raises(urllib.error.HTTPError, match="503") as caught:
        ask(port, "/healthz")
    (reason,) = json.loads(caught.value.read())["reasons"]
    assert reason.startswith("no image was judged for more than 2 s ([source] expect_every): look")
    assert json.loads(ask(port, "/readyz"))["ready"]  # one that came would be judged
    wait_for(failing)
    station.drop("again.png", make_image(defect=False))
    wait_for(lambda: scrape(port)["edge_agent_failing",] == 0)
    wait_for(lambda: not failing())
    assert station.log.count(reason) == 1
    assert "images arrive again" in station.log
    assert station.stop() == 0


@pytest.mark.broker
def test_a_camera_that_gets_darker_is_told_everywhere(
    make_station: Callable[..., Station],
    tmp_path: Path,
    broker: Broker,
    subscribe: Callable[..., Subscriber],
) -> None:
    looks = [appearance(decoded(make_image(defect=False, seed=seed))) for seed in range(40)]
    brightness = sorted(look.brightness for look in looks)
    known = Distribution(edges=(0.0, *brightness[1:-1:4], 255.0), counts=(4,) * 11)
    reference = Reference(score=FLAT, brightness=known, contrast=FLAT, sharpness=FLAT)
    port = free_port()
    subscriber = subscribe(broker.port, "inspection/#")
    station = make_station(
        f"{QUICK}[http]\nport = {port}\n"
        f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\ntelemetry_every = 0.2\n',
        bundle=make_bundle(tmp_path / "knows-its-images", reference=reference).path,
    ).start()
    for number in range(FEWEST + EVERY):
        station.drop(f"{number}.png", darker(make_image(defect=False, seed=number)))
    wait_for(lambda: len(station.rows()) == FEWEST + EVERY)

    subscriber.wait(lambda said: any(drifts(one) for one in said), 60)
    subscriber.wait(
        lambda said: any(
            (one.json()["drift"], one.json()["degraded"]) == (["brightness"], False)
            for one in said
            if one.topic.endswith("/status")
        ),
        60,
    )
    told = json.loads(ask(port, "/healthz"))
    assert told["status"] == "degraded"
    assert told["reasons"][0].startswith("drift: brightness is lower than")
    assert scrape(port)["edge_agent_drifting", "brightness"] == 1
    assert scrape(port)["edge_agent_drifting", "score"] == 0
    assert "drift: brightness is lower" in station.log
    last = subscriber.received("/telemetry")[-1]
    assert not last.retained
    TelemetryMessage.model_validate_json(last.payload)
    assert station.stop() == 0


def drifts(received: Received) -> bool:
    if not received.topic.endswith("/telemetry"):
        return False
    return any(one["drifting"] for one in received.json()["drift"])


def decoded(png: bytes) -> NDArray[np.uint8]:
    return fit(decode(png), Preprocess(width=WIDTH, height=HEIGHT)).tensor


def darker(png: bytes) -> bytes:
    stream = io.BytesIO()
    decode(png).point(lambda grey: grey * 0.9).save(stream, "PNG")
    return stream.getvalue()
