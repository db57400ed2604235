"""Messages that can't be taken as others are: none of them holds up what comes behind it."""

from __future__ import annotations

import hashlib
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.broker import free_port
from tests.bundles import make_image
from tests.integration.conftest import QUICK
from tests.line import finish, health, online, reasons, wait_for
from tests.mounts import fill, needs_root, small
from tests.rawbroker import (
    CONNACK,
    PUBACK,
    SUBACK,
    RawBroker,
    RawClient,
    digits,
    packet,
    publish,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.broker import Broker
    from tests.line import Station
    from tests.subscriber import Subscriber

pytestmark = [pytest.mark.slow, pytest.mark.broker]

BASE = "inspection/site/line/station"
STATION = "edge-agent-site-line-station"
CAMERA = f"{STATION}-source"
BIG = 12 << 20
EMPTY = b"\x26\0\0\0\0"
"""A user property without a name or a value."""


def settings(port: int, page: int, more: str = "") -> str:
    mqtt = f'[mqtt]\nhost = "127.0.0.1"\nport = {port}\ntelemetry_every = 0.2\n'
    return f"{QUICK}{mqtt}[http]\nport = {page}\n{more}"


def source(topic: str = "cameras/{camera}/{id}", more: str = "") -> str:
    return f'[source.mqtt]\ntopic = "{topic}"\n{more}'


def image(number: int) -> bytes:
    return make_image(defect=False, seed=number)


def sent(broker: Broker, size: int) -> int:
    """How often the broker has sent the station an image of so many bytes."""
    said = f"({size} bytes)"
    return sum(
        f"Sending PUBLISH to {CAMERA}" in line and said in line
        for line in broker.log().splitlines()
    )


def named(page: int) -> list[str]:
    """Why it is not well, as its page says, of images that can't be taken."""
    return [reason for reason in health(page)["reasons"] if "can't be taken into" in reason]


@pytest.fixture
def raw() -> Iterator[RawBroker]:
    with closing(RawBroker()) as made:
        yield made


# -- what does not fit -------------------------------------------------------------------------


@needs_root
def test_an_image_that_does_not_fit_holds_up_no_other_and_comes_when_there_is_room(
    make_station: Callable[..., Station], broker: Broker, subscribe: Callable[..., Subscriber]
):
    page = free_port()
    station = make_station(settings(broker.port, page), source=source())
    with small(station.state / "work", size="8m") as work:
        station.start()
        consumer = subscribe(broker.port, f"{BASE}/+")
        online(station, consumer)
        offered = [image(1000) + bytes(BIG)]
        consumer.send("cameras/top/huge", offered[0])
        for number in range(10):
            offered.append(image(number))
            consumer.send(f"cameras/top/{number}", offered[-1])

        wait_for(lambda: len(station.rows()) == 10, 30)

        wait_for(lambda: named(page), pause=0.05)
        now = health(page)
        assert now["status"] == "degraded"
        (reason,) = named(page)
        assert "top-huge" in reason
        assert str(len(offered[0])) in reason
        assert "No space left on device" in reason
        assert "None" not in reason
        assert reason in station.log
        # It is not sent again and again while there is no room for it.
        offered.append(image(10))
        consumer.send("cameras/top/10", offered[-1])
        wait_for(lambda: len(station.rows()) == 11)
        told = len(consumer.received("/telemetry"))
        consumer.wait(lambda _: len(consumer.received("/telemetry")) > told + 20)
        assert sent(broker, len(offered[0])) <= 2
        subprocess.run(["mount", "-o", "remount,size=64m", str(work)], check=True)

        wait_for(lambda: len(station.rows()) == 12, 90)

        wait_for(lambda: health(page)["status"] == "ok", 30, pause=0.05)
        finish(station, offered, consumer)


@needs_root
def test_a_place_that_is_full_holds_up_all_and_says_so(
    make_station: Callable[..., Station], broker: Broker, subscribe: Callable[..., Subscriber]
):
    page = free_port()
    station = make_station(settings(broker.port, page), source=source())
    with small(station.state / "work", size="4m") as work:
        station.start()
        consumer = subscribe(broker.port, f"{BASE}/+")
        online(station, consumer)
        ballast = fill(work)
        offered = [image(number) for number in range(30)]  # more than may be on their way
        for number, content in enumerate(offered):
            consumer.send(f"cameras/top/{number}", content)

        wait_for(lambda: health(page)["status"] == "failing", pause=0.05)

        (reason,) = named(page)
        assert "No space left on device" in reason
        assert "None" not in reason
        assert station.rows() == []
        ballast.unlink()
        wait_for(lambda: len(station.rows()) == 30, 90)
        wait_for(lambda: health(page)["status"] == "ok", 90, pause=0.05)
        finish(station, offered, consumer)


# -- what is not the payload -------------------------------------------------------------------


def test_properties_without_measure_hold_up_no_image_and_no_verdict(
    make_station: Callable[..., Station], broker: Broker, subscribe: Callable[..., Subscriber]
):
    page = free_port()
    station = make_station(settings(broker.port, page), source=source()).start()
    consumer = subscribe(broker.port, f"{BASE}/+")
    online(station, consumer)
    with closing(RawClient(broker.port)) as flood:
        offered = [image(number) for number in range(10)]
        flood.send(publish(b"cameras/top/sick", image(99), 1, properties=EMPTY * 409_600))
        for number, content in enumerate(offered):
            consumer.send(f"cameras/top/{number}", content)

        wait_for(lambda: len(station.rows()) == 11, 20)

        consumer.wait(lambda _: len(consumer.received("/verdict")) == 11, 20)
        (sick,) = [row for row in station.rows() if row["verdict"] == "error"]
        assert f"properties have {5 * 409_600 + 16} bytes" in sick["reason"]
        assert sick["sha256"] == hashlib.sha256(image(99)).hexdigest()
        assert sick["name"] == "top-sick"
        assert health(page)["status"] == "ok"
        # And it is the broker's no more.
        assert station.stop() == 0
        station.start()
        consumer.send("cameras/top/last", image(10))
        wait_for(lambda: len(station.rows()) == 12)
        finish(station, [*offered, image(10), image(99)], consumer)


def test_a_command_with_properties_without_measure_is_refused_in_words(
    make_station: Callable[..., Station], broker: Broker, subscribe: Callable[..., Subscriber]
):
    page = free_port()
    station = make_station(settings(broker.port, page)).start()
    consumer = subscribe(broker.port, f"{BASE}/+")
    online(station, consumer)
    with closing(RawClient(broker.port)) as flood:
        flood.send(publish(f"{BASE}/command/pause".encode(), b"{}", 1, properties=EMPTY * 409_600))
        station.drop("1.png", image(1))

        consumer.wait(lambda _: len(consumer.received("/reply")) == 1, 20)
        consumer.wait(lambda _: len(consumer.received("/verdict")) == 1, 20)

        (answer,) = consumer.received("/reply")
        assert answer.json()["ok"] is False
        assert "properties have" in answer.json()["reason"]
        assert not health(page)["paused"]
        assert consumer.ask(f"{BASE}/command/pause")["ok"]
        assert consumer.ask(f"{BASE}/command/resume")["ok"]
        assert station.stop() == 0


def test_what_no_broker_should_pass_on_is_an_error_and_holds_up_nothing(
    make_station: Callable[..., Station], raw: RawBroker
):
    """Each of these ended the connection, and came again with the next one, for ever."""
    page = free_port()
    station = make_station(settings(raw.port, page), source=source("cameras/#")).start()
    said = text(b"\xff\xfe")
    sick = [
        publish(b"cameras/\xff\xfe", image(1), 1),
        publish(b"cameras/user", image(2), 2, properties=b"\x26" + said + said),
        publish(b"cameras/answer", image(3), 3, properties=b"\x08" + said),
        publish(b"cameras/unknown", image(4), 4, properties=b"\x7f\0"),
        publish(b"cameras/cut", image(5), 5, properties=b"\x26\xff\xff"),
        publish(b"cameras/nul\0", image(6), 6),
    ]
    # The length of its properties goes beyond its end.
    lie = text(b"cameras/lie") + b"\0\7" + digits(1 << 20) + image(7)
    sick.append(packet(3, lie, 2))
    # And one that is unusual, but well-formed: a byte order mark.
    bom = b"\x26" + text(b"name") + text("\ufeffpart.png".encode())
    good = publish(b"cameras/good", image(8), 8, properties=bom)
    raw.send(CAMERA, b"".join(sick) + good)

    wait_for(lambda: len(raw.acknowledged) == 8, 30)

    wait_for(lambda: len(station.rows()) == 8)
    assert sorted(raw.acknowledged) == list(range(1, 9))
    assert raw.connections[CAMERA] == 1
    errors = {row["name"]: row["reason"] for row in station.rows() if row["verdict"] == "error"}
    assert len(errors) == 7, errors
    assert sum("not UTF-8" in why for why in errors.values()) == 3, errors
    assert any("longer than" in why for why in errors.values()), errors
    assert health(page)["status"] == "ok", health(page)
    assert "Traceback" not in station.log
    assert "unexpected failure" not in station.log
    assert station.stop() == 0
    # None of the images is lost: those that could be told apart from the rest are kept.
    filed = {path.read_bytes() for path in station.filed() + station.filed("quarantine")}
    assert {image(number) for number in (1, 2, 3, 4, 5, 6, 8)} <= filed
    assert len(reasons(station)) == 7


@pytest.mark.parametrize(
    "content",
    [
        packet(CONNACK, b"\0\0" + digits(5 * 400_000) + EMPTY * 400_000),
        packet(SUBACK, b"\0\1" + digits(5 * 400_000) + EMPTY * 400_000 + b"\1"),
        packet(PUBACK, b"\0\1\0" + digits(5 * 400_000) + EMPTY * 400_000),
        packet(14, b"\0" + digits(5 * 400_000) + EMPTY * 400_000),
        publish(b"cameras/twice", b"x", 1, qos=2),
        packet(3, b"\xff\xff", 2),
    ],
    ids=["CONNACK", "SUBACK", "PUBACK", "DISCONNECT", "QoS 2", "no topic"],
)
def test_a_broker_that_sends_nonsense_is_left_in_words(
    make_station: Callable[..., Station], raw: RawBroker, content: bytes
):
    page = free_port()
    folder = '[source.folder]\npath = "inbox"\n'
    station = make_station(settings(raw.port, page), source=folder + source("cameras/#")).start()
    raw.send(CAMERA, content)
    wait_for(lambda: raw.connections[CAMERA] > 1, 30)

    assert "is not MQTT" in station.log or "no MQTT" in station.log, station.log
    assert "Traceback" not in station.log
    assert "unexpected failure" not in station.log
    station.drop("1.png", image(1))
    wait_for(lambda: any(topic.endswith(b"/verdict") for topic, _ in raw.published), 20)
    assert station.stop() == 0
