"""Row 4: a broker with its own defaults, killed: it forgets what it has acknowledged.

A single kill, and messages beyond the broker's queue, row 7, are in the consumer's tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.broker import MOSQUITTO, Broker, free_port
from tests.bundles import make_image
from tests.line import at_rest, finish, health, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.subscriber import Subscriber

pytestmark = [
    pytest.mark.slow,
    pytest.mark.broker,
    pytest.mark.timeout(900),
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed"),
]

BASE = "inspection/site/line/station"


def as_it_comes(directory: Path, port: int) -> str:
    """mosquitto's own defaults: it keeps what it has, and saves it every half hour."""
    return (
        f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n"
        f"persistence true\npersistence_location {directory}/\n"
        f"log_dest file {directory}/mosquitto.log\n"
    )


def ask_for_all(subscriber: Subscriber) -> None:
    """A replay from the beginning, when the station listens again."""

    def answered() -> bool:
        subscriber.send(f"{BASE}/command/replay", '{"from": 1}')
        return bool(subscriber.received("/reply"))

    wait_for(answered, 120, pause=1.0)


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.faults)])
def test_what_killed_brokers_forgot_is_there_after_a_replay(
    make_station, subscribe, tmp_path, kills
):
    port, http = free_port(), free_port()
    broker = Broker(tmp_path, port=port, whole=as_it_comes(tmp_path, port)).start()
    station = make_station(
        f'[mqtt]\nhost = "127.0.0.1"\nport = {port}\n[http]\nport = {http}\n'
    ).start()
    offered: list[bytes] = []
    try:
        for _ in range(kills):
            for _ in range(10):
                image = make_image(defect=False, seed=len(offered))
                station.drop(f"{len(offered)}.png", image)
                offered.append(image)
            at_rest(station, len(offered))
            # All of it is acknowledged, and none of it is on the broker's disk.
            wait_for(lambda: health(http)["outbox"] == 0 and health(http)["broker"] == "connected")
            broker.kill()
            broker.start()
        late = subscribe(port, f"{BASE}/#")
        assert len(late.received("/verdict")) < len(offered)
        ask_for_all(late)
        found = finish(station, offered, late)
        print(f"{kills} kills: {found.inspections} inspections, {found.repeats} repeats")
    finally:
        broker.kill()
