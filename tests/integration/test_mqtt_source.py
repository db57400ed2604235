"""Images from a topic of a real broker, to a real daemon: each judged once, none lost."""

from __future__ import annotations

import hashlib
import json
import os
import random
import time
import urllib.request
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.broker import free_port
from tests.bundles import make_image
from tests.integration.conftest import QUICK
from tests.line import health, verify, wait_for

if TYPE_CHECKING:
    from tests.broker import Broker
    from tests.line import Station
    from tests.subscriber import Subscriber

pytestmark = [pytest.mark.slow, pytest.mark.broker]

LIMIT = 200_000


def settings(broker: Broker, *, name: str = "station", more: str = "") -> str:
    return (
        f'{QUICK}[station]\nname = "{name}"\n'
        f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n{more}'
    )


def source(topic: str = "cameras/{camera}/{id}", more: str = "") -> str:
    return f'[source.mqtt]\ntopic = "{topic}"\nmax_bytes = {LIMIT}\n{more}'


def at_rest(station: Station, count: int) -> list[dict[str, Any]]:
    wait_for(lambda: len(station.rows()) >= count, 120)
    wait_for(lambda: not list((station.state / "work").iterdir()), 120)
    return station.rows()


def listening(broker: Broker, client_id: str = "edge-agent-site-line-station-source") -> bool:
    """Whether the broker has the source's subscription."""
    return f"Sending SUBACK to {client_id}" in broker.log()


def answers(subscriber: Subscriber) -> dict[bytes | None, list[Any]]:
    found: dict[bytes | None, list[Any]] = {}
    for received in subscriber.received("plc/answers"):
        found.setdefault(received.correlation, []).append(received)
    return found


def test_what_arrives_is_judged_once_and_answered(make_station, broker, subscribe):
    station = make_station(settings(broker), source=source()).start()
    wait_for(lambda: listening(broker))
    consumer = subscribe(broker.port, "#")
    images = {str(n): make_image(defect=n % 3 == 0, seed=n) for n in range(6)}
    for number, content in images.items():
        consumer.send(
            f"cameras/top/{number}",
            content,
            UserProperty=[("captured", "2026-11-24T08:00:00.250Z"), ("colour", "blue")],
            ResponseTopic="plc/answers",
            CorrelationData=b"part " + number.encode(),
        )
    consumer.send("cameras/top/0", images["0"])  # a camera that repeats itself
    huge = bytes(range(256)) * 2000
    consumer.send("cameras/top/huge", huge, ResponseTopic="plc/answers", CorrelationData=b"huge")
    consumer.send("cameras/top/words", b"words", UserProperty=[("name", "../../Teil 1/ß.png")])
    rows = {row["name"]: row for row in at_rest(station, 8)}

    assert station.log.count("can't be judged") == 2
    assert set(rows) == {*(f"top-{n}" for n in range(6)), "top-huge", "../../Teil 1/ß.png"}
    for number, content in images.items():
        row = rows[f"top-{number}"]
        assert row["verdict"] == ("defect" if int(number) % 3 == 0 else "ok")
        assert row["sha256"] == hashlib.sha256(content).hexdigest()
        assert row["captured"] == 1795507200.25
        assert row["received"] <= row["completed"]
    refused = rows["top-huge"]
    assert (refused["verdict"], refused["bytes"]) == ("error", len(huge))
    assert refused["sha256"] == hashlib.sha256(huge).hexdigest()
    assert f"{len(huge)} bytes is more than the limit of {LIMIT}" in refused["reason"]
    filed = {p.name: p.read_bytes() for p in station.filed()}
    assert filed == {f"top-{n}.png": content for n, content in images.items()}
    assert {p.name for p in station.filed("quarantine")} == {"top-huge", "Teil_1_.png"}

    consumer.wait(lambda _: len(answers(consumer)) == 7, 60)
    said = {m.json()["id"]: m.payload for m in consumer.received("/verdict")}
    for correlation, received in answers(consumer).items():
        (one,) = received
        assert one.payload == said[one.json()["id"]]
        assert correlation.decode().split()[-1] in one.json()["image"]["name"]

    assert station.stop() == 0
    consumer.send("cameras/top/0", images["0"])  # and over a restart
    consumer.send("cameras/top/late", make_image(defect=False, seed=99))  # while it was away
    station.start()
    rows = at_rest(station, 9)
    assert rows[-1]["name"] == "top-late"
    consumer.send("cameras/top/last", make_image(defect=False, seed=100))
    at_rest(station, 10)
    assert station.stop() == 0
    assert verify(station, 10).wrong == []


