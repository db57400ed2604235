"""``command/bundle`` over a real mosquitto: what an order changes, and what it can't."""

from __future__ import annotations

import json
import shutil
import signal
from typing import TYPE_CHECKING, Any

import pytest

from edge_agent.bundle import Decision, Golden, look_at_bundle, write_bundle
from tests.bundles import make_image, make_manifest, make_model
from tests.line import Station, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.broker import Broker
    from tests.subscriber import Subscriber

pytestmark = [pytest.mark.broker, pytest.mark.slow]

BASE = "inspection/site/line/station"


def write(path: Path, version: str, **changes: Any) -> Path:
    manifest, files = make_manifest(make_model(), version=version, **changes)
    return write_bundle(path, manifest, files).path


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """Two bundles beside each other, as a line PC has them."""
    write(tmp_path / "shelf/1.0.0", "1.0.0")
    write(tmp_path / "shelf/1.1.0", "1.1.0", decision=Decision(threshold=0.25, rule="by hand"))
    return tmp_path / "shelf"


@pytest.fixture
def consumer(broker: Broker, subscribe: Any) -> Subscriber:
    found: Subscriber = subscribe(broker.port)
    return found


@pytest.fixture
def station(make_station: Any, broker: Broker, shelf: Path) -> Station:
    found: Station = make_station(
        f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n', bundle=shelf / "1.0.0"
    )
    return found.start()


def order(consumer: Subscriber, **body: Any) -> dict[str, Any]:
    answer: dict[str, Any] = consumer.ask(f"{BASE}/command/bundle", json.dumps(body))
    return answer


def judges(station: Station) -> tuple[str, float]:
    """Version and threshold of what judges now."""
    seen = len(station.rows())
    station.drop(f"{seen}.png", make_image(defect=False, seed=seen))
    wait_for(lambda: len(station.rows()) > seen)
    row = station.rows()[-1]
    return row["version"], row["threshold"]


def test_another_runs_also_after_a_restart_until_it_is_rolled_back(station, consumer, broker):
    assert judges(station) == ("1.0.0", 0.5)
    assert order(consumer, activate="1.1.0") == {
        "command": "bundle",
        "ok": True,
        "reason": "",
        "detail": {
            "directory": "1.1.0",
            "name": "dark",
            "version": "1.1.0",
            "digest": look_at_bundle(station.bundle.parent / "1.1.0").digest,
            "kept": True,
        },
    }
    assert judges(station) == ("1.1.0", 0.25)
    consumer.wait(lambda _: consumer.received("/status")[-1].json()["model"]["version"] == "1.1.0")
    assert order(consumer, activate="1.1.0")["ok"]  # once more does no harm

    assert station.stop() == 0
    station.start()
    assert judges(station) == ("1.1.0", 0.25)

    # Back is what ran here: it may be older, and needs no permission.
    assert order(consumer, activate="1.0.0")["reason"] == (
        "the previous bundle keeps running: dark 1.0.0 is older than 1.1.0, which ran here last: "
        "give it a higher version, or set allow_downgrade = true in [trust] to go back"
    )
    for _ in range(2):  # an answer that got lost: asked for once more, it must not go forth
        assert order(consumer, roll_back=True)["detail"]["version"] == "1.0.0"
        assert judges(station) == ("1.0.0", 0.5)
    assert order(consumer, activate="1.1.0")["ok"]
    assert judges(station) == ("1.1.0", 0.25)
    assert "is replaced" not in station.log  # nor did any worker die of it
    assert "Traceback" not in station.log
    assert station.stop() == 0


def test_the_way_back_is_to_the_very_bundle_that_ran(station, consumer, shelf):
    assert order(consumer, activate="1.1.0")["ok"]
    shutil.rmtree(shelf / "1.0.0")
    write(shelf / "1.0.0", "0.9.0")  # as one would who can copy files

    answer = order(consumer, roll_back=True)

    assert "dark 0.9.0 is older than 1.1.0, which ran here last" in answer["reason"]
    assert judges(station)[0] == "1.1.0"
    assert station.stop() == 0


