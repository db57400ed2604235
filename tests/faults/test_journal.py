"""Rows 28 and 29: the journal is damaged after a kill, locked by another program, or over quota."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from tests.broker import free_port
from tests.bundles import make_image
from tests.damage import damaged_once
from tests.injected import CHANGES, attached, launched, needs_strace
from tests.line import at_rest, finish, health, told, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from tests.line import Station
    from tests.subscriber import Subscriber

pytestmark = [pytest.mark.slow, pytest.mark.broker]

AT_ONCE = "[worker]\nretry_truncated = 0.0\n"
_FRAME, _HEADER = 24 + 4096, 32


# -- 28: damaged -------------------------------------------------------------------------------


def flip(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


def middle(wal: Path) -> int:
    frames = (wal.stat().st_size - _HEADER) // _FRAME
    return _HEADER + frames // 2 * _FRAME + 1000


def emptied(state: Path) -> None:
    """As a person does who wants the refusal to go away."""
    for name in ("journal.db-wal", "journal.db-shm"):
        (state / name).unlink()
    os.truncate(state / "journal.db", 0)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a bit in the middle of the log": lambda s: flip(
        s / "journal.db-wal", middle(s / "journal.db-wal")
    ),
    "its first frame": lambda s: flip(s / "journal.db-wal", _HEADER + 40),
    "its header": lambda s: flip(s / "journal.db-wal", 9),
    "the log is cut": lambda s: os.truncate(s / "journal.db-wal", middle(s / "journal.db-wal")),
    "the log is removed": lambda s: (s / "journal.db-wal").unlink(),
    "all is moved away": lambda s: [file.unlink() for file in s.glob("journal.db*")],
    "an empty database": emptied,
}


def on(broker, port: int) -> str:
    mqtt = f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n'
    return AT_ONCE + mqtt + f"[http]\nport = {port}\n"


def published(subscriber: Subscriber) -> dict[int, set[str]]:
    """What a subscriber knows: the ids of each number."""
    found: dict[int, set[str]] = {}
    for message in subscriber.received("/verdict"):
        said = message.json()
        found.setdefault(said["sequence"], set()).add(said["id"])
    return found


def repaired(station: Station) -> str:
    """What ``journal repair`` prints."""
    done = journal("repair", station)
    assert done.returncode == 0, done.stderr
    return done.stdout


def journal(verb: str, station: Station) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edge_agent", "journal", verb, "--config", str(station.config)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_a_damaged_journal_is_said_and_no_number_is_given_twice(make_station, broker, subscribe):
    subscriber, port = subscribe(broker.port, "inspection/#"), free_port()
    station = make_station(on(broker, port)).start()
    for number in range(30):
        station.drop(f"{number}.png", make_image(defect=False, seed=number))
    at_rest(station, 30)
    wait_for(lambda: len(published(subscriber)) == 30)
    station.kill()
    kept = station.home / "kept"
    shutil.copytree(station.state, kept)
    for number, (what, damage) in enumerate(DAMAGES.items(), 100):
        shutil.rmtree(station.state)
        shutil.copytree(kept, station.state)
        # The mark is what a station has of its own; this one is the same station again and again.
        if number > 100:
            shutil.copyfile(station.home / "mark", station.state / "journal.mark")
        damage(station.state)
        before = published(subscriber)

        station.start()

        station.drop(f"{number}.png", make_image(defect=False, seed=number))
        wait_for(lambda before=before: published(subscriber).keys() - before.keys())
        assert all(len(ids) == 1 for ids in published(subscriber).values()), what
        told(station, port, "journal.db", status="degraded")
        refused = journal("repair", station)
        assert refused.returncode == 2
        assert "in use by another edge-agent" in refused.stderr
        wait_for(lambda: not list((station.state / "work").iterdir()))
        station.kill()
        shutil.copyfile(station.state / "journal.mark", station.home / "mark")
    station.start()  # it is said until a person has acknowledged it
    assert any("journal.db" in reason for reason in health(port)["reasons"])
    assert station.stop() == 0

    assert "recovered     30 of 30 images" in repaired(station)

    assert "recovered     0 of 0 images" in repaired(station)
    station.start()
    wait_for(lambda: health(port)["status"] == "ok")
    rows = station.rows()
    assert len(rows) == 31
    recovered = [row for row in rows if row["reason"].startswith("recovered: ")]
    assert len(recovered) == 30
    assert all(row["verdict"] == "error" and row["score"] is None for row in recovered)
    files = station.filed() + station.filed("quarantine")
    assert sorted(row["sha256"] for row in rows) == sorted(
        sha256(file.read_bytes()).hexdigest() for file in files
    )
    ids = {row["id"] for row in recovered}
    wait_for(lambda: ids <= set().union(*published(subscriber).values()))
    assert station.stop() == 0
    assert "Traceback" not in station.log


def test_images_in_work_without_a_row_are_judged_again(make_station):
    port = free_port()
    station = make_station(AT_ONCE + f"[http]\nport = {port}\n").start()
    for number in range(5):
        station.drop(f"{number}.png", make_image(defect=False, seed=number))
    at_rest(station, 5)
    station.kill()
    home = station.state / "work" / ("0" * 24)
    home.mkdir(parents=True)
    (station.state / "processed" / "3.png").rename(home / "3.png")
    (station.state / "journal.db-wal").unlink()

    station.start()

    wait_for((station.state / "processed" / "3.png").exists)
    assert health(port)["status"] == "degraded"
    assert station.stop() == 0
    assert "recovered     4 of 4 images" in repaired(station)
    assert [row["verdict"] for row in station.rows()].count("ok") == 1


def test_a_row_that_can_not_be_read_is_named_by_every_command(make_station):
    station = make_station(AT_ONCE).start()
    for number in range(3):
        station.drop(f"{number}.png", make_image(defect=False, seed=number))
    at_rest(station, 3)
    with closing(sqlite3.connect(station.state / "journal.db", timeout=20)) as db:
        db.execute("UPDATE inspections SET verdict = 'oj' WHERE sequence = 2")
        db.commit()
    for verb in ("tail", "export", "stats"):
        done = journal(verb, station)
        assert done.returncode == 0, done.stderr
        assert "verdict is 'oj'" in done.stdout, verb
        assert "Traceback" not in done.stderr
    assert station.stop() == 0
    station.start()
    station.drop("3.png", make_image(defect=False, seed=3))
    at_rest(station, 4)
    assert station.stop() == 0


@pytest.mark.parametrize(
    ("first", "count"),
    [(0, 10), pytest.param(1000, 200, marks=[pytest.mark.faults, pytest.mark.timeout(3600)])],
)
def test_random_damages_are_never_silent_and_give_no_number_twice(tmp_path, first, count):
    wrong = [damaged_once(tmp_path / str(n), n) for n in range(first, first + count)]
    assert [one for one in wrong if one] == []


# -- repair is killed --------------------------------------------------------------------------


class Repairs:
    """``journal repair`` of the same state, killed at the N-th call of a name, then run again."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self.points: dict[str, int] = {}
        self._kept = station.home / "kept"
        station.start()
        for number in range(6):
            made = make_image(defect=False, seed=number) if number % 3 else b"words %d" % number
            station.drop(f"{number}.png", made)
        at_rest(station, 6)
        assert station.stop() == 0
        for file in station.state.glob("journal.db*"):
            file.unlink()
        shutil.copytree(station.state, self._kept)
        self._contents = self._bytes()

    def sweep(self, call: str, numbers: Iterable[int]) -> None:
        """Until it is not killed any more."""
        for number in numbers:
            shutil.rmtree(self._station.state)
            shutil.copytree(self._kept, self._station.state)
            command = [sys.executable, "-m", "edge_agent", "journal", "repair", "--config"]
            done = subprocess.run(
                [*launched(f"{call}:signal=KILL:when={number}"), *command,
                 str(self._station.config)],
                capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
            if done.returncode == 0:
                return
            assert done.returncode == -signal.SIGKILL, done.stderr
            self.points[call] = self.points.get(call, 0) + 1
            repaired(self._station)
            self._verify(f"{call} {number}")

    def _bytes(self) -> list[str]:
        files = self._station.filed() + self._station.filed("quarantine")
        return sorted(sha256(file.read_bytes()).hexdigest() for file in files)

    def _verify(self, where: str) -> None:
        rows = self._station.rows()
        assert self._bytes() == self._contents, where
        assert sorted(row["sha256"] for row in rows) == self._contents, where
        assert all(row["reason"].startswith("recovered: ") for row in rows), where
        assert min(row["sequence"] for row in rows) > 6, where
        names = {path.name for path in self._station.filed("quarantine")}
        notes = {p.name for p in (self._station.state / "quarantine").glob("*.reason.json")}
        assert notes == {f"{name}.reason.json" for name in names}, where
        with closing(sqlite3.connect(self._station.state / "journal.db")) as db:
            sent = [json.loads(row[0]) for row in db.execute("SELECT payload FROM outbox")]
            left = db.execute("SELECT what FROM losses WHERE acknowledged IS NULL").fetchall()
        assert {one["id"] for one in sent} == {row["id"] for row in rows}, where
        assert left == [], where


@needs_strace
def test_repair_killed_at_some_calls_is_done_by_the_next(make_station):
    repairs = Repairs(make_station(AT_ONCE))
    repairs.sweep("rename", [1, 3])
    repairs.sweep("fsync", [3])
    repairs.sweep("fdatasync", [2])
    repairs.sweep("pwrite64", [20])
    print(repairs.points)
    assert sum(repairs.points.values()) >= 4


@needs_strace
@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_repair_killed_at_every_call_is_done_by_the_next(make_station, capsys):
    repairs = Repairs(make_station(AT_ONCE))
    for call in CHANGES:
        repairs.sweep(call, itertools.count(1))
    with capsys.disabled():
        print(json.dumps(repairs.points))
    assert sum(repairs.points.values()) > 20


# -- 29: locked, over quota --------------------------------------------------------------------


def test_another_programs_lock_is_waited_for(make_station, broker, subscribe):
    subscriber, port = subscribe(broker.port, "inspection/#"), free_port()
    station = make_station(on(broker, port)).start()
    made = [make_image(defect=False, seed=number) for number in range(6)]
    station.drop("0.png", made[0])
    at_rest(station, 1)
    with closing(sqlite3.connect(station.state / "journal.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for number in range(1, 6):
            station.drop(f"{number}.png", made[number])
        told(station, port, "another program keeps", status="failing")
        # Longer than one try takes.
        wait_for(lambda: health(port)["last_inspection_age"] > 5, pause=0.2)
        assert station.daemon.poll() is None, station.log
        other.execute("ROLLBACK")
    at_rest(station, 6)
    wait_for(lambda: health(port)["status"] == "ok")
    finish(station, made, subscriber)


def test_another_programs_lock_is_waited_for_at_the_start(make_station):
    port = free_port()
    station = make_station(AT_ONCE + f"[http]\nport = {port}\n").start()
    station.drop("0.png", make_image(defect=False))
    at_rest(station, 1)
    assert station.stop() == 0
    with closing(sqlite3.connect(station.state / "journal.db", isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("UPDATE meta SET value = value WHERE key = 'sequence'")
        other.execute("COMMIT")
        station.start(wait=False)
        told_at_start = "waiting: another program keeps"

        def said() -> bool:
            assert station.daemon.poll() is None, station.log
            try:
                return any(told_at_start in reason for reason in health(port)["reasons"])
            except OSError:
                return False

        wait_for(said, pause=0.1)
    wait_for(lambda: health(port)["status"] == "ok", pause=0.1)
    station.drop("1.png", make_image(defect=False, seed=1))
    finish(station, 2)


@needs_strace
def test_a_quota_is_waited_for_and_said(make_station, broker, subscribe, tmp_path):
    subscriber, port = subscribe(broker.port, "inspection/#"), free_port()
    station = make_station(on(broker, port)).start()
    made = [make_image(defect=False, seed=number) for number in range(6)]
    station.drop("0.png", made[0])
    at_rest(station, 1)
    wait_for(lambda: health(port)["outbox"] == 0)
    with attached([station.daemon.pid], "pwrite64:error=EDQUOT", tmp_path / "strace"):
        for number in range(1, 6):
            station.drop(f"{number}.png", made[number])
        told(station, port, "quota", status="failing")
        assert len(station.rows()) == 1
        assert len(published(subscriber)) == 1
    wait_for(lambda: len(station.rows()) == 6 or station.daemon.poll() is not None)
    if station.daemon.poll() is not None:
        # The quota was raised between a write and the look at why it failed: an I/O error then.
        assert "(`dmesg`)" in station.log
        station.start()
    at_rest(station, 6)
    wait_for(lambda: health(port)["status"] == "ok")
    finish(station, made, subscriber)
