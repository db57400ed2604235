"""Killed while another bundle takes over: the next start judges with one of them, and says which.

At a start, at a reload and at a command; at calls that note which bundle runs, and in the sweep at
every call that changes the disk.
"""

from __future__ import annotations

import itertools
import json
import signal
import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.bundles import make_image
from tests.faults.test_bundle_swap import write, write_half
from tests.injected import CHANGES, attached, launched, needs_strace
from tests.integration.test_bundle_command import BASE
from tests.line import Station, at_rest, finish, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from tests.broker import Broker
    from tests.subscriber import Subscriber

pytestmark = [pytest.mark.slow, pytest.mark.broker, needs_strace]

SCORES = {"1.0.0": 1.0, "1.1.0": 2 / 3}
"""Of a defect, by the version that judges it."""


@dataclass
class Swaps:
    """A station whose two bundles take turns, and is killed while they do."""

    station: Station
    broker: Broker
    consumer: Subscriber
    runs: str = "1.0.0"
    offered: list[bytes] = field(default_factory=list)
    points: dict[str, int] = field(default_factory=dict)

    @property
    def other(self) -> str:
        return "1.1.0" if self.runs == "1.0.0" else "1.0.0"

    @property
    def note(self) -> Path:
        """What is written before `bundles.json` has it."""
        return self.station.state / "bundles.partial"

    def offer(self) -> None:
        number = len(self.offered)
        self.offered.append(make_image(defect=True, seed=1 + number))
        self.station.drop(f"{number}.png", self.offered[-1])

    def name(self, version: str) -> None:
        """In the settings."""
        first, rest = self.station.config.read_text().split("\n", 1)
        assert first.startswith("bundle = ")
        shelf = self.station.bundle.parent
        self.station.config.write_text(f'bundle = "{shelf / version}"\n{rest}')

    # -- the ways to another bundle; each says which may judge after a kill ---------------------

    def by_start(self, fault: str, path: Path | None) -> set[str]:
        if self.station.daemon is not None:
            assert self.station.stop() == 0
        self.name(self.other)
        said = self.station.log.count("ready: ")
        self.station.start(wait=False, under=launched(fault, path=path))
        self._killed_or(lambda: self.station.log.count("ready: ") > said)
        if self.station.daemon.poll() is None and self.station.stop() == 0:
            self.station.start()  # without the fault, which would meet it later
        return {self.other}

    def by_reload(self, fault: str, path: Path | None) -> set[str]:
        with self._attached(fault, path):
            said = self.station.log.count("reloaded: ")
            self.name(self.other)
            self.station.daemon.send_signal(signal.SIGHUP)
            self._killed_or(lambda: self.station.log.count("reloaded: ") > said)
        return {self.other}

    def by_command(self, fault: str, path: Path | None) -> set[str]:
        with self._attached(fault, path):
            ordered = self.consumer.order(
                f"{BASE}/command/bundle", json.dumps({"activate": self.other})
            )
            self._killed_or(lambda: bool(self.consumer.answers(ordered)))
        done = any(answer["ok"] for answer in self.consumer.answers(ordered))
        return {self.other} if done else {self.runs, self.other}

    # -- a round -------------------------------------------------------------------------------

    def round(self, way: Callable[..., set[str]], fault: str, path: Path | None = None) -> bool:
        """Let the other bundle take over; whether the station was killed meanwhile."""
        self.offer()
        allowed = way(fault, path)
        killed = self.station.daemon.poll() is not None
        if killed:
            assert self.station.daemon.returncode == -signal.SIGKILL, self.station.log
            call = fault.split(":", maxsplit=1)[0]
            self.points[call] = self.points.get(call, 0) + 1
            self.station.start()
            self.runs = self.station.log.rpartition("ready: dark ")[2].partition(" ")[0]
        else:
            self.runs = self.other
        assert self.runs in allowed
        self.offer()
        at_rest(self.station, len(self.offered))
        assert self.station.rows()[-1]["version"] == self.runs  # as it said
        return killed

    def finish(self) -> None:
        """Nothing is lost, and each row names the bundle that gave its score."""
        finish(self.station, self.offered, self.consumer)
        for row in self.station.rows():
            assert row["score"] == pytest.approx(SCORES[row["version"]])

    def sweep(self, way: Callable[..., set[str]], calls: Iterable[str]) -> None:
        for call in calls:
            for number in itertools.count(1):
                if not self.round(way, f"{call}:signal=KILL:when={number}"):
                    break

    @contextmanager
    def _attached(self, fault: str, path: Path | None) -> Iterator[None]:
        """To the running daemon, when it is at rest; started if it is not there."""
        if self.station.daemon is None or self.station.daemon.poll() is not None:
            self.station.start()
        daemon = self.station.daemon
        with attached([daemon.pid], fault, self.station.home / "strace", path):
            yield

    def _killed_or(self, over: Callable[[], bool]) -> None:
        """Wait until it is dead; or over, with all images judged."""

        def settled() -> bool:
            try:
                done = len(self.station.rows())
            except sqlite3.OperationalError:  # no journal yet
                return False
            return done >= len(self.offered) and not list((self.station.state / "work").iterdir())

        daemon = self.station.daemon
        wait_for(lambda: daemon.poll() is not None or (over() and settled()), 120)


@pytest.fixture
def swaps(make_station, broker, subscribe, tmp_path) -> Swaps:
    write(tmp_path / "shelf/1.0.0")
    write_half(tmp_path / "shelf/1.1.0", version="1.1.0")
    settings = (
        "[worker]\nretry_truncated = 0.0\n[trust]\nallow_downgrade = true\n"
        f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n'
    )
    station = make_station(settings, bundle=tmp_path / "shelf/1.0.0")
    return Swaps(station, broker, subscribe(broker.port, "inspection/#"))


WAYS = {"start": Swaps.by_start, "reload": Swaps.by_reload, "command": Swaps.by_command}


@pytest.mark.parametrize(
    ("way", "call"), [("start", "rename"), ("reload", "fsync"), ("command", "rename")]
)
def test_killed_while_it_is_noted_which_bundle_runs(swaps, way, call):
    swaps.station.start()

    assert swaps.round(WAYS[way].__get__(swaps), f"{call}:signal=KILL:when=1", swaps.note)

    assert swaps.points == {call: 1}
    swaps.finish()


@pytest.mark.faults
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("way", WAYS)
def test_killed_at_every_call_that_changes_the_disk(swaps, capsys, way):
    swaps.station.start()

    take_turns = WAYS[way].__get__(swaps)
    for call in ("openat", "write", "fsync", "rename"):
        assert swaps.round(take_turns, f"{call}:signal=KILL:when=1", swaps.note), call
    swaps.sweep(take_turns, CHANGES)

    swaps.finish()
    with capsys.disabled():
        print(json.dumps({"way": way, "points": swaps.points}))
    assert sum(swaps.points.values()) > 5
