"""A whole line, seen from the outside: camera, daemon, broker, consumer; and what must always hold.

Also a command: ``python -m tests.line --bundle B --images D [--kills 10] [--scores FILE]`` runs
every image of a data set through the daemon, killing it on the way, and checks that nothing is
lost.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from edge_agent.system.text import iso_utc, printable
from tests.broker import Broker
from tests.subscriber import Subscriber

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

# Nothing to be measured first.
FIXED = '[runtime]\nprovider = "cpu"\nvariant = "fp32"\nworkers = 1\nthreads = 1\n'
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pnm"}


@dataclass
class Station:
    """A station in a directory of its own, its daemon a real process."""

    home: Path
    bundle: Path
    settings: str = ""
    """More lines for ``station.toml``."""
    after: str = "move"
    source: str | None = None
    """Lines in the place of ``[source.folder]``."""
    daemon: subprocess.Popen[bytes] | None = None
    port: int = 0
    """Where its page is, for tests that ask it."""
    launched: str = ""
    """When it was started last, as its ``status`` says times."""

    def __post_init__(self) -> None:
        self.inbox.mkdir(parents=True, exist_ok=True)
        folder = f'[source.folder]\npath = "inbox"\nafter = "{self.after}"\n'
        self.config.write_text(
            f'bundle = "{self.bundle.resolve()}"\n{self.source or folder}\n'
            f'[storage]\nroot = "state"\n{self.settings}\n'
            + ("" if "[runtime]" in self.settings else FIXED)
        )

    @property
    def inbox(self) -> Path:
        return self.home / "inbox"

    @property
    def aside(self) -> Path:
        """Where a camera writes what it renames in: on the folder's filesystem."""
        return self.inbox if os.path.ismount(self.inbox) else self.home

    @property
    def state(self) -> Path:
        return self.home / "state"

    @property
    def config(self) -> Path:
        return self.home / "station.toml"

    @property
    def log(self) -> str:
        file = self.home / "agent.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def start(self, *, wait: bool = True, under: Sequence[str] = ()) -> Station:
        """Start the daemon, as an argument of the command ``under``; wait until it says ready."""
        said = self.log.count("ready: ")
        self.launched = iso_utc(time.time())
        with (self.home / "agent.log").open("ab") as log:
            self.daemon = subprocess.Popen(
                [*under, sys.executable, "-m", "edge_agent", "run", "--config", str(self.config)],
                stdout=log,
                stderr=log,
            )
        if wait:
            wait_for(lambda: self.log.count("ready: ") > said or self.daemon.poll() is not None)
            assert self.daemon.poll() is None, self.log
        return self

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """SIGKILL, at whatever it is doing."""
        return self._end(signal.SIGKILL)

    def drop(self, name: str | bytes, content: bytes) -> None:
        """As a careful camera does: written aside, then renamed in."""
        partial = self.aside / ".dropping"
        partial.write_bytes(content)
        partial.rename(self.inbox / (name if isinstance(name, str) else name.decode()))

    def rows(self) -> list[dict[str, Any]]:
        """The journal, read-only, in sequence."""
        file = self.state / "journal.db"
        if not file.exists():
            return []
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)) as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute("SELECT * FROM inspections ORDER BY sequence")]

    def last_sequence(self) -> int:
        """How many inspections there are; 0 also where there is no journal yet."""
        try:
            with closing(
                sqlite3.connect(f"file:{self.state / 'journal.db'}?mode=ro", uri=True, timeout=10)
            ) as db:
                return int(db.execute("SELECT max(sequence) FROM inspections").fetchone()[0] or 0)
        except sqlite3.OperationalError:
            return 0

    def claimed(self) -> list[Path]:
        """What it has taken and not filed yet, wherever it keeps that."""
        found: list[Path] = []
        for place in (self.state / "work", *self.inbox.glob(".edge-agent-*")):
            with suppress(FileNotFoundError):
                found += (path for path in place.iterdir() if not path.name.startswith("."))
        return found

    def filed(self, where: str = "processed") -> list[Path]:
        directory = self.state / where
        return [
            p
            for p in (directory.iterdir() if directory.exists() else ())
            if not p.name.endswith(".reason.json")
        ]

    def _end(self, number: signal.Signals) -> int:
        assert self.daemon is not None
        if self.daemon.poll() is None:
            self.daemon.send_signal(number)
        return self.daemon.wait(30)


@dataclass
class Verified:
    """What the invariants said."""

    inspections: int
    processed: int
    quarantined: int
    published: int
    repeats: int
    wrong: list[str] = field(default_factory=list)


