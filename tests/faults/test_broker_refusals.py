"""Row 8: a broker that does not let the station in, or not say something. Kept, told, caught up.

Each refusal is mended without touching the daemon: files that were exchanged are read again.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tests.authority import OPENSSL, Authority
from tests.broker import Broker, free_port
from tests.bundles import make_image
from tests.line import Station, at_rest, health, verify, wait_for
from tests.wiretap import Wiretap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.subscriber import Subscriber

pytestmark = [
    pytest.mark.slow,
    pytest.mark.broker,
    pytest.mark.skipif(OPENSSL is None, reason="the openssl command is not installed"),
]

BASE = "inspection/site/line/station"
PASSWORD = "secret of the plant"
ALL = f"user camera\ntopic readwrite {BASE}/#\n"
READER = "user reader\ntopic read #\n"


@dataclass
class Plant:
    """An authority, a broker with TLS, passwords and an access list, and a wire that is tapped."""

    home: Path
    authority: Authority
    broker: Broker
    subscribe: Callable[..., Subscriber]
    make_station: Callable[..., Station]
    stack: ExitStack
    more: str = ""
    """Lines for the broker's listener with TLS."""
    beside: int = field(default_factory=free_port)
    """Where the broker listens without TLS, for who only reads here."""

    def __post_init__(self) -> None:
        self.certify(days=200)
        self.allow(ALL)
        for user, word in (("camera", PASSWORD), ("reader", "reader")):
            self.password(user, word)

    def certify(self, *, days: float) -> None:
        """The broker's certificate, from its next start on."""
        made = self.authority.issue(f"broker{days}", days=days)
        directory = self.broker.directory
        self.broker.settings = (
            f"cafile {self.authority.cert}\ncertfile {made.cert}\nkeyfile {made.key}\n"
            f"allow_anonymous false\npassword_file {directory}/passwords\n"
            f"acl_file {directory}/acl\n{self.more}listener {self.beside} 127.0.0.1\n"
        )

    def allow(self, rights: str) -> None:
        file = self.broker.directory / "acl"
        file.write_text(rights + READER)
        file.chmod(0o600)

    def password(self, user: str, word: str) -> None:
        file = self.broker.directory / "passwords"
        flags = ["-b"] if file.exists() else ["-b", "-c"]
        subprocess.run(["mosquitto_passwd", *flags, str(file), user, word], check=True)

    def start(self) -> None:
        """Start the broker; both of its listeners are there."""
        self.broker.start()

        def listens() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.beside)) == 0

        wait_for(listens)

    def reader(self) -> Subscriber:
        return self.subscribe(self.beside, "inspection/#", username="reader", password="reader")

    def station(self, **mqtt: str) -> Line:
        """A station whose wire to the broker is tapped; ``mqtt`` changes its settings."""
        tap = Wiretap(self.broker.port)
        self.stack.callback(tap.close)
        secret = self.home / "password"
        secret.write_text(PASSWORD + "\n")
        secret.chmod(0o600)
        ca = self.home / "ca.crt"
        shutil.copyfile(self.authority.cert, ca)
        said = {
            "host": "127.0.0.1",
            "username": "camera",
            "password_file": str(secret),
            "ca_file": str(ca),
            **mqtt,
        }
        lines = "".join(f'{key} = "{value}"\n' for key, value in said.items())
        page = free_port()
        settings = f"[mqtt]\nport = {tap.port}\ntls = true\n{lines}[http]\nport = {page}\n"
        return Line(self.make_station(settings), page, tap)


@dataclass
class Line:
    """A station under test."""

    station: Station
    page: int
    tap: Wiretap

    def inspect(self, count: int, *, defect: bool = False) -> None:
        """Drop so many images more, and wait for their inspections."""
        before = len(self.station.rows())
        for number in range(before, before + count):
            self.station.drop(f"part-{number}.png", make_image(defect=defect, seed=number))
        at_rest(self.station, before + count)

    def told(self, reason: str, kept: int) -> dict[str, Any]:
        """Wait until the page says why, and how many messages are kept."""

        def said() -> bool:
            now = health(self.page)
            return now["outbox"] == kept and reason in " ".join(now["reasons"])

        try:
            wait_for(said, pause=0.1)
        except AssertionError:
            raise AssertionError((health(self.page), self.station.log)) from None
        now = health(self.page)
        assert now["status"] == "degraded"  # images are judged all the same
        assert reason in self.station.log
        return now

    def caught_up(self, subscriber: Subscriber, count: int) -> None:
        """Wait until it was mended: nothing is kept, all was delivered, once, and none is wrong."""
        wait_for(lambda: health(self.page)["outbox"] == 0, 90, pause=0.1)
        wait_for(lambda: health(self.page)["status"] == "ok", pause=0.1)
        subscriber.wait(lambda _: len(subscriber.received("/verdict")) >= count, 60)
        assert self.station.stop() == 0
        found = verify(self.station, count, subscriber)
        assert (found.wrong, found.published, found.repeats) == ([], count, 0)
        assert PASSWORD not in self.station.log
        self.nothing_in_plain_text()

    def nothing_in_plain_text(self) -> None:
        heard = self.tap.heard
        assert heard
        for word in (b"inspection", b"part-", b"verdict", b"camera", PASSWORD.encode()):
            assert word not in heard


@pytest.fixture
def plant(tmp_path, make_broker, subscribe, make_station) -> Iterator[Plant]:
    with ExitStack() as stack:
        home = tmp_path / "plant"
        home.mkdir()
        authority = Authority(home / "authority").create()
        yield Plant(home, authority, make_broker(), subscribe, make_station, stack)


def test_over_tls_nothing_is_in_plain_text(plant):
    plant.start()
    reader = plant.reader()
    line = plant.station()
    line.station.start()
    line.inspect(3)

    line.caught_up(reader, 3)


def test_and_without_tls_everything_is(plant):
    # What the others look for can be found.
    plant.broker.settings = ""
    plant.broker.start()
    line = plant.station()
    text = line.station.config.read_text().replace("tls = true\n", "")
    text = "\n".join(row for row in text.splitlines() if not row.startswith("ca_file"))
    line.station.config.write_text(text)
    line.station.start()
    line.inspect(1)
    wait_for(lambda: health(line.page)["outbox"] == 0)

    with pytest.raises(AssertionError):
        line.nothing_in_plain_text()
    assert PASSWORD.encode() in line.tap.heard


def test_a_broker_of_another_authority(plant):
    plant.start()
    reader = plant.reader()
    line = plant.station()
    other = Authority(plant.home / "other").create()
    trusted = plant.home / "ca.crt"
    shutil.copyfile(other.cert, trusted)
    line.station.start()
    line.inspect(3)

    line.told("is not trusted: ", kept=3)
    assert reader.received() == []
    line.nothing_in_plain_text()  # nor was the password given to it
    shutil.copyfile(plant.authority.cert, trusted)

    line.caught_up(reader, 3)


def test_a_broker_whose_certificate_has_expired(plant):
    plant.start()
    reader = plant.reader()
    plant.broker.stop()
    plant.certify(days=-1)
    plant.start()
    line = plant.station()
    line.station.start()
    line.inspect(3)

    line.told("is not trusted: certificate has expired", kept=3)
    plant.broker.stop()
    plant.certify(days=200)
    plant.start()

    line.caught_up(reader, 3)


def test_a_station_whose_certificate_has_expired(plant):
    plant.more = "require_certificate true\n"
    plant.certify(days=200)
    plant.start()
    reader = plant.reader()
    own = plant.home / "own"
    old = plant.authority.issue("station-old", days=-1)
    files = {"cert_file": own.with_suffix(".crt"), "key_file": own.with_suffix(".key")}
    shutil.copyfile(old.cert, files["cert_file"])
    shutil.copyfile(old.key, files["key_file"])
    files["key_file"].chmod(0o600)
    line = plant.station(**{key: str(file) for key, file in files.items()})
    line.station.start()
    line.inspect(3)
    line.told("certificate", kept=3)

    new = plant.authority.issue("station-new")
    shutil.copyfile(new.cert, files["cert_file"])
    shutil.copyfile(new.key, files["key_file"])

    line.caught_up(reader, 3)


def test_a_wrong_password(plant):
    plant.start()
    reader = plant.reader()
    line = plant.station()
    (plant.home / "password").write_text("not the password\n")
    line.station.start()
    line.inspect(3)

    line.told("check user name, password and the broker's access list", kept=3)
    assert reader.received() == []
    (plant.home / "password").write_text(PASSWORD + "\n")

    line.caught_up(reader, 3)
    assert "not the password" not in line.station.log


def test_a_password_that_everyone_can_read(plant):
    plant.start()
    reader = plant.reader()
    line = plant.station()
    secret = plant.home / "password"
    secret.chmod(0o644)
    command = [sys.executable, "-m", "edge_agent", "run", "--config", str(line.station.config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert f"{secret} can't be used: everyone on this machine can read or change it" in done.stderr
    assert "Traceback" not in done.stderr
    secret.chmod(0o600)
    plant.broker.stop()
    line.station.start()

    secret.chmod(0o644)  # while it runs: no reason to stop inspecting
    line.inspect(3)
    plant.start()
    line.told(f"chmod o= {secret}", kept=3)
    secret.chmod(0o600)

    line.caught_up(reader, 3)


def test_a_denial_by_the_access_list(plant):
    plant.allow(f"user camera\ntopic write {BASE}/status\ntopic write {BASE}/verdict\n")
    plant.start()
    reader = plant.reader()
    line = plant.station()
    line.station.start()
    line.inspect(1)
    line.inspect(2, defect=True)

    line.told(f"refuses messages on {BASE}/defect: this station is not allowed", kept=2)
    assert reader.received("/defect") == []
    plant.allow(ALL)
    plant.broker.reload()

    line.caught_up(reader, 3)
    assert len(reader.received("/defect")) == 2