def test_a_camera_that_counts_from_the_beginning_again_is_told(make_station, broker, subscribe):
    port = free_port()
    more = f"[http]\nport = {port}\n"
    station = make_station(settings(broker, more=more), source=source()).start()
    wait_for(lambda: listening(broker))
    consumer = subscribe(broker.port, "#")
    first, other = make_image(defect=False, seed=1), make_image(defect=True, seed=2)
    consumer.send("cameras/top/1", first)
    consumer.send("cameras/top/2", b"words")
    at_rest(station, 2)
    consumer.send("cameras/top/1", first)
    consumer.send("cameras/top/2", b"words")
    consumer.send("cameras/top/3", first)
    at_rest(station, 3)
    assert health(port)["ignored"] == {}

    consumer.send("cameras/top/1", other)

    wait_for(lambda: "top-1" in health(port)["ignored"], pause=0.1)
    assert "were seen before, apparently for another image" in health(port)["ignored"]["top-1"]
    assert "warning top-1 is not judged: its topic and id" in station.log
    assert len(station.rows()) == 3
    assert station.stop() == 0


def test_what_a_kill_leaves_unacknowledged_is_judged_once(make_station, broker, subscribe):
    """Without a camera's id: a repeat is known by the broker's word, packet id and bytes."""
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    station = make_station(settings(broker), source=source("cameras/#", "receive_maximum = 7"))
    station.start()
    wait_for(lambda: listening(broker))
    consumer = subscribe(broker.port, "plc/answers")
    same = make_image(defect=False, seed=0)  # twins: bytes alone say nothing
    contents = [make_image(defect=False, seed=n) if n % 5 else same for n in range(60)]
    for number, content in enumerate(contents):
        mark = str(number).encode()
        consumer.send("cameras/top", content, ResponseTopic="plc/answers", CorrelationData=mark)
        if number in (20, 40):
            wait_for(lambda n=number: len(station.rows()) > n - 15)
            time.sleep(chance.random() * 0.1)  # the moment is to be any
            station.kill()
            station.start(wait=False)
    rows = at_rest(station, 60)
    wait_for(lambda: len(answers(consumer)) == 60)
    assert station.stop() == 0
    assert verify(station, 60).wrong == []
    assert Counter(row["sha256"] for row in rows) == Counter(
        hashlib.sha256(content).hexdigest() for content in contents
    )


def test_a_pause_leaves_images_at_the_broker(make_station, broker, subscribe):
    port = free_port()
    more = f"[http]\nport = {port}\n"
    station = make_station(
        settings(broker, more=more), source=source("cameras/#", "receive_maximum = 5")
    ).start()
    wait_for(lambda: listening(broker))
    consumer = subscribe(broker.port, "inspection/#")
    base = "inspection/site/line/station"
    assert consumer.ask(f"{base}/command/pause")["ok"]
    assert consumer.ask(f"{base}/command/pause")["detail"] == {"paused": True}
    consumer.wait(lambda _: consumer.received("/status")[-1].json()["paused"])
    for number in range(12):
        consumer.send("cameras/top", make_image(defect=False, seed=number))
    wait_for(lambda: len(list((station.state / "work").iterdir())) == 5)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=20) as answer:
        health = json.load(answer)
    assert health["status"] == "degraded"
    assert "paused by a command" in health["reasons"][0]
    assert len(list((station.state / "work").iterdir())) == 5  # and no more than that
    assert station.rows() == []
    assert consumer.ask(f"{base}/command/resume")["ok"]
    at_rest(station, 12)
    consumer.wait(lambda _: not consumer.received("/status")[-1].json()["paused"])
    assert station.stop() == 0
    assert verify(station, 12).wrong == []


