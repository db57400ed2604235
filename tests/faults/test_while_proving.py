"""Orders, and the end, while a bundle is being proved: all are answered, and nothing is lost."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from edge_agent.bundle import write_bundle
from tests.bundles import make_image, make_manifest, make_model
from tests.integration.conftest import children_of
from tests.integration.test_bundle_command import BASE
from tests.line import FIXED, Station, finish, verify, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.broker import Broker
    from tests.subscriber import Subscriber

pytestmark = [pytest.mark.slow, pytest.mark.broker]

# Nothing but an answer, or the end, cuts a proof short that hangs.
PATIENT = "[worker]\nretry_truncated = 0.5\nstart_timeout = 600\n"


@pytest.fixture
def consumer(broker: Broker, subscribe: Callable[..., Subscriber]) -> Subscriber:
    return subscribe(broker.port, "inspection/#")


@pytest.fixture
def station(
    make_station: Callable[..., Station],
    broker: Broker,
    tmp_path: Path,
    go_wrong: Callable[..., None],
) -> Station:
    """It judges with 1.0.0; 1.1.0 and 1.2.0 lie beside, and every proof hangs from now on."""
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        manifest, files = make_manifest(make_model(), version=version)
        write_bundle(tmp_path / "shelf" / version, manifest, files)
    mqtt = f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n'
    made = make_station(FIXED + PATIENT + mqtt, bundle=tmp_path / "shelf/1.0.0")
    made.start()
    go_wrong("hang", "cpu")
    return made


def wish(station: Station, version: str) -> None:
    """Name a bundle in the settings, and SIGHUP."""
    text = station.config.read_text()
    station.config.write_text(text.replace("shelf/1.0.0", f"shelf/{version}"))
    station.daemon.send_signal(signal.SIGHUP)


def proving(station: Station) -> bool:
    """Whether there is another worker than the one that judges."""
    return len(running(station, "edge_agent.engine.worker")) == 2


def running(station: Station, module: str) -> list[psutil.Process]:
    return [child for child in children_of(station) if module in cmdline(child)]


def cmdline(one: psutil.Process) -> list[str]:
    try:
        return one.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


def gone(one: psutil.Process) -> bool:
    """Nobody may be there to bury it."""
    try:
        return not one.is_running() or one.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def drop(station: Station, numbers: range) -> list[bytes]:
    """Images of these numbers; what is in them."""
    made = [make_image(defect=False, seed=number) for number in numbers]
    for number, content in zip(numbers, made, strict=True):
        station.drop(f"{number}.png", content)
    return made


def ask(consumer: Subscriber, command: str, **body: Any) -> tuple[bool, str]:
    answer = consumer.ask(f"{BASE}/command/{command}", json.dumps(body))
    return answer["ok"], answer["reason"]


def test_orders_are_answered_while_a_bundle_is_proved(station, consumer, go_wrong):
    offered = drop(station, range(3))
    wait_for(lambda: len(station.rows()) == 3)
    wish(station, "1.1.0")
    wait_for(lambda: proving(station))

    # What concerns the images is done at once.
    assert ask(consumer, "pause") == (True, "")
    offered += drop(station, range(3, 6))
    assert ask(consumer, "replay", **{"from": 1}) == (True, "")
    assert len(list(station.inbox.iterdir())) == 3
    assert ask(consumer, "resume") == (True, "")
    wait_for(lambda: len(station.rows()) == 6)
    # What concerns the bundle waits, one at a time.
    waits = consumer.order(f"{BASE}/command/bundle", '{"activate": "1.2.0"}')
    assert ask(consumer, "bundle", activate="1.1.0") == (
        False,
        "another command is still in progress: try again after its reply",
    )
    assert ask(consumer, "pause") == (True, "")
    assert proving(station)
    assert consumer.answers(waits) == []
    assert "reloaded" not in station.log
    assert {row["version"] for row in station.rows()} == {"1.0.0"}

    go_wrong("")
    consumer.wait(lambda _: consumer.answers(waits), 120)

    (answer,) = consumer.answers(waits)
    assert (answer["ok"], answer["detail"]["version"]) == (True, "1.2.0")
    assert [said[:6] for said in station.log.split("reloaded: dark ")[1:]] == ["1.1.0 ", "1.2.0 "]
    # Another bundle does not end a pause.
    offered += drop(station, range(6, 9))
    assert ask(consumer, "replay", **{"from": 1}) == (True, "")
    assert len(list(station.inbox.iterdir())) == 3
    assert ask(consumer, "resume") == (True, "")
    finish(station, offered, consumer)
    assert [row["version"] for row in station.rows()] == ["1.0.0"] * 6 + ["1.2.0"] * 3


@pytest.mark.parametrize("by", ["SIGHUP", "command"])
def test_the_end_while_a_bundle_is_proved(station, consumer, broker, go_wrong, by):
    offered = drop(station, range(3))
    wait_for(lambda: len(station.rows()) == 3)
    orders = []
    if by == "SIGHUP":
        wish(station, "1.1.0")
    else:
        orders.append(consumer.order(f"{BASE}/command/bundle", '{"activate": "1.1.0"}'))
    wait_for(lambda: proving(station))
    orders.append(consumer.order(f"{BASE}/command/bundle", '{"activate": "1.2.0"}'))
    assert ask(consumer, "bundle", roll_back=True) == (
        False,
        "another command is still in progress: try again after its reply",
    )
    offered += drop(station, range(3, 23))
    wait_for(lambda: len(station.rows()) > 3)
    children = children_of(station)
    assert len(children) == 2

    began = time.monotonic()
    assert station.stop() == 0
    print(f"stopped after {time.monotonic() - began:.2f} s")

    wait_for(lambda: all(gone(one) for one in children))
    consumer.wait(lambda _: all(consumer.answers(order) for order in orders), 60)
    for order in orders:
        (answer,) = consumer.answers(order)
        assert answer["reason"] == "the station is stopping: try again when it is back"
        assert not answer["ok"]
    assert ("stopping, so not reloaded: the next start uses" in station.log) is (by == "SIGHUP")
    go_wrong("")
    station.start()
    version = {"SIGHUP": "1.1.0", "command": "1.0.0"}[by]
    assert station.log.split("ready: dark ")[2].startswith(f"{version} (")
    offered += drop(station, range(23, 24))
    finish(station, offered, consumer)
    assert {row["version"] for row in station.rows()} == {"1.0.0", version}
    assert station.rows()[-1]["version"] == version


def test_the_end_while_a_bundle_is_verified(station, tmp_path):
    offered = drop(station, range(3))
    wait_for(lambda: len(station.rows()) == 3)
    new = tmp_path / "shelf/1.1.0"
    wish(station, "1.1.0")
    wait_for(lambda: running(station, "edge_agent.bundle"))
    (verifier,) = running(station, "edge_agent.bundle")
    wait_for(lambda: any("pydantic" in one.path for one in verifier.memory_maps()))
    verifier.suspend()  # it is at work, and takes for ever
    children = children_of(station)
    try:
        assert station.stop() == 0
        wait_for(lambda: all(gone(one) for one in children))
    finally:
        for one in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
    assert f"stopping, so not reloaded: the next start uses {new}" in station.log
    assert verify(station, offered).wrong == []
