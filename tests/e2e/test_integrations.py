"""What receives the alarm: the files of deploy/integrations, run where that can be had.

Node-RED runs, with a real station, broker and Modbus server. Of Home Assistant and Telegraf the
templates and paths are tried on messages of a real station.
"""

from __future__ import annotations

import io
import json
import re
import secrets
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import jinja2
import pytest
import yaml
from PIL import Image
from pyModbusTCP.server import DataBank, ModbusServer

from edge_agent.bundle import look_at_bundle
from edge_agent.demo.station import BUNDLE, IMAGES
from edge_agent.engine.worker import regions
from edge_agent.journal import stats
from tests.broker import MOSQUITTO, Broker, free_port
from tests.docs import REPO, replaced
from tests.line import FIXED, Station, at_rest, wait_for
from tests.nodered import MISSING, NODE_RED, NodeRed
from tests.subscriber import Subscriber

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edge_agent.bundle import Bundle

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytestmark = [pytest.mark.slow, pytest.mark.broker]

FILES = REPO / "deploy" / "integrations"
OK, SPOT = IMAGES / "04-painted.png", IMAGES / "06-cast-spot.png"
STATION = "inspection/site/line/station"
STOP, WORKS = 0, 1  # the coils


@pytest.fixture
def station(make_station, broker):
    """With the demo's bundle, and telemetry every second; not started."""
    return make_station(settings_for(broker), bundle=BUNDLE)


def settings_for(broker: Broker) -> str:
    return (
        f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\ntelemetry_every = 1.0\n'
        "[worker]\nretry_truncated = 0.2\n"
    )


# -- Node-RED, and a PLC -------------------------------------------------------------------------


@pytest.fixture
def plc():
    """A Modbus server as a PLC or its gateway has one."""
    server = ModbusServer("127.0.0.1", free_port(), no_block=True, data_bank=DataBank())
    server.start()
    yield server
    server.stop()


@pytest.fixture
def node_red(tmp_path, broker, plc):
    if NODE_RED is None:
        pytest.skip(MISSING)
    if not shutil.which("mosquitto_pub"):
        pytest.skip("mosquitto_pub is not installed: apt-get install mosquitto-clients")
    flow = replaced(
        (FILES / "node-red.json").read_text(),
        {
            '"port": "1883"': f'"port": "{broker.port}"',
            '"server": "192.168.0.10"': '"server": "127.0.0.1"',
            '"port": "502"': f'"port": "{plc.port}"',
        },
    )
    (tmp_path / "node-red").mkdir()
    running = NodeRed(tmp_path / "node-red", flow)
    yield running.start()
    running.stop()


def coil(plc: ModbusServer, number: int) -> bool:
    return plc.data_bank.get_coils(number)[0]


def alarms(node_red: NodeRed) -> list[str]:
    """What the flow's end was told, in order."""
    return re.findall(r"\[debug:alarm\]\s+(.+)", node_red.log())


def forget(broker: Broker, client: str) -> None:
    """Have the broker lose the session of a client that does not move, and all that waits in it."""
    command = ["mosquitto_pub", "-V", "5", "-i", client, "-p", str(broker.port), "-t", "x", "-n"]
    subprocess.run(command, check=True, timeout=60)


