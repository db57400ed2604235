"""Commands by the thousand: verdicts go on between them, and nothing piles up."""

from __future__ import annotations

import json
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import psutil
import pytest

from edge_agent.journal import Journal
from edge_agent.publish import Station as Name
from edge_agent.publish import verdict_payload
from tests.broker import free_port
from tests.bundles import make_image
from tests.inspections import inspection
from tests.integration.conftest import QUICK
from tests.integration.test_watching import scrape
from tests.line import health, online, wait_for
from tests.rawbroker import RawClient, publish

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.broker import Broker
    from tests.line import Station
    from tests.subscriber import Subscriber

pytestmark = [pytest.mark.slow, pytest.mark.broker]

BASE = "inspection/site/line/station"
KEPT = 1000
"""Messages that a replay finds."""


@pytest.fixture
def page() -> int:
    return free_port()


@pytest.fixture
def station(make_station: Callable[..., Station], broker: Broker, page: int) -> Station:
    """One that has judged some already."""
    mqtt = f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n'
    made = make_station(f"{QUICK}{mqtt}[http]\nport = {page}\n")
    made.state.mkdir()
    name = Name("site", "line", "station")
    with closing(Journal(made.state / "journal.db")) as journal:
        for start in range(0, KEPT, 500):
            journal.record(
                [inspection(number) for number in range(start, start + 500)],
                lambda sequence, one: verdict_payload(name, sequence, one),
            )
    return made.start()


def drop(station: Station, number: int) -> None:
    station.drop(f"{number}.png", make_image(defect=False, seed=number))


class Verdicts:
    """Where each verdict that was made here came, among all messages; read as they come."""

    def __init__(self, consumer: Subscriber) -> None:
        self._consumer = consumer
        self.seen = 0
        self._places: dict[int, int] = {}

    def __call__(self) -> dict[int, int]:
        messages = self._consumer.received()
        for place in range(self.seen, len(messages)):
            if messages[place].topic == f"{BASE}/verdict":
                sequence = messages[place].json()["sequence"]
                if sequence > KEPT:
                    self._places.setdefault(sequence, place)
        self.seen = len(messages)
        return self._places


class Flood:
    """Three hundred replays a second, until it is told to end."""

    def __init__(self, port: int) -> None:
        self.sent = 0
        self._sender = RawClient(port)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def begin(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._end.set()
        self._thread.join()
        self._sender.close()

    def _run(self) -> None:
        one = publish(f"{BASE}/command/replay".encode(), b'{"from": 1}', 0, qos=0)
        while not self._end.wait(0.1):
            self._sender.send(one * 30)
            self.sent += 30


def test_verdicts_go_before_what_replays_want_however_many_are_asked_for(
    station: Station, broker: Broker, subscribe: Callable[..., Subscriber], page: int
):
    """In order and in number: between a verdict's commit and its message few others are sent."""
    consumer = subscribe(broker.port, f"{BASE}/+")
    online(station, consumer)
    wait_for(lambda: health(page)["outbox"] == 0, 120, pause=0.1)
    with closing(Flood(broker.port)) as flood:
        flood.begin()
        wait_for(lambda: flood.sent > 100)
        behind, verdicts = [], Verdicts(consumer)
        for number in range(1, 21):
            drop(station, number)
            wait_for(lambda n=number: station.last_sequence() >= KEPT + n)
            before = len(consumer.received())
            wait_for(lambda n=number: KEPT + n in verdicts(), 60)
            behind.append(verdicts()[KEPT + number] - before)
        told = health(page)
    repeats = len(consumer.received("/verdict")) - KEPT - 20
    print(
        "messages that came before each verdict:", sorted(behind), "commands:", flood.sent, repeats
    )

    assert repeats > 100, "nothing is repeated: this shows nothing"
    # A window of repeats may be on its way, and the broker may hold as many; more are not.
    assert sorted(behind)[-2] < 200
    assert told["status"] == "degraded"
    (reason,) = told["reasons"]
    assert "more replay commands arrive than the 5 a second that are accepted" in reason
    # The refusals don't flood either, nor does the log.
    replies = [message.json() for message in consumer.received("/reply")]
    refused = [reply for reply in replies if not reply["ok"]]
    assert len(replies) < flood.sent / 4
    assert any("too many commands" in reply["reason"] for reply in refused)
    assert station.log.count("rejected: too many commands") <= len(refused)
    assert scrape(page)["edge_agent_commands_refused_total",] > flood.sent / 2
    # It is over when they come as seldom as they should.
    wait_for(lambda: health(page)["status"] == "ok", 120, pause=0.1)
    assert consumer.ask(f"{BASE}/command/pause")["ok"]
    assert station.stop() == 0


@pytest.mark.parametrize(
    ("command", "count"),
    [
        ("replay", 20_000),
        ("bundle", 20_000),
        *(
            pytest.param(command, count, marks=pytest.mark.faults)
            for command, count in [("resume", 20_000), ("reboot", 20_000), ("replay", 289_000)]
        ),
    ],
)
def test_thousands_at_once_are_settled_soon_and_pile_up_nowhere(
    station: Station,
    broker: Broker,
    subscribe: Callable[..., Subscriber],
    page: int,
    command: str,
    count: int,
):
    consumer = subscribe(broker.port, f"{BASE}/+")
    online(station, consumer)
    wait_for(lambda: health(page)["outbox"] == 0, 120, pause=0.1)
    daemon = psutil.Process(station.daemon.pid)
    before = daemon.memory_info().rss
    body = json.dumps({"from": 1} if command == "replay" else {})
    one = publish(f"{BASE}/command/{command}".encode(), body.encode(), 0, qos=0)
    with closing(RawClient(broker.port)) as sender:
        sending = threading.Thread(target=sender.send, args=(one * count,))
        sending.start()
        verdicts = Verdicts(consumer)
        drop(station, 1)
        wait_for(lambda: KEPT + 1 in verdicts(), 30)
        sending.join()
    found = [-1.0, 0.0]

    def settled() -> bool:
        found.append(refused(page))
        return found[-1] == found[-2] > 10_000  # a broker that has too many drops the rest

    wait_for(settled, 60, pause=1.0)
    print("refused:", found[-1])
    assert consumer.ask(f"{BASE}/command/pause")["ok"]  # one of another kind
    replies = [message.json() for message in consumer.received("/reply")]
    assert 20 <= len(replies) < 500
    assert daemon.memory_info().rss - before < 20 << 20
    assert station.stop() == 0


def refused(page: int) -> float:
    return scrape(page)["edge_agent_commands_refused_total",]
