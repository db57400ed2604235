"""Rows 4 and 7: a broker that forgets what it has acknowledged, and one that keeps no more.

Neither is the station's fault, and neither can it see: the consumer sees a gap in the sequence,
and asks for a replay.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest

from edge_agent.journal import Journal
from edge_agent.publish import Station as Name
from edge_agent.publish import verdict_payload
from tests.broker import free_port
from tests.bundles import make_image
from tests.inspections import inspection
from tests.line import finish, health, wait_for

if TYPE_CHECKING:
    from tests.broker import Broker
    from tests.line import Station
    from tests.subscriber import Subscriber

pytestmark = [pytest.mark.slow, pytest.mark.broker]

ONE = make_image(defect=False)
ROOT = "inspection/site/line/station"


def image(number: int) -> bytes:
    """Quickly made, and no two alike: what follows the image's end is no part of it."""
    return ONE + b"%d" % number


def as_it_comes(broker: Broker, more: str = "") -> None:
    """With mosquitto's own persistence: written every half hour, and at the end."""
    broker.whole = (
        f"listener {broker.port} 127.0.0.1\nallow_anonymous true\n"
        f"persistence true\npersistence_location {broker.directory}/\n"
        f"log_dest file {broker.directory / 'mosquitto.log'}\n"
        + ("user root\n" if os.geteuid() == 0 else "")
        + more
    )


def on(port: int, http: int) -> str:
    return f'[http]\nport = {http}\n[mqtt]\nhost = "127.0.0.1"\nport = {port}\n'


def sequences(subscriber: Subscriber) -> set[int]:
    return {message.json()["sequence"] for message in subscriber.received("/verdict")}


def all_acknowledged(station: Station) -> bool:
    """Whether the broker has said yes to everything that there is."""
    journal = f"file:{station.state / 'journal.db'}?mode=ro"
    with closing(sqlite3.connect(journal, uri=True, timeout=10)) as db:
        (left,) = db.execute("SELECT count(*) FROM outbox WHERE acknowledged IS NULL").fetchone()
    return left == 0


def replay(subscriber: Subscriber, first: int) -> None:
    """Ask until there is no more; the station has to listen."""

    def listening() -> bool:
        subscriber.send(f"{ROOT}/command/hello")
        return bool(subscriber.received("/reply"))

    wait_for(listening, pause=0.2)
    more = True
    while more:
        answer = subscriber.ask(f"{ROOT}/command/replay", json.dumps({"from": first}))
        assert answer["ok"], answer
        first, more = answer["detail"]["last"] + 1, answer["detail"]["more"]


def kill_again_and_again(station, broker, subscribe, port: int, kills: int) -> dict[str, int]:
    subscribe(broker.port, "inspection/#").close()  # it has a session, and is away
    station.start()
    images = []
    for _ in range(kills):
        for _ in range(5):
            station.drop(f"{len(images)}.png", image(len(images)))
            images.append(image(len(images)))
        wait_for(lambda: station.last_sequence() == len(images))
        wait_for(lambda: all_acknowledged(station), 120)
        broker.kill()
        broker.start()
    subscriber = subscribe(broker.port, "inspection/#")
    wait_for(lambda: health(port)["broker"] == "connected", 120)
    lost = len(images) - len(sequences(subscriber))

    replay(subscriber, 1)

    found = finish(station, images, subscriber)
    assert lost > 0, "the broker has forgotten nothing: this shows nothing"
    return {"kills": kills, "images": len(images), "lost by the broker": lost, **vars(found)}


def test_what_a_killed_broker_forgot_is_replayed(make_station, make_broker, subscribe):
    broker, port = make_broker(), free_port()
    as_it_comes(broker)
    broker.start()
    print(kill_again_and_again(make_station(on(broker.port, port)), broker, subscribe, port, 2))


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_what_a_broker_forgot_that_was_killed_twenty_times(
    make_station, make_broker, subscribe, capsys
):
    broker, port = make_broker(), free_port()
    as_it_comes(broker)
    broker.start()
    station = make_station(on(broker.port, port))
    found = kill_again_and_again(station, broker, subscribe, port, 20)
    with capsys.disabled():
        print(json.dumps(found))


def test_what_a_broker_had_no_room_for_is_seen_as_a_gap_and_replayed(
    make_station, make_broker, subscribe
):
    broker, port = make_broker(), free_port()
    as_it_comes(broker, "max_queued_messages 100\n")
    broker.start()
    subscribe(broker.port, f"{ROOT}/#").close()
    station = make_station(on(broker.port, port))
    station.state.mkdir()
    name = Name("site", "line", "station")
    with closing(Journal(station.state / "journal.db")) as journal:
        made = [inspection(number) for number in range(400)]
        journal.record(made, lambda sequence, one: verdict_payload(name, sequence, one))
    station.start()
    wait_for(lambda: all_acknowledged(station), 120)
    subscriber = subscribe(broker.port, f"{ROOT}/#")
    station.drop("next.png", image(0))
    subscriber.wait(lambda _: 401 in sequences(subscriber), 120)
    missing = set(range(1, 402)) - sequences(subscriber)
    assert len(missing) > 200, "the broker had room: this shows nothing"

    # A replay can get lost in the same way: as a consumer does, ask for what is still missing.
    deadline = time.monotonic() + 120
    while missing := set(range(1, 402)) - sequences(subscriber):
        assert time.monotonic() < deadline
        replay(subscriber, min(missing))
        with suppress(AssertionError):
            subscriber.wait(lambda _: sequences(subscriber) == set(range(1, 402)), 5)
    assert station.stop() == 0
    payloads = {m.json()["sequence"]: set() for m in subscriber.received("/verdict")}
    for message in subscriber.received("/verdict"):
        payloads[message.json()["sequence"]].add(message.payload)
    assert all(len(seen) == 1 for seen in payloads.values())  # repeats are byte-identical
    assert {json.loads(*seen)["id"] for seen in payloads.values()} == {
        row["id"] for row in station.rows()
    }