def test_node_red_tells_people_and_stops_the_line(station, broker, plc, node_red, subscribe):
    wait_for(lambda: broker.log().count("Sending SUBACK to node-red-alarm") == 4)
    plant = subscribe(broker.port, "inspection/#")
    station.start()
    wait_for(lambda: coil(plc, WORKS))

    station.drop("good.png", OK.read_bytes())
    at_rest(station, 1)
    station.drop("spot.png", SPOT.read_bytes())
    wait_for(lambda: coil(plc, STOP))
    wait_for(lambda: len(alarms(node_red)) == 1)
    assert re.fullmatch(
        r"DEFECT site/line/station #2 spot\.png: score [01]\.\d{3}", alarms(node_red)[0]
    )

    # A repeat is no second alarm; the next defect is.
    assert plant.ask(f"{STATION}/command/replay", b'{"from": 1}')["detail"]["messages"] == 2
    station.drop("again.png", SPOT.read_bytes())
    wait_for(lambda: any("#3 again.png" in line for line in alarms(node_red)))
    assert len(alarms(node_red)) == 2

    # What the broker has forgotten is noticed at the next verdict, asked for, and told.
    node_red.freeze()
    forget(broker, "node-red-alarm")
    station.drop("missed.png", SPOT.read_bytes())
    plant.wait(lambda _: plant.received("/verdict")[-1].json()["sequence"] == 4, 60)
    node_red.thaw()
    wait_for(lambda: broker.log().count("Sending SUBACK to node-red-alarm") == 8)
    assert len(alarms(node_red)) == 2
    station.drop("good.png", OK.read_bytes())
    wait_for(lambda: any("#4 missed.png" in line for line in alarms(node_red)))
    assert f"GAP {STATION}: 4 to 4 did not come, asking for them" in alarms(node_red)

    # A replay of a part that left the line long ago, its id forgotten, is told and stops nothing.
    long_ago = plant.received("/defect")[0].json() | {"id": "0" * 32}
    long_ago["completed"] = "2024-02-29T12:00:00.000Z"
    for _ in range(2):  # by then the last defect's write is over
        plc.data_bank.set_coils(WORKS, [False])
        wait_for(lambda: coil(plc, WORKS))
    plc.data_bank.set_coils(STOP, [False])
    assert plant.send(f"{STATION}/defect", json.dumps(long_ago)) == 0
    old = "(old, of 2024-02-29T12:00:00.000Z: no line stop)"
    wait_for(lambda: any(line.endswith(old) for line in alarms(node_red)))

    # The PLC sees that somebody inspects by a bit that comes again and again.
    plc.data_bank.set_coils(WORKS, [False])
    wait_for(lambda: coil(plc, WORKS))
    assert not coil(plc, STOP)  # written by the same connection, so it would be there

    assert station.stop() == 0
    wait_for(lambda: f"OFFLINE {STATION}: stopped" in alarms(node_red))
    play_the_stories(Scene(station, plc, node_red, plant))


# -- What happens on a line, played on that station from the camera to the PLC's coils -------------

EXPECTED, OVERRIDE, OTHERS = 8.0, 0.34, 0.25  # seconds; thresholds


@dataclass
class Scene:
    """Who takes part."""

    station: Station
    plc: ModbusServer
    node_red: NodeRed
    plant: Subscriber

    def judges(self, image: bytes) -> dict[str, Any]:
        """The verdict of one more image."""
        known = len(self.plant.received("/verdict"))
        self.station.drop(f"{known}.png", image)
        self.plant.wait(lambda _: len(self.plant.received("/verdict")) > known, 60)
        return self.plant.received("/verdict")[known].json()

    def telemetry(self, status: str) -> dict[str, Any]:
        """The first message from now on that says so."""
        seen = len(self.plant.received("/telemetry"))

        def since() -> list[dict[str, Any]]:
            return [one.json() for one in self.plant.received("/telemetry")[seen:]]

        self.plant.wait(lambda _: any(one["status"] == status for one in since()), 60)
        return next(one for one in since() if one["status"] == status)

    def reload(self, changes: dict[str, str], answer: str) -> str:
        """Change station.toml and have it read; what was logged of it."""
        said = len(self.station.log)
        self.station.config.write_text(replaced(self.station.config.read_text(), changes))
        self.station.daemon.send_signal(signal.SIGHUP)
        wait_for(lambda: answer in self.station.log[said:])
        return self.station.log[said:]


def play_the_stories(scene: Scene) -> None:
    """One more start, of the same station with another bundle; each story leaves it at work."""
    station = scene.station
    shelf = station.home / "shelf"
    brackets = called(shelf / "brackets", "brackets")
    called(shelf / "lids", "lids", threshold=OTHERS)
    settings = station.config.read_text().split("\n", 1)[1]
    station.config.write_text(
        f'bundle = "{brackets.path}"\n{settings}[source]\nexpect_every = {EXPECTED}\n'
        f'[decision]\nbundle = "{brackets.digest[:12]}"\nthreshold = {OVERRIDE}\n'
    )
    station.start()
    assert f"bundle changed: {brackets.title} runs now, before it demo-surfaces" in station.log
    for story in (silence, lens_cap, changeover):
        story(scene)
    assert station.stop() == 0
    assert "Traceback" not in station.log