def test_a_link_that_is_turned_later_ends_what_was_ordered(make_station, consumer, broker, shelf):
    write(shelf / "1.2.0", "1.2.0")
    link = shelf / "current"
    link.symlink_to("1.0.0")
    station = make_station(f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n')
    first, rest = station.config.read_text().split("\n", 1)
    assert first.startswith("bundle = ")
    station.config.write_text(f'bundle = "{link}"\n{rest}')
    station.start()
    assert order(consumer, activate="1.1.0")["ok"]
    assert judges(station)[0] == "1.1.0"

    link.unlink()
    link.symlink_to("1.2.0")
    station.daemon.send_signal(signal.SIGHUP)
    wait_for(lambda: station.log.count("reloaded") == 2)
    assert judges(station)[0] == "1.2.0"
    assert station.stop() == 0


def test_what_can_not_be_noted_runs_and_the_answer_says_that_it_may_not_last(station, consumer):
    (station.state / "bundles.json").write_text("[]")
    # The version is not asked for: what runs already has no need of it.
    answer = order(consumer, activate="1.0.0")
    assert answer["ok"]
    assert answer["detail"]["kept"] is False
    assert judges(station)[0] == "1.0.0"
    assert station.stop() == 0


def test_what_the_settings_name_later_ends_what_was_ordered(station, consumer, broker, shelf):
    assert order(consumer, activate="1.1.0")["ok"]
    station.daemon.send_signal(signal.SIGHUP)  # the settings say nothing new
    wait_for(lambda: station.log.count("reloaded") == 2)
    assert judges(station)[0] == "1.1.0"

    write(shelf / "1.2.0", "1.2.0")
    station.config.write_text(station.config.read_text().replace("shelf/1.0.0", "shelf/1.2.0"))
    station.daemon.send_signal(signal.SIGHUP)
    wait_for(lambda: station.log.count("reloaded") == 3)
    assert judges(station)[0] == "1.2.0"
    assert station.stop() == 0
    station.start()
    assert judges(station)[0] == "1.2.0"
    assert station.stop() == 0


def test_what_can_not_run_changes_nothing(station, consumer, shelf):
    (shelf / "damaged").mkdir()
    (shelf / "damaged/manifest.json").write_text("{}")
    write(shelf / "lids", "1.0.0", name="lids")
    manifest, files = make_manifest(make_model(), version="2.0.0")
    wrong = tuple(
        Golden(**{**one.model_dump(), "scores": {"fp32": 1 - one.scores["fp32"]}})
        for one in manifest.golden
    )
    write_bundle(shelf / "2.0.0", manifest.model_copy(update={"golden": wrong}), files)
    for body, said in (
        ({"activate": "damaged"}, "manifest.json"),
        ({"activate": "2.0.0"}, "golden"),
        ({"activate": "none"}, "does not exist"),
        ({"activate": "../shelf/1.1.0"}, "must be of the letters"),
        ({"activate": "/etc"}, "must be of the letters"),
        ({"activate": ".."}, "must be of the letters"),
        ({}, 'give either "activate" with a name, or "roll_back": true'),
        ({"activate": "1.1.0", "roll_back": True}, 'give either "activate"'),
        ({"roll_back": True}, "no earlier bundle is known here"),
        ({"activate": "lids"}, 'the station to it, send {"activate": "lids", "name": "lids"}'),
        ({"activate": "lids", "name": "dark"}, "lids holds lids 1.0.0 ("),
        ({"activate": "1.0.0", "name": "lids"}, "1.0.0 holds dark 1.0.0 ("),
    ):
        answer = order(consumer, **body)
        assert not answer["ok"]
        assert said in answer["reason"]
    assert judges(station) == ("1.0.0", 0.5)
    # An order that was refused is no fault of the station.
    assert consumer.received("/status")[-1].json()["degraded"] is False
    assert station.stop() == 0


def test_a_start_without_what_was_ordered_says_what_to_do(station, consumer, shelf):
    assert order(consumer, activate="1.1.0")["ok"]
    assert station.stop() == 0
    (shelf / "1.1.0").rename(shelf / "away")
    station.start(wait=False)
    assert station.daemon.wait(60) == 2
    assert (
        f"to run {shelf / '1.0.0'} instead, delete {station.state / 'bundles.json'}" in station.log
    )
