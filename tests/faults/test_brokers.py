"""Rows 5, 6, 9 and 10: the broker and the wire to it. Images are judged whatever they do."""

from __future__ import annotations

import json
import statistics
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from edge_agent.journal import Journal
from edge_agent.publish import Station as Name
from edge_agent.publish import verdict_payload
from tests.broker import free_port
from tests.bundles import make_image
from tests.inspections import inspection
from tests.line import at_rest, finish, footprint, health, told, wait_for

if TYPE_CHECKING:
    from tests.line import Station

pytestmark = [pytest.mark.slow, pytest.mark.broker]

ONE = make_image(defect=False)


def image(number: int) -> bytes:
    """Quickly made, and no two alike: what follows the image's end is no part of it."""
    return ONE + b"%d" % number


def on(port: int, http: int, more: str = "") -> str:
    return f'[http]\nport = {http}\n[mqtt]\nhost = "127.0.0.1"\nport = {port}\n{more}'


# -- 5 -----------------------------------------------------------------------------------------


def shoot(station: Station, first: int, seconds: float, every: float = 0.05) -> tuple[int, float]:
    """Drop images at a steady rate; how many, and what share of them was judged meanwhile."""
    before, began, count = station.last_sequence(), time.monotonic(), 0
    while time.monotonic() < began + seconds:
        station.drop(f"{first + count}.png", image(first + count))
        count += 1
        time.sleep(max(0.0, began + count * every - time.monotonic()))
    return count, (station.last_sequence() - before) / count


def freeze(station: Station, broker, seconds: float) -> tuple[int, dict[str, object]]:
    """Shoot for so long with the broker as it should be, and again while it is stopped."""
    count, before = shoot(station, 0, seconds)
    wait_for(lambda: station.last_sequence() == count)
    held = footprint(station)
    broker.freeze()
    more, frozen = shoot(station, count, seconds)
    wait_for(lambda: station.last_sequence() == count + more)
    stopped = footprint(station)
    waits = [
        statistics.median(row["wait"] for row in rows)
        for rows in (station.rows()[:count], station.rows()[count:])
    ]
    broker.thaw()
    assert stopped.descriptors <= held.descriptors + 8  # I5
    assert stopped.rss < held.rss + (32 << 20)
    return count + more, {
        "images": count + more,
        "judged meanwhile, before": round(before, 3),
        "stopped": round(frozen, 3),
        "median wait ms, before": round(waits[0], 1),
        "wait stopped": round(waits[1], 1),
    }


def test_a_broker_that_is_stopped_holds_up_no_image(make_station, broker, subscribe):
    subscriber = subscribe(broker.port, "inspection/#")
    station = make_station(on(broker.port, free_port())).start()
    count, found = freeze(station, broker, 3.0)
    print(found)
    finish(station, [image(number) for number in range(count)], subscriber)


@pytest.mark.faults
@pytest.mark.timeout(1200)
def test_a_broker_that_is_stopped_for_two_minutes(make_station, broker, subscribe, capsys):
    subscriber = subscribe(broker.port, "inspection/#")
    port = free_port()
    station = make_station(on(broker.port, port)).start()
    count, found = freeze(station, broker, 120.0)
    with capsys.disabled():
        print(json.dumps(found))
    assert found["stopped"] >= 0.95 * found["judged meanwhile, before"]
    finish(station, [image(number) for number in range(count)], subscriber)


# -- 6 -----------------------------------------------------------------------------------------


def catch_up(station: Station, broker, subscribe, rows: int, http: int) -> dict[str, object]:
    """Start without a broker and with an outbox of so many rows; then there is one."""
    # With a session at the broker none is missed, whoever comes first when it is back.
    broker.start()
    subscriber = subscribe(broker.port, "inspection/site/line/station/verdict")
    broker.stop()
    station.state.mkdir()
    name = Name("site", "line", "station")
    with closing(Journal(station.state / "journal.db")) as journal:
        for start in range(0, rows, 1000):
            batch = [inspection(number) for number in range(start, min(start + 1000, rows))]
            journal.record(batch, lambda sequence, made: verdict_payload(name, sequence, made))
    station.start()
    station.drop("new.png", image(0))
    wait_for(lambda: station.last_sequence() == rows + 1)
    wait_for(lambda: health(http)["outbox"] == rows + 1)
    assert health(http)["status"] == "degraded"
    before = footprint(station)
    broker.start()
    began = time.monotonic()
    peak = before.rss

    def drained() -> bool:
        nonlocal peak
        peak = max(peak, footprint(station).rss)
        return health(http)["outbox"] == 0

    wait_for(drained, 120 + rows / 50, pause=0.1)
    seconds = time.monotonic() - began
    subscriber.wait(lambda got: len(got) >= rows + 1, 120)
    sequences = [message.json()["sequence"] for message in subscriber.received()]
    assert sequences == list(range(1, rows + 2))  # in order, and none twice
    assert peak < before.rss + (16 << 20), (before, peak)  # I5: it is not read into memory
    assert station.stop() == 0
    return {"rows": rows, "messages/s": round(rows / seconds), "rss MB": peak >> 20}


