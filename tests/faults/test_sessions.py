"""What the broker keeps for a station, and when the station hears: told as it is."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.broker import free_port
from tests.bundles import make_image
from tests.integration.conftest import QUICK
from tests.integration.test_watching import scrape
from tests.line import finish, health, online, wait_for
from tests.rawbroker import SUBACK, RawBroker, RawClient, packet, publish

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.broker import Broker
    from tests.line import Station
    from tests.subscriber import Subscriber

pytestmark = [pytest.mark.slow, pytest.mark.broker]

BASE = "inspection/site/line/station"
STATION = "edge-agent-site-line-station"
SOURCE = f"{STATION}-source"
LOST = "had no session of"


@pytest.fixture
def page() -> int:
    return free_port()


def settings(port: int, page: int) -> str:
    mqtt = f'[mqtt]\nhost = "127.0.0.1"\nport = {port}\ntelemetry_every = 0.2\n'
    return f"{QUICK}{mqtt}[http]\nport = {page}\n"


def source(more: str = "") -> str:
    return f'[source.mqtt]\ntopic = "cameras/{{camera}}/{{id}}"\n{more}'


def image(number: int) -> bytes:
    return make_image(defect=False, seed=number)


def lost(page: int) -> list[str]:
    return [reason for reason in health(page)["reasons"] if LOST in reason]


def told(station: Station, consumer: Subscriber, page: int, times: int = 1) -> None:
    """Wait until it says so, everywhere, and once."""
    wait_for(lambda: scrape(page)["edge_agent_sessions_lost_total",] == times, pause=0.05)
    (reason,) = lost(page)
    assert SOURCE in reason
    assert "images that waited there may be lost" in reason
    assert "send again what has no verdict" in reason
    assert health(page)["status"] == "degraded"
    assert station.log.count(LOST) == times
    consumer.wait(lambda all_: all_[-1].topic.endswith("/telemetry"))
    consumer.wait(
        lambda _: consumer.received("/telemetry")[-1].json()["sessions_lost"] == times, 30
    )


def test_a_broker_that_has_forgotten_the_session_is_told(
    make_station: Callable[..., Station],
    broker: Broker,
    subscribe: Callable[..., Subscriber],
    page: int,
):
    station = make_station(settings(broker.port, page), source=source()).start()
    consumer = subscribe(broker.port, f"{BASE}/+")
    online(station, consumer)
    consumer.send("cameras/top/0", image(0))
    wait_for(lambda: len(station.rows()) == 1)
    assert lost(page) == []  # a session that begins is none that was lost
    assert station.stop() == 0
    consumer.send("cameras/top/1", image(1))
    station.start()
    wait_for(lambda: len(station.rows()) == 2)
    assert lost(page) == []  # nor is one that was kept

    assert station.stop() == 0
    for number in range(2, 7):
        consumer.send(f"cameras/top/{number}", image(number))
    consumer.close()
    broker.stop()
    (broker.directory / "mosquitto.db").unlink()
    broker.start()
    consumer = subscribe(broker.port, f"{BASE}/+")
    station.start()
    online(station, consumer)

    told(station, consumer, page)
    consumer.send("cameras/top/7", image(7))
    wait_for(lambda: len(station.rows()) == 3)
    finish(station, [image(0), image(1), image(7)])


def test_a_session_that_another_client_took_is_told(
    make_station: Callable[..., Station],
    broker: Broker,
    subscribe: Callable[..., Subscriber],
    page: int,
):
    station = make_station(settings(broker.port, page), source=source()).start()
    consumer = subscribe(broker.port, f"{BASE}/+")
    online(station, consumer)
    RawClient(broker.port, SOURCE).close()

    told(station, consumer, page)
    consumer.send("cameras/top/1", image(1))
    wait_for(lambda: len(station.rows()) == 1)
    finish(station, [image(1)])


def test_a_station_that_was_away_for_too_long_is_told(
    make_station: Callable[..., Station],
    broker: Broker,
    subscribe: Callable[..., Subscriber],
    page: int,
):
    station = make_station(settings(broker.port, page), source=source("session_expiry = 1\n"))
    station.start()
    consumer = subscribe(broker.port, f"{BASE}/+")
    online(station, consumer)
    assert station.stop() == 0
    consumer.send("cameras/top/0", image(0))
    wait_for(lambda: f"Expiring client {SOURCE}" in broker.log(), pause=0.1)
    station.start()
    online(station, consumer)

    told(station, consumer, page)
    assert station.stop() == 0


def test_online_is_said_when_commands_are_heard_and_not_before(
    make_station: Callable[..., Station],
):
    asked: list[bytes] = []
    with closing(RawBroker()) as raw:
        raw.suback = lambda number: asked.append(number) or b""  # type: ignore[func-returns-value]
        station = make_station(settings(raw.port, free_port())).start()
        station.drop("1.png", image(1))
        wait_for(lambda: any(topic.endswith(b"/verdict") for topic, _ in raw.published))
        assert births(raw) == []  # and verdicts don't wait for it

        raw.send(STATION, packet(SUBACK, asked[0] + b"\0\1"))
        wait_for(lambda: births(raw))

        assert births(raw)[0]["online"]
        wait_for(lambda: "online: commands can be received" in station.log)
        raw.send(STATION, publish(f"{BASE}/command/pause".encode(), b"{}", 1))
        wait_for(lambda: any(topic.endswith(b"/reply") for topic, _ in raw.published))
        assert station.stop() == 0


def test_online_is_said_when_images_are_heard_too(
    make_station: Callable[..., Station], broker: Broker, subscribe: Callable[..., Subscriber]
):
    """What is sent with the first word of it is not lost."""
    consumer = subscribe(broker.port, f"{BASE}/+")
    with closing(RawBroker()) as raw:
        raw.suback = lambda number: b""
        station = make_station(settings(raw.port, free_port()), source=source()).start()
        wait_for(lambda: SOURCE in raw.connections)
        wait_for(lambda: any(b"/telemetry" in topic for topic, _ in raw.published))
        assert births(raw) == []
        station.kill()
    station = make_station(settings(broker.port, free_port()), source=source()).start()
    online(station, consumer)
    consumer.send("cameras/top/1", image(1))
    wait_for(lambda: len(station.rows()) == 1)
    finish(station, [image(1)], consumer)


def test_online_is_said_too_where_commands_are_denied(make_station: Callable[..., Station]):
    with closing(RawBroker()) as raw:
        raw.suback = lambda number: number + b"\0\x87"
        station = make_station(settings(raw.port, free_port()), source=source()).start()
        wait_for(lambda: births(raw))
        assert births(raw)[0]["online"]
        assert "commands can't be received: the broker refuses to send messages" in station.log
        assert station.stop() == 0


def births(raw: RawBroker) -> list[dict[str, object]]:
    """What was said on ``status``; its payload follows the packet id and no properties."""
    return [json.loads(rest[1:]) for topic, rest in raw.published if topic.endswith(b"/status")]