def verify(
    station: Station, offered: int | Collection[bytes], subscriber: Subscriber | None = None
) -> Verified:
    """Hold a station that has come to rest to the invariants I1 to I4.

    I1 every image ends in processed or quarantine, its bytes unchanged; I2 exactly one inspection
    each; I3 the subscriber has every id of the journal and no other, repeats byte-identical; I4
    the database is whole.

    ``offered``: how many images, each under a name of its own; or what was in them, under
    whatever names, so that the bytes are compared too.
    """
    rows = station.rows()
    filed = station.filed() + station.filed("quarantine")
    processed, quarantined = len(station.filed()), len(station.filed("quarantine"))
    wrong = []
    count = offered if isinstance(offered, int) else len(offered)
    if len(rows) != count:
        wrong.append(f"I2: {count} images, {len(rows)} inspections")
    if station.after == "move" and processed + quarantined != count:
        wrong.append(f"I1: {count} images, {processed} processed + {quarantined} quarantined")
    if isinstance(offered, int):
        names = Counter(row["name"] for row in rows)
        doubled = [name for name, times in names.items() if times > 1]
    else:
        contents = Counter(sha256(content).hexdigest() for content in offered)
        judged = Counter(row["sha256"] for row in rows if row["sha256"])
        doubled = list(judged - contents)
        found = Counter(sha256(path.read_bytes()).hexdigest() for path in filed)
        if station.after == "move" and found != contents:
            wrong.append(
                f"I1: bytes lost {contents - found}, bytes nobody offered {found - contents}"
            )
    if doubled:
        wrong.append(f"I2: judged twice, or never offered: {doubled[:5]}")
    left = [path.name for path in station.claimed()]
    if left:
        wrong.append(f"I1: taken and not filed: {left[:5]}")
    if [row["sequence"] for row in rows] != list(range(1, len(rows) + 1)):
        wrong.append("the sequence has gaps")
    with closing(sqlite3.connect(f"file:{station.state / 'journal.db'}?mode=ro", uri=True)) as db:
        (integrity,) = db.execute("PRAGMA integrity_check").fetchone()
    if integrity != "ok":
        wrong.append(f"I4: {integrity}")
    wrong += [f"I1: {row['name']} is not at {row['stored']}" for row in _misplaced(station, rows)]
    published = repeats = 0
    if subscriber is not None:
        payloads: dict[str, set[bytes]] = {}
        messages = subscriber.received("/verdict")
        for message in messages:
            payloads.setdefault(message.json()["id"], set()).add(message.payload)
        published, repeats = len(payloads), len(messages) - len(payloads)
        ids = {row["id"] for row in rows}
        if missing := ids - payloads.keys():
            wrong.append(f"I3: {len(missing)} ids never reached the subscriber")
        if unknown := payloads.keys() - ids:
            wrong.append(f"I3: {len(unknown)} ids published that the journal lacks")
        if differing := [i for i, seen in payloads.items() if len(seen) > 1]:
            wrong.append(f"I3: {len(differing)} ids repeated with other bytes")
    return Verified(len(rows), processed, quarantined, published, repeats, wrong)