def test_a_start_without_a_broker_and_with_a_full_outbox(make_station, make_broker, subscribe):
    broker, port = make_broker(), free_port()
    station = make_station(on(broker.port, port))
    print(catch_up(station, broker, subscribe, 2000, port))


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_a_start_with_a_hundred_thousand_in_the_outbox(
    make_station, make_broker, subscribe, capsys
):
    broker, port = make_broker(), free_port()
    station = make_station(on(broker.port, port))
    found = catch_up(station, broker, subscribe, 100_000, port)
    with capsys.disabled():
        print(json.dumps(found))


# -- 9 -----------------------------------------------------------------------------------------


def test_a_wire_that_is_cut_in_a_message_makes_repeats_and_nothing_else(
    make_station, broker, subscribe, wire
):
    subscriber = subscribe(broker.port, "inspection/#")
    port = free_port()
    station = make_station(on(wire.port, port)).start()
    wait_for(lambda: health(port)["broker"] == "connected")
    wire.cuts, wire.fault = 4, "cut"
    images = [image(number) for number in range(8)]
    for number, one in enumerate(images):
        station.drop(f"{number}.png", one)
    at_rest(station, len(images))
    wait_for(lambda: wire.cuts == 0, 120)

    found = finish(station, images, subscriber)

    assert found.repeats > 0  # the broker had some of them; the station could not know


def test_a_wire_that_trickles_is_slow_and_nothing_else(make_station, broker, subscribe, wire):
    subscriber = subscribe(broker.port, "inspection/#")
    wire.fault = "trickle"
    station = make_station(on(wire.port, free_port())).start()
    images = [image(number) for number in range(20)]
    for number, one in enumerate(images):
        station.drop(f"{number}.png", one)

    found = finish(station, images, subscriber)

    assert found.repeats == 0


def test_a_wire_that_falls_silent_is_noticed_and_left(make_station, broker, subscribe, wire):
    subscriber = subscribe(broker.port, "inspection/#")
    port = free_port()
    station = make_station(on(wire.port, port, "keepalive = 5\n")).start()
    wait_for(lambda: health(port)["broker"] == "connected")
    wire.fault = "silent"
    images = [image(number) for number in range(10)]
    for number, one in enumerate(images):
        station.drop(f"{number}.png", one)
    at_rest(station, len(images))
    told(station, port, "no longer answers")  # nobody hung up: it is the silence that is noticed
    assert health(port)["outbox"] == len(images)
    wire.fault = ""

    wait_for(lambda: health(port)["outbox"] == 0, 120)
    finish(station, images, subscriber)


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_a_broker_that_answers_pings_alone_is_left(make_station, broker, subscribe, wire):
    subscriber = subscribe(broker.port, "inspection/#")
    port = free_port()
    wire.fault = "unanswered"
    station = make_station(on(wire.port, port, "keepalive = 5\n")).start()
    wait_for(lambda: health(port)["broker"] == "connected")
    images = [image(number) for number in range(10)]
    for number, one in enumerate(images):
        station.drop(f"{number}.png", one)
    at_rest(station, len(images))
    wait_for(lambda: "has acknowledged nothing" in station.log, 300)
    wire.fault = ""

    wait_for(lambda: health(port)["outbox"] == 0, 300)
    finish(station, images, subscriber)


# -- 10 ----------------------------------------------------------------------------------------


def test_a_second_station_of_the_same_name_is_told_by_both(make_station, broker, subscribe):
    subscriber = subscribe(broker.port, "inspection/#")
    ports = free_port(), free_port()
    first, second = (make_station(on(broker.port, port)) for port in ports)
    first.start()
    wait_for(lambda: health(ports[0])["broker"] == "connected")
    second.start()
    for station, port in ((first, ports[0]), (second, ports[1])):
        told(station, port, "same client id")
    images = [image(number) for number in range(10)]
    for number, one in enumerate(images):
        first.drop(f"{number}.png", one)
    at_rest(first, len(images))  # it is no reason not to judge
    assert second.stop() == 0

    wait_for(lambda: health(ports[0])["outbox"] == 0, 120)
    finish(first, images, subscriber)
