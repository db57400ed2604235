"""Two stations on one shared topic, one of them killed in the middle: every image judged once."""

from __future__ import annotations

import pytest

from tests.integration.test_mqtt_source import listening, settings, source
from tests.line import verify, wait_for
from tests.slow import make_slow_image

pytestmark = [pytest.mark.slow, pytest.mark.broker]


@pytest.mark.parametrize("images", [120, pytest.param(1000, marks=pytest.mark.faults)])
def test_two_stations_share_a_topic_and_one_is_killed(
    make_station, broker, subscribe, slow_bundle, images
):
    shared = source("$share/inspectors/cameras/{camera}/{id}", "receive_maximum = 10")
    stations = [
        make_station(settings(broker, name=name), source=shared, bundle=slow_bundle).start()
        for name in ("one", "two")
    ]
    for name in ("one", "two"):
        wait_for(lambda n=name: listening(broker, f"edge-agent-site-line-{n}-source"))
    producer = subscribe(broker.port, "none", client_id="producer")
    for number in range(images):
        producer.send(f"cameras/top/{number}", make_slow_image(1, grey=100 + number % 100))
        if number == images // 2:
            wait_for(stations[0].rows)
            stations[0].kill()
        if number == images * 3 // 4:
            stations[0].start(wait=False)
    wait_for(lambda: sum(len(station.rows()) for station in stations) >= images, 280)
    for station in stations:
        wait_for(lambda s=station: not list((s.state / "work").iterdir()), 60)
        assert station.stop() == 0
    rows = [row for station in stations for row in station.rows()]
    assert all(station.rows() for station in stations)
    assert sorted(row["name"] for row in rows) == sorted(f"top-{n}" for n in range(images))
    assert len({row["id"] for row in rows}) == images
    for station in stations:
        assert verify(station, len(station.rows())).wrong == []