def called(place: Path, name: str, **decision: Any) -> Bundle:
    """The demo's bundle under another name."""
    shutil.copytree(BUNDLE, place)
    manifest = json.loads((place / "manifest.json").read_text())
    manifest["name"] = name
    manifest["decision"].update(decision)
    (place / "manifest.json").write_text(json.dumps(manifest))
    return look_at_bundle(place)


def silence(scene: Scene) -> None:
    """The camera's cable comes off: the heartbeat stops until there are images again."""
    plc, plant, node_red = scene.plc, scene.plant, scene.node_red
    scene.judges(OK.read_bytes())
    scene.telemetry("ok")
    wait_for(lambda: f"FAILING {STATION}: telemetry says why" in alarms(node_red))
    (reason,) = scene.telemetry("failing")["reasons"]
    assert reason.startswith(f"no image was judged for more than {EXPECTED:g} s")
    plc.data_bank.set_coils(STOP, [False, False])
    for _ in range(3):
        scene.telemetry("failing")
    alarm = plant.received("/defect")[0].json() | {"id": secrets.token_hex(16)}
    alarm["completed"] = datetime.now(timezone.utc).isoformat()
    assert plant.send(f"{STATION}/defect", json.dumps(alarm)) == 0
    wait_for(lambda: coil(plc, STOP))  # behind the telemetry, on the same way
    assert not coil(plc, WORKS)
    assert plant.received("/status")[-1].json()["failing"]

    told = len(alarms(node_red))
    scene.judges(OK.read_bytes())
    wait_for(lambda: coil(plc, WORKS))
    wait_for(lambda: f"WELL {STATION}" in alarms(node_red)[told:])


