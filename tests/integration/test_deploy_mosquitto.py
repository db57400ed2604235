"""The broker's files as they are shipped, with the real broker: who may what, what is kept."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge_agent.doctor.broker import look_at_broker
from edge_agent.settings import load_settings
from tests.bundles import make_image
from tests.line import at_rest, verify, wait_for

if TYPE_CHECKING:
    from tests.broker import Broker

FILES = Path(__file__).parents[2] / "deploy/mosquitto"
SCRIPT = FILES / "certificates.sh"
OPENSSL = shutil.which("openssl")
STATION = "plant/line1/camera1"
OWN = f"inspection/{STATION}"
OTHER = "inspection/plant/line1/camera2"
CAMERA = f"{STATION}/top"

needs_openssl = pytest.mark.skipif(OPENSSL is None, reason="the openssl command is not installed")


def certify(pki: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(SCRIPT), str(pki), *arguments], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def pki(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("pki") / "pki"
    for arguments in (
        ("ca", "Plant 7"),
        ("broker", "localhost", "127.0.0.1"),
        *(
            ("client", who)
            for who in (STATION, CAMERA, "plant/line1/camera2", "consumer", "operator")
        ),
    ):
        done = certify(place, *arguments)
        assert done.returncode == 0, done.stderr
    return place


@pytest.fixture
def shipped(make_broker, pki) -> Broker:
    """mosquitto with the files as they are, but for where they lie and which port is free."""
    broker = make_broker()
    home = broker.directory
    shutil.copy(FILES / "acl", home / "acl")
    (home / "acl").chmod(0o600)
    text = (FILES / "mosquitto.conf").read_text()
    for there, here in (
        ("/var/lib/mosquitto/", f"{home}/"),
        ("/etc/mosquitto/certs/", f"{pki}/"),
        ("/etc/mosquitto/acl", f"{home}/acl"),
        ("listener 8883", f"listener {broker.port} 127.0.0.1"),
        ("log_dest stderr", f"log_dest file {home}/mosquitto.log"),
    ):
        assert there in text
        text = text.replace(there, here)
    broker.whole = text + ("\nuser root\n" if os.geteuid() == 0 else "")
    return broker.start()


def trust(pki: Path, who: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    if who is not None:
        context.load_cert_chain(pki / f"{who}.crt", pki / f"{who}.key")
    return context


class Peer:
    """A client with a certificate; says how the broker answered."""

    def __init__(self, broker: Broker, pki: Path, who: str) -> None:
        self._client = client = Client(
            CallbackAPIVersion.VERSION2, client_id=who, protocol=MQTTProtocolVersion.MQTTv5
        )
        client.tls_set_context(trust(pki, who))
        self._answers: dict[int, int] = {}
        self._changed = threading.Condition()
        self.received: list[str] = []
        client.on_publish = lambda _c, _u, packet, code, _p: self._answer(packet, code.value)
        client.on_subscribe = lambda _c, _u, packet, codes, _p: self._answer(packet, codes[0].value)
        client.on_message = lambda _c, _u, message: self.received.append(message.topic)
        client.connect("127.0.0.1", broker.port)
        client.loop_start()

    def write(self, topic: str, content: bytes = b"{}") -> int:
        """The reason code of a publish: 0 and 16 are success, 135 is a denial."""
        return self._wait(self._client.publish(topic, content, qos=1).mid)

    def read(self, topic: str) -> int:
        _, packet = self._client.subscribe(topic, qos=1)
        return self._wait(packet)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _answer(self, packet: int, code: int) -> None:
        with self._changed:
            self._answers[packet] = code
            self._changed.notify_all()

    def _wait(self, packet: int) -> int:
        with self._changed:
            assert self._changed.wait_for(lambda: packet in self._answers, 60)
            return self._answers[packet]


@pytest.fixture
def peer(shipped, pki):
    made = []

    def make(who: str) -> Peer:
        made.append(Peer(shipped, pki, who))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.slow
@pytest.mark.broker
@needs_openssl
def test_a_station_works_with_the_files_as_they_are_shipped(shipped, pki, subscribe, make_station):
    consumer = subscribe(shipped.port, "inspection/#", tls=trust(pki, "consumer"))
    line = make_station(
        '[station]\nsite = "plant"\nline = "line1"\nname = "camera1"\n'
        f'[mqtt]\nhost = "127.0.0.1"\nport = {shipped.port}\ntls = true\n'
        f'ca_file = "{pki}/ca.crt"\ncert_file = "{pki}/{STATION}.crt"\n'
        f'key_file = "{pki}/{STATION}.key"\n',
        source=f'[source.folder]\npath = "inbox"\n'
        f'[source.mqtt]\ntopic = "cameras/{STATION}/{{camera}}/{{id}}"\nmax_bytes = 30000000\n',
    )
    line.start()
    wait_for(lambda: "receiving images from MQTT" in line.log)
    line.drop("ok.png", make_image(defect=False))
    line.drop("defect.png", make_image(defect=True))
    answer = f"answers/{CAMERA}"
    camera = subscribe(shipped.port, answer, client_id="top", tls=trust(pki, CAMERA))
    camera.send(f"cameras/{CAMERA}/7", make_image(defect=False, seed=7), ResponseTopic=answer)
    at_rest(line, 3)
    camera.wait(lambda received: [r.json()["image"]["name"] for r in received] == ["top-7"], 60)
    consumer.wait(lambda _: len(consumer.received("/verdict")) == 3, 60)
    consumer.wait(lambda _: len(consumer.received("/defect")) == 1, 60)

    found = look_at_broker(load_settings(line.config), 10.0)
    assert [one for one in found if one.level != "ok"] == []
    assert found[-2].what.endswith("verdicts are delivered")
    assert f"images on cameras/{STATION}/+/+ can be subscribed to" in found[-1].what
    assert line.stop() == 0
    consumer.wait(lambda _: len(consumer.received("/status")) == 2, 60)
    assert verify(line, 3, consumer).wrong == []
    # The doctor's own message was seen too: a consumer may read everything.
    assert {m.topic for m in consumer.received()} == {
        f"{OWN}/{level}" for level in ("status", "verdict", "defect", "doctor")
    }


@pytest.mark.broker
@needs_openssl
def test_what_each_may_write(peer):
    may = {
        STATION: [*(f"{OWN}/{t}" for t in ("status", "verdict", "defect", "telemetry", "reply"))],
        CAMERA: [f"cameras/{CAMERA}/1"],
        "consumer": [f"{OWN}/command/replay", f"{OTHER}/command/replay"],
        "operator": [f"{OWN}/command/pause", f"{OTHER}/command/bundle"],
    }
    may_not = {
        STATION: [f"{OTHER}/verdict", f"{OTHER}/command/pause", f"{OWN}/command/pause", "other"],
        CAMERA: [f"{OWN}/verdict", f"cameras/{STATION}/side/1", f"answers/{STATION}/side"],
        "consumer": [f"{OWN}/verdict", f"{OWN}/command/pause", f"cameras/{CAMERA}/1"],
        "operator": [f"{OWN}/verdict", f"{OWN}/status"],
    }
    for who, topics in may.items():
        one = peer(who)
        assert {one.write(topic) for topic in topics} <= {0, 16}
        denied = may_not[who]
        assert {topic: one.write(topic) for topic in denied} == dict.fromkeys(denied, 135)


@pytest.mark.broker
@needs_openssl
def test_a_station_hears_its_own_commands_and_cameras_alone(peer):
    own, other, operator = peer(STATION), peer("plant/line1/camera2"), peer("operator")
    for one in (own, other):
        one.read("inspection/#")
        one.read("cameras/#")

    assert peer(CAMERA).write(f"cameras/{CAMERA}/1") in (0, 16)
    for station in (OWN, OTHER):
        assert operator.write(f"{station}/command/pause") in (0, 16)

    wait_for(lambda: len(own.received) >= 2 and other.received)
    assert own.received == [f"cameras/{CAMERA}/1", f"{OWN}/command/pause"]
    assert other.received == [f"{OTHER}/command/pause"]


@pytest.mark.broker
@needs_openssl
def test_without_a_certificate_nobody_is_let_in(shipped, pki, tmp_path):
    stranger = tmp_path / "stranger"
    assert certify(stranger, "ca", "Another plant").returncode == 0
    assert certify(stranger, "client", STATION).returncode == 0
    forged = trust(pki, None)
    forged.load_cert_chain(stranger / f"{STATION}.crt", stranger / f"{STATION}.key")
    for context in (trust(pki, None), forged):
        client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        client.tls_set_context(context)
        let_in = []
        client.on_connect = lambda *_, seen=let_in: seen.append(True)
        try:
            client.connect("127.0.0.1", shipped.port)
            wait_for(lambda client=client: client.loop(0.1) != 0)
        except OSError:  # refused in the handshake
            pass
        assert let_in == []
        client.disconnect()


@pytest.mark.broker
@needs_openssl
def test_what_was_acknowledged_outlives_a_kill(shipped, pki, peer, subscribe):
    tls = trust(pki, "consumer")
    subscribe(shipped.port, "inspection/#", tls=tls).close()  # its session stays
    station = peer(STATION)
    for number in range(50):
        assert station.write(f"{OWN}/verdict", b"number %02d" % number) == 0
    station.close()
    # mosquitto acknowledges, then writes: at once, not in half an hour as by default.
    kept = shipped.directory / "mosquitto.db"
    wait_for(lambda: kept.exists() and b"number 49" in kept.read_bytes())

    shipped.kill()
    shipped.start()

    late = subscribe(shipped.port, "inspection/#", tls=tls)
    late.wait(lambda received: len(received) == 50, 60)


# -- certificates.sh ---------------------------------------------------------------------------


@needs_openssl
def test_certificates_are_what_they_say(pki):
    def shown(file: str, *what: str) -> str:
        command = ["openssl", "x509", "-noout", "-in", str(pki / file), *what]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    for name in ("broker", STATION, "consumer"):
        command = ["openssl", "verify", "-x509_strict", "-CAfile", "ca.crt", f"{name}.crt"]
        assert subprocess.run(command, cwd=pki, check=False).returncode == 0
        assert (pki / f"{name}.key").stat().st_mode & 0o077 == 0
    said = shown("broker.crt", "-ext", "subjectAltName,extendedKeyUsage,basicConstraints")
    for what in ("DNS:localhost", "IP Address:127.0.0.1", "Server Authentication", "CA:FALSE"):
        assert what in said
    said = shown(f"{STATION}.crt", "-subject", "-ext", "extendedKeyUsage")
    assert STATION in said.replace("\\/", "/")
    assert "Client Authentication" in said
    assert [path.name for path in pki.rglob("*.csr")] == []


@needs_openssl
@pytest.mark.parametrize(
    "who", ["../x", "/x", "x/", "a//b", "a+b", "a#", "ca", "broker", "x" * 65, "a\nb", ""]
)
def test_what_is_no_identity(pki, who):
    done = certify(pki, "client", who)

    assert done.returncode == 2, (done.stdout, done.stderr)
    assert done.stderr.startswith(("certificates.sh: ", "usage: "))


@needs_openssl
def test_nothing_is_written_over(pki):
    before = (pki / "ca.key").read_bytes()

    done = certify(pki, "ca", "Plant 8")

    assert done.returncode == 2
    assert "ca.crt is there already" in done.stderr
    assert (pki / "ca.key").read_bytes() == before


@needs_openssl
def test_without_an_authority(tmp_path):
    done = certify(tmp_path / "pki", "client", "consumer")

    assert done.returncode == 2
    assert "make the authority first" in done.stderr


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_the_script_is_clean():
    done = subprocess.run(["shellcheck", str(SCRIPT)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout
