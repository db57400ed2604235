"""What README and docs/ tell people to type, typed: every block that begins with ```sh.

The blocks stand here as they stand there, but for the places of a plant, the services of systemd
and a broker's port. Those of docs/cameras.md are in test_cameras.py.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from edge_agent.demo.station import BUNDLE, IMAGES
from edge_agent.settings import load_settings
from tests.broker import free_port
from tests.bundles import make_image
from tests.docs import REPO, Block, blocks, pages, replaced, typed
from tests.line import Station, at_rest, verify, wait_for

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.broker]

README = REPO / "README.md"
DOCS = REPO / "docs"
OK, SPOT = IMAGES / "04-painted.png", IMAGES / "06-cast-spot.png"
STATE = "/var/lib/edge-agent/state"
NO_SUDO = {"sudo ": ""}


def one(page: Path, section: str) -> Block:
    (block,) = blocks(page, "sh", section)
    return block


@dataclass
class Desk(Station):
    """A folder in which somebody types what the README says, and the station that comes of it."""

    port: int = 0

    def __post_init__(self) -> None:
        """Nothing is there yet but what the README takes for granted."""
        shutil.copytree(BUNDLE, self.home / "RUN/bundle")
        shutil.copyfile(OK, self.home / "part.png")
        (self.home / "deploy").symlink_to(REPO / "deploy")
        for name, module in (("edge-agent", "edge_agent"), ("trainer", "trainer")):
            command = self.home / "bin" / name
            command.parent.mkdir(exist_ok=True)
            command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
            command.chmod(0o755)

    def type(self, text: str, instead: Mapping[str, str] | None = None) -> str:
        """Type it, in one shell that stops at a mistake; what was said on stdout."""
        script = f'PATH="{self.home}/bin:$PATH"\n{replaced(text, instead or {})}'
        return typed(script, self.home, seconds=200)


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """The README's station, running; two images were judged."""
    home = tmp_path_factory.mktemp("desk")
    desk = Desk(home, BUNDLE, port=free_port())
    set_up, _, last = one_of(README, "Run it on the line PC", "edge-agent run").rpartition(
        "edge-agent run"
    )
    assert last.split("#")[0].split() == ["--config", "station.toml"]
    said = desk.type(set_up)
    assert "as the manifest says" in said
    named = {'# provider = "auto"': 'provider = "cpu"', '# variant = "auto"': 'variant = "fp32"'}
    one_each = {"# workers = 0": "workers = 1", "# threads = 0": "threads = 1"}
    text = replaced(desk.config.read_text(), {**named, **one_each})  # nothing is left to measure
    desk.config.write_text(f"{text}[http]\nport = {desk.port}\n")
    desk.start()
    desk.drop("first.png", OK.read_bytes())
    desk.drop("second.png", SPOT.read_bytes())
    at_rest(desk, 2)
    yield desk
    desk.kill()


def one_of(page: Path, section: str, mark: str) -> str:
    (text,) = (block.text for block in blocks(page, "sh", section) if mark in block.text)
    return text


def test_reading_the_journal_and_looking_after_the_station(desk):
    said = desk.type(one_of(README, "Run it on the line PC", "journal tail"))

    assert re.search(r"^ +1 .* ok .* first\.png$", said, re.MULTILINE)
    assert re.search(r"^inspections +\d+: \d+ ok, \d+ defect", said, re.MULTILINE)
    assert re.search(r"^ok .* part\.png ", said, re.MULTILINE)
    with (desk.home / "all.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["name"] for row in rows[:2]] == ["first.png", "second.png"]
    assert (
        "station.toml can be used" in said
    )  # the doctor; with an error it would have stopped here


def test_asking_for_its_health(desk):
    need("curl")
    said = desk.type(
        one(DOCS / "monitoring.md", "Watching a station").text, {"8471": str(desk.port)}
    )

    assert json.loads(said)["status"] == "ok"


def test_a_backup_while_it_runs(desk):
    backup, settings = desk.home / "backup", desk.home / "etc"
    backup.mkdir()
    settings.mkdir()
    (settings / "mqtt-password").write_text("secret\n")
    need("sqlite3")

    desk.type(
        one(DOCS / "install.md", "Backup").text,
        {
            **NO_SUDO,
            STATE: str(desk.state),
            "/backup": str(backup),
            "/etc/edge-agent": str(settings),
        },
    )

    assert (backup / "etc/mqtt-password").exists()
    with closing(sqlite3.connect(backup / "journal.db")) as db:
        (names,) = zip(*db.execute("SELECT name FROM inspections LIMIT 2"), strict=True)
    assert names == ("first.png", "second.png")


def test_another_bundle_signed_and_swapped_while_the_line_runs(desk):
    page = DOCS / "bundles.md"
    said = desk.type(one(page, "Sign it").text)
    (printed,) = {word for word in said.split() if word.startswith("ed25519:")}
    (trust,) = (b.text for b in blocks(page, "toml", "Sign it"))
    trust = trust.replace(re.search('ed25519:[^"]+', trust)[0], printed)
    desk.config.write_text(replaced(desk.config.read_text(), {"[trust]\n": trust}))
    shelf = desk.home / "bundles"
    shelf.mkdir()
    before = desk.log.count("reloaded: ")

    desk.type(
        one(page, "Swap it while the line runs").text,
        {
            "/media/usb/bundle": f"{desk.home}/RUN/bundle",
            "/srv/bundles": str(shelf),
            "systemctl reload edge-agent": f"kill -HUP {desk.daemon.pid}",
        },
    )

    wait_for(lambda: desk.log.count("reloaded: ") > before, 120)
    settings = load_settings(desk.config)
    assert settings.bundle == shelf / "brackets-1.4.0"
    assert settings.trust.require_signature
    assert "signed by vision" in desk.type("edge-agent bundle verify --config station.toml")
    count = len(desk.rows())
    desk.drop("after.png", SPOT.read_bytes())
    at_rest(desk, count + 1)
    assert desk.rows()[-1]["verdict"] == "defect"


def test_the_doctor(desk):
    page = DOCS / "troubleshooting.md"

    installed = "sudo -u edge-agent /opt/edge-agent/current/bin/edge-agent"
    said = desk.type(
        one(page, "When something is wrong").text,
        {installed: "edge-agent", "/etc/edge-agent/": ""},
    )

    assert "station.toml can be used" in said


def test_a_folder_that_lies_elsewhere_on_purpose_is_accepted(desk):
    note = desk.state / "mounts.json"
    wait_for(note.exists)
    before = note.stat().st_ino

    desk.type(
        one(DOCS / "troubleshooting.md", "A share is not mounted").text,
        {"sudo ": "", STATE: str(desk.state)},
    )

    wait_for(lambda: not note.exists() or note.stat().st_ino != before)


def test_an_image_without_an_inspection_gets_one(desk):
    assert desk.stop() == 0
    count = len(desk.rows())
    (desk.state / "processed" / "orphan.png").write_bytes(OK.read_bytes() + b"orphan")
    installed = "sudo -u edge-agent /opt/edge-agent/current/bin/edge-agent"

    said = desk.type(
        one(DOCS / "troubleshooting.md", "Inspections are missing").text,
        {
            "systemctl stop edge-agent\n": "",
            "systemctl start edge-agent\n": "",
            installed: "edge-agent",
            "/etc/edge-agent/": "",
        },
    )

    assert "recovered     1 of 1 images" in said
    desk.start()
    at_rest(desk, count + 1)
    assert desk.rows()[-1]["verdict"] == "error"
    assert desk.rows()[-1]["reason"].startswith("recovered: ")


def test_a_damaged_journal_is_saved_as_far_as_it_goes(desk):
    need("sqlite3")
    page, journal = DOCS / "troubleshooting.md", desk.state / "journal.db"
    before = [(row["sequence"], row["id"]) for row in desk.rows()]
    assert desk.stop() == 0
    with closing(sqlite3.connect(journal)) as db:
        (root,) = db.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'inspections_completed'"
        ).fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with journal.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)
    refused = desk.start(wait=False).daemon.wait(60)
    assert refused == 2, desk.log

    desk.type(
        one(page, "The journal is damaged").text,
        {
            "systemctl stop edge-agent\n": "",
            "systemctl start edge-agent\n": "",
            STATE: str(desk.state),
            "chown edge-agent: ": "true ",
        },
    )

    desk.start()
    desk.drop("later.png", OK.read_bytes())
    at_rest(desk, len(before) + 1)
    rows = desk.rows()
    assert [(row["sequence"], row["id"]) for row in rows[:-1]] == before
    assert rows[-1]["sequence"] == len(rows)
    assert verify(desk, len(rows)).wrong == []