def test_files_that_a_message_names_are_taken_from_one_folder(
    make_station, broker, subscribe, tmp_path
):
    folder = tmp_path / "camera"
    (folder / "sub").mkdir(parents=True)
    good = make_image(defect=True, seed=1)
    (folder / "sub" / "part 1.png").write_bytes(good)
    (tmp_path / "secret.png").write_bytes(good)
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "away").symlink_to(tmp_path)
    (folder / "huge.png").write_bytes(b"x" * (LIMIT + 1))
    os.mkfifo(folder / "pipe.png")
    station = make_station(
        settings(broker), source=source("cameras/top", f'folder = "{folder}"')
    ).start()
    wait_for(lambda: listening(broker))
    consumer = subscribe(broker.port, "inspection/#")
    bad = {
        "link.png": "symbolic link",
        "away/secret.png": "Not a directory",
        "../secret.png": "is not a file inside",
        f"{tmp_path}/secret.png": "is not inside",
        "none.png": "No such file",
        "huge.png": "the limit is",
        "pipe.png": "is not a regular file",
        "sub": "is not a regular file",
    }
    for name in bad:
        consumer.send("cameras/top", json.dumps({"file": name, "id": name, "name": name}))
    for content in ("part 1.png", '{"path": "x"}', "[" * 60_000, "{" + " " * 70_000 + "}"):
        consumer.send("cameras/top", content)
    consumer.send("cameras/top", json.dumps({"file": "sub/part 1.png", "id": "1"}))
    consumer.send("cameras/top", json.dumps({"file": f"{folder}/sub/part 1.png", "id": "2"}))
    consumer.send("cameras/top", json.dumps({"file": "sub/part 1.png", "id": "1"}))
    at_rest(station, len(bad) + 6)
    # Now it is there, and comes in two halves: it is read again until it is whole.
    late = make_image(defect=True, seed=2)
    consumer.send("cameras/top", json.dumps({"file": "none.png", "id": "none.png", "name": "late"}))
    with (folder / "none.png").open("wb", buffering=0) as stream:
        stream.write(late[: len(late) // 2])
        time.sleep(0.4)
        stream.write(late[len(late) // 2 :])
    # One that the station has noted, and is killed over.
    consumer.send("cameras/top", '{"file": "never.png", "id": 9, "name": 9}')
    noted = (station.state / "work").glob
    wait_for(lambda: list(noted("*/.awaited.json")) or len(station.rows()) == len(bad) + 8)
    station.kill()
    station.start()
    rows = at_rest(station, len(bad) + 8)
    assert station.stop() == 0
    (found,) = [row for row in rows if row["name"] == "late"]
    assert (found["verdict"], found["sha256"]) == ("defect", hashlib.sha256(late).hexdigest())
    (never,) = [row for row in rows if row["name"] == "9"]
    assert "never.png' can't be read: No such file" in never["reason"]
    rows = [row for row in rows if row not in (found, never)]
    reasons = {row["name"]: row["reason"] for row in rows}
    for name, why in bad.items():
        assert why in reasons[name]
    assert [row["verdict"] for row in rows].count("error") == len(bad) + 4
    assert [row["name"] for row in rows if row["verdict"] == "defect"] == ["part 1.png"] * 2
    assert {p.read_bytes() for p in station.filed()} == {good, late}
    assert (folder / "sub" / "part 1.png").read_bytes() == good  # it is not ours
    assert len(rows) == len(bad) + 6


def test_a_broker_that_is_killed_holds_up_and_loses_nothing(make_station, broker, subscribe):
    station = make_station(settings(broker), source=source()).start()
    wait_for(lambda: listening(broker))
    consumer = subscribe(broker.port, "inspection/#")
    for number in range(5):
        consumer.send(f"cameras/top/{number}", make_image(defect=False, seed=number))
    at_rest(station, 5)
    broker.kill()
    wait_for(lambda: "no images from MQTT: " in station.log)
    broker.start()
    said = len(consumer.received())
    consumer.wait(lambda all_: len(all_) > said, 60)  # it is back: the station's status comes
    for number in range(3, 10):
        consumer.send(f"cameras/top/{number}", make_image(defect=False, seed=number))
    at_rest(station, 10)
    assert station.stop() == 0
    assert verify(station, 10).wrong == []