def lens_cap(scene: Scene) -> None:
    """It is left on, or slips half over the lens: the line stops at the first such frame."""
    station, plc = scene.station, scene.plc
    with Image.open(OK) as opened:
        part = opened.convert("L")
    half = part.copy()
    half.paste(0, (0, 0, part.width // 2, part.height))
    kept = len(station.filed("quarantine"))
    for picture in (Image.new("L", part.size), half, part.rotate(90, expand=True)):
        plc.data_bank.set_coils(STOP, [False])
        out = io.BytesIO()
        picture.save(out, "PNG")
        said = scene.judges(out.getvalue())
        assert (said["verdict"], said["score"]) == ("error", None)
        assert said["reason"].startswith("not a picture that the bundle was made for: ")
        wait_for(lambda: coil(plc, STOP))
    wait_for(lambda: len(station.filed("quarantine")) == kept + 3)
    assert scene.judges(OK.read_bytes())["verdict"] == "ok"


def changeover(scene: Scene) -> None:
    """Another product: never by mistake, never with the threshold that was the other's."""
    station, plc, plant = scene.station, scene.plc, scene.plant
    before = scene.judges(OK.read_bytes())
    assert (before["model"]["name"], before["threshold"]) == ("brackets", OVERRIDE)

    said = scene.reload({'/brackets"': '/lids"'}, "not reloaded, the previous bundle keeps running")
    assert f"[decision] threshold = {OVERRIDE} is for the bundle" in said
    still = scene.judges(OK.read_bytes())
    assert (still["model"], still["threshold"]) == (before["model"], OVERRIDE)
    assert "not reloaded: [decision]" in scene.telemetry("degraded")["reasons"][0]
    plc.data_bank.set_coils(WORKS, [False])
    scene.judges(OK.read_bytes())
    wait_for(lambda: coil(plc, WORKS))  # it inspects, by what it is sure of

    override = station.config.read_text().partition("[decision]\n")[2].partition(FIXED)[0]
    said = scene.reload({'/lids"': '/brackets"', override: ""}, "reloaded: brackets 1.0.0 (")
    assert re.search(rf"threshold {before['threshold']:.4f}$", said.strip(), re.MULTILINE)
    order = {"activate": "lids"}
    refused = plant.ask(f"{STATION}/command/bundle", json.dumps(order))
    assert "lids 1.0.0 (" in refused["reason"]
    meant = json.loads(re.search(r"send (\{.*\})", refused["reason"])[1])
    assert meant == order | {"name": "lids"}
    assert plant.ask(f"{STATION}/command/bundle", json.dumps(meant))["ok"]

    plc.data_bank.set_coils(STOP, [False])
    after = scene.judges(SPOT.read_bytes())
    assert (after["model"]["name"], after["threshold"], after["verdict"]) == (
        "lids",
        OTHERS,
        "defect",
    )
    wait_for(lambda: coil(plc, STOP))
    plant.wait(lambda _: plant.received("/status")[-1].json()["model"] == after["model"], 60)
    judged = stats(station.state / "journal.db").judged
    assert [(one.name, one.threshold) for one in judged][-2:] == [
        ("brackets", OVERRIDE),
        ("lids", OTHERS),
    ]
    assert judged[-1].digest == after["model"]["digest"] != before["model"]["digest"]


# -- Home Assistant and Telegraf, on real messages -----------------------------------------------


@pytest.fixture(scope="module")
def messages(tmp_path_factory):
    """What a station sends on each topic, by the topic's last level."""
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed: apt-get install mosquitto")
    broker = Broker(tmp_path_factory.mktemp("broker")).start()
    station = Station(tmp_path_factory.mktemp("station"), BUNDLE, settings_for(broker))
    plant = Subscriber(broker.port, "inspection/#")
    try:
        station.start()
        station.drop("good.png", OK.read_bytes())
        station.drop("spot.png", SPOT.read_bytes())
        station.drop("broken.png", SPOT.read_bytes()[:1000])
        at_rest(station, 3)
        seen = len(plant.received("/telemetry"))
        plant.wait(lambda _: len(plant.received("/telemetry")) > seen + 1, 60)
        assert station.stop() == 0
        plant.wait(lambda _: not plant.received("/status")[-1].json()["online"], 60)
        yield {
            level: [m.json() for m in plant.received(f"/{level}")]
            for level in ("status", "verdict", "defect", "telemetry")
        } | {"bytes": [m.payload for m in plant.received("/verdict")]}
    finally:
        station.kill()
        plant.close()
        broker.kill()


def test_node_red_tells_the_plc_nothing_that_it_could_not_count_on(
    broker, plc, node_red, subscribe, messages
):
    """By two clocks it tells what is old. Where they differ coil 0 is worth nothing: no coil 1."""
    wait_for(lambda: broker.log().count("Sending SUBACK to node-red-alarm") == 4)
    plant = subscribe(broker.port, "nothing")
    alive = messages["telemetry"][-1] | {"status": "ok", "paused": False}

    def at(seconds: float) -> str:
        moment = datetime.now(timezone.utc) + timedelta(seconds=seconds)
        return moment.isoformat().replace("+00:00", "Z")

    def tell(**changes: Any) -> None:
        assert plant.send(f"{STATION}/telemetry", json.dumps(alive | changes)) == 0

    def alarm(completed: str) -> None:
        one = messages["defect"][0] | {"id": secrets.token_hex(16), "completed": completed}
        assert plant.send(f"{STATION}/defect", json.dumps(one)) == 0

    def works(**changes: Any) -> bool:
        """Whether such a message sets coil 1."""
        plc.data_bank.set_coils(STOP, [False, False])
        tell(**changes)
        alarm(at(3600))  # behind it, on the same way: a clock that is ahead stops the line too
        wait_for(lambda: coil(plc, STOP))
        return coil(plc, WORKS)

    assert works(time=at(0))
    assert not works(time=at(-61))
    assert not works(time=at(3600))
    assert not works(time=at(0), status="failing")
    assert not works(time=at(0), paused=True)

    plc.data_bank.set_coils(STOP, [False, False])
    alarm(at(-61))
    tell(time=at(0))
    wait_for(lambda: coil(plc, WORKS))
    assert not coil(plc, STOP)
    assert alarms(node_red)[-1].endswith(": no line stop)")


def entities() -> Iterator[dict[str, Any]]:
    package = yaml.safe_load((FILES / "home-assistant.yaml").read_text())
    for kind in package["mqtt"].values():
        yield from kind


def test_home_assistants_templates_on_what_a_station_sends(messages):
    """Home Assistant's own filters behave as jinja2's, as far as the file uses them."""
    rendered = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
    values: dict[str, list[str]] = {}
    for entity in entities():
        name = entity["unique_id"]
        sent = messages[entity["state_topic"].removeprefix(f"{STATION}/")]
        template = rendered.from_string(entity["value_template"])
        values[name] = [template.render(value_json=one) for one in sent]
        if "json_attributes_template" in entity:
            template = rendered.from_string(entity["json_attributes_template"])
            assert all(json.loads(template.render(value_json=one)) for one in sent)
        (there,) = entity["availability"]
        assert there["topic"] == f"{STATION}/status"
        template = rendered.from_string(there["value_template"])
        told = [template.render(value_json=one) for one in messages["status"]]
        assert (told[0], told[-1]) == ("online", "offline")
    assert values["edge_agent_last_part"] == ["OFF", "ON", "ON"]
    assert values["edge_agent_station"] == [
        "OFF" if one["status"] == "ok" else "ON" for one in messages["telemetry"]
    ]
    assert float(values["edge_agent_latency"][-1]) > 0
    assert float(values["edge_agent_rate"][-1]) >= 0
    assert values["edge_agent_waiting"][-1] == "0"
    assert values["edge_agent_drift"][-1] == "none"

    package = yaml.safe_load((FILES / "home-assistant.yaml").read_text())
    (automation,) = package["automation"]
    assert automation["trigger"][0]["topic"] == f"{STATION}/defect"
    notice = automation["action"][0]["data"]
    said = [
        rendered.from_string(notice["message"]).render(trigger={"payload_json": one})
        for one in messages["defect"]
    ]
    assert re.fullmatch(r"#2, score [01]\.\d{3}", said[0])
    assert re.match(r"#3, .*truncated", said[1])


def test_telegrafs_paths_in_what_a_station_sends(messages):
    """Where a path leads nowhere Telegraf drops the message, unless it is optional."""
    config = tomllib.loads((FILES / "telegraf.conf").read_text())
    kinds = {"int": int, "float": (int, float), "string": str}
    looked_up = set()
    for source in config["inputs"]["mqtt_consumer"]:
        (topic,) = source["topics"]
        (levels,) = source["topic_parsing"]
        assert levels["topic"] == topic
        assert [levels["tags"].count("/"), levels["measurement"].count("/")] == [4, 4]
        level = topic.removeprefix("inspection/+/+/+/")
        (parser,) = source["json_v2"]
        for message in messages[level]:
            moment = look_up(message, parser["timestamp_path"])
            assert datetime.fromisoformat(moment.replace("Z", "+00:00"))
            for place in [*parser["tag"], *parser["field"]]:
                value = look_up(message, place["path"])
                looked_up.add((level, place["path"], value is not None))
                assert value is not None or place.get("optional"), (level, place)
                assert value is None or isinstance(value, kinds[place.get("type", "string")])
    # What is optional is there as well, as a rule.
    assert {(level, path) for level, path, there in looked_up if there} == {
        (level, path) for level, path, _ in looked_up
    }


def test_what_a_plc_finds_and_has_to_hold(messages):
    good, spot, _ = messages["bytes"]
    assert b'"verdict":"ok"' in good
    assert b'"verdict":"ok"' not in spot
    assert b'"online":true' in json.dumps(messages["status"][0], separators=(",", ":")).encode()

    box = {"x": 12345, "y": 12345, "width": 12345, "height": 12345, "peak": 0.1234}
    largest = json.loads(spot) | {"regions": [box] * regions.MOST, "reason": "x" * 300}
    largest["image"]["name"] = 255 * r"\xff"  # what can't be shown is escaped
    assert len(spot) < 1500
    assert len(json.dumps(largest, separators=(",", ":"))) <= 4096


def look_up(message: Any, path: str) -> Any:
    """GJSON, as far as the file uses it: names, and ``#(name=="value")``."""
    for part in re.findall(r'#\(\w+=="\w+"\)|[^.]+', path):
        if part.startswith("#"):
            name, wanted = re.fullmatch(r'#\((\w+)=="(\w+)"\)', part).groups()
            message = next((one for one in message if one[name] == wanted), None)
        elif message is not None:
            message = message[part]
    return message