def test_a_backup_that_is_put_back_gives_no_number_twice(desk):
    need("sqlite3")
    page, backup = DOCS / "install.md", desk.home / "yesterday"
    backup.mkdir()
    saved = len(desk.rows())
    desk.type(f"sqlite3 {desk.state}/journal.db \".backup '{backup}/journal.db'\"")
    desk.drop("since.png", OK.read_bytes())
    at_rest(desk, saved + 1)
    given = desk.rows()[-1]["sequence"]
    desk.kill()  # it leaves a write-ahead log

    desk.type(
        one(page, "Put a backup back").text,
        {
            "systemctl stop edge-agent\n": "",
            "systemctl start edge-agent\n": "",
            STATE: str(desk.state),
            "/backup": str(backup),
            "chown edge-agent: ": "true ",
        },
    )

    desk.start()
    desk.drop("restored.png", SPOT.read_bytes())
    at_rest(desk, saved + 1)
    rows = desk.rows()
    assert [row["name"] for row in rows[-2:]] != ["since.png", "restored.png"]
    assert rows[-1]["name"] == "restored.png"
    assert rows[-1]["sequence"] > given


def test_mqtt_tried_out(make_station, broker, tmp_path):
    need("mosquitto_rr")
    page, section = DOCS / "mqtt.md", "Try it"
    (toml,) = (block.text for block in blocks(page, "toml", section))
    settings = replaced(toml, {"[mqtt]\n": f"[mqtt]\nport = {broker.port}\n"})
    commands = one(page, section).text
    port = rf"\g<0>-p {broker.port} "
    script, count = re.subn(r"^mosquitto_\w+ ", port, commands, flags=re.MULTILINE)
    assert count == commands.count("mosquitto_")
    (tmp_path / "part.png").write_bytes(make_image(defect=True))
    station = make_station(source=settings).start()
    for client in ("edge-agent-site-line-station", "edge-agent-site-line-station-source"):
        wait_for(lambda c=client: f"SUBACK to {c}\n" in broker.log())
    said = typed(script, tmp_path, seconds=120)
    answer, pause, resume, *two, replay, last, more = map(json.loads, said.splitlines())
    assert (answer["verdict"], answer["image"]["name"]) == ("defect", "top-7")
    assert (pause["detail"], resume["detail"]) == ({"paused": True}, {"paused": False})
    first, second = two
    assert first == answer
    assert (second["image"]["name"], second["captured"]) == (
        "part 8.png",
        "2026-11-24T08:00:00.000Z",
    )
    assert replay["detail"]["messages"] == 2
    # mosquitto_sub may leave before its last PUBACK is out: that message comes first, once more.
    assert sorted((last, more), key=lambda one: one["sequence"]) == two
    assert station.stop() == 0


def test_no_block_is_left_out():
    """Whoever writes a block that is to be run adds it here, and runs it above."""
    found = {
        (b.page.relative_to(REPO).as_posix(), b.section) for p in pages() for b in blocks(p, "sh")
    }

    assert found == {
        ("README.md", "Run it on the line PC"),
        ("docs/bundles.md", "Sign it"),
        ("docs/bundles.md", "Swap it while the line runs"),
        ("docs/cameras.md", "A Windows share (SMB)"),
        ("docs/cameras.md", "FTP"),
        ("docs/install.md", "Backup"),
        ("docs/install.md", "Put a backup back"),
        ("docs/monitoring.md", "Watching a station"),
        ("docs/mqtt.md", "Try it"),
        ("docs/troubleshooting.md", "A share is not mounted"),
        ("docs/troubleshooting.md", "Inspections are missing"),
        ("docs/troubleshooting.md", "The journal is damaged"),
        ("docs/troubleshooting.md", "When something is wrong"),
    }


def need(tool: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed: make test installs it")