def _misplaced(station: Station, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows that name a place where their image is not."""
    there = {}
    for folder in ("processed", "quarantine"):
        for path in station.filed(folder):
            there[f"{folder}/{printable(path.name, 4000)}"] = sha256(path.read_bytes()).hexdigest()
    return [
        row for row in rows if row["stored"] and row["sha256"] not in ("", there.get(row["stored"]))
    ]


@dataclass(frozen=True)
class Footprint:
    """What a daemon holds, for I5."""

    descriptors: int
    threads: int
    processes: int
    rss: int
    """Bytes, of the daemon alone."""


def footprint(station: Station) -> Footprint:
    """Of the running daemon, now."""
    assert station.daemon is not None
    daemon = psutil.Process(station.daemon.pid)
    with daemon.oneshot():
        return Footprint(
            daemon.num_fds(),
            daemon.num_threads(),
            len(daemon.children(recursive=True)),
            daemon.memory_info().rss,
        )


def online(station: Station, subscriber: Subscriber) -> None:
    """Wait until the daemon that runs now says so: before that nothing that is sent is heard."""

    def heard() -> bool:
        births = (message.json() for message in subscriber.received("/status"))
        return any(birth["online"] and birth["started"] >= station.launched for birth in births)

    subscriber.wait(lambda _: heard(), 60)


def told(station: Station, port: int, words: str, status: str = "") -> None:
    """I6: wait until ``/healthz``, with that status if it is given, and the log both say it."""

    def said() -> bool:
        answer = health(port)
        reasons = any(words in reason for reason in answer["reasons"])
        return reasons and status in ("", answer["status"])

    wait_for(said, pause=0.05)
    wait_for(lambda: words in station.log)


def health(port: int) -> dict[str, Any]:
    """What ``/healthz`` says, whatever its status."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=20) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return json.load(error)


def at_rest(station: Station, count: int, seconds: float = 60) -> None:
    """Wait until so many inspections are recorded, and every image has found its place."""
    wait_for(lambda: len(station.rows()) >= count, seconds)
    wait_for(lambda: not station.claimed())


def finish(
    station: Station, offered: int | Collection[bytes], subscriber: Subscriber | None = None
) -> Verified:
    """Let a station come to rest, stop it, and hold it to the invariants."""
    count = offered if isinstance(offered, int) else len(offered)
    at_rest(station, count, 120 + count / 10)
    if subscriber is not None:
        ids = {row["id"] for row in station.rows()}
        subscriber.wait(
            lambda got: ids <= {m.json()["id"] for m in got if m.topic.endswith("/verdict")}, 120
        )
    assert station.stop() == 0, station.log
    found = verify(station, offered, subscriber)
    assert found.wrong == []
    assert "Traceback" not in station.log
    return found


def reasons(station: Station) -> dict[str, str]:
    """Why images are in quarantine, by their names."""
    notes = (station.state / "quarantine").glob("*.reason.json")
    return {note["name"]: note["reason"] for note in (json.loads(p.read_text()) for p in notes)}


def wait_for(satisfied: Any, seconds: float = 60.0, pause: float = 0.01) -> None:
    """Wait for a condition; AssertionError if it does not come."""
    deadline = time.monotonic() + seconds
    while not satisfied():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(pause)


def find_images(folder: Path) -> list[Path]:
    """The images of a data set, masks left out."""
    return sorted(
        p
        for p in folder.rglob("*")
        if p.suffix.lower() in SUFFIXES and "_label" not in p.name and "_GT" not in p.name
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scores", type=Path, help="as trainer evaluate --scores wrote them")
    parser.add_argument("--settings", default="", help="more lines for station.toml")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    images = find_images(options.images)
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        (home / "broker").mkdir()
        broker = Broker(home / "broker").start()
        subscriber = Subscriber(broker.port, "inspection/#")
        mqtt = f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n{options.settings}'
        station = Station(home / "station", options.bundle, mqtt)
        names = {}
        for image in images:
            relative = image.relative_to(options.images).as_posix()
            names[relative.replace("/", "_")] = relative
            shutil.copyfile(image, station.inbox / relative.replace("/", "_"))
        began = time.monotonic()
        recoveries = []
        station.start()
        for _ in range(options.kills):
            done = len(station.rows())
            time.sleep(chance.uniform(0.0, 1.5))
            station.kill()
            restarted = time.monotonic()
            station.start(wait=False)
            wait_for(lambda done=done: len(station.rows()) > min(done, len(images) - 1))
            recoveries.append(time.monotonic() - restarted)
        wait_for(lambda: len(station.rows()) == len(images), 600)
        wait_for(lambda: not list((station.state / "work").iterdir()))
        seconds = time.monotonic() - began
        ids = {row["id"] for row in station.rows()}
        wait_for(
            lambda: ids <= {m.json()["id"] for m in subscriber.received("/verdict")}, pause=0.2
        )
        code = station.stop()
        found = verify(station, len(images), subscriber)
        print(json.dumps({**vars(found), "exit": code, "seconds": round(seconds, 1)}))
        if recoveries:
            recoveries.sort()
            print(
                f"{options.kills} kills (seed {options.seed}): restart to next verdict, median "
                f"{recoveries[len(recoveries) // 2]:.2f} s, max {recoveries[-1]:.2f} s"
            )
        if options.scores:
            with options.scores.open(newline="") as stream:
                expected = {row["image"]: float(row["score"]) for row in csv.DictReader(stream)}
            worst = max(abs(row["score"] - expected[names[row["name"]]]) for row in station.rows())
            print(f"largest difference to {options.scores}: {worst:.2e}")
            if worst > 1e-4:
                found.wrong.append(f"scores differ by up to {worst}")
        subscriber.close()
        broker.stop()
    return 1 if found.wrong or code else 0


if __name__ == "__main__":
    sys.exit(main())
