"""Rows 1 and 2: the daemon killed at random moments, and at every call that changes the disk."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import sqlite3
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.bundles import make_image
from tests.injected import CHANGES, attached, launched, needs_strace
from tests.line import finish, wait_for
from tests.slow import make_slow_image
from tests.ways import COPIED, KEPT, RENAMED, WAYS, station_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from typing_extensions import Self

    from tests.broker import Broker
    from tests.line import Station
    from tests.subscriber import Subscriber

pytestmark = [pytest.mark.slow, pytest.mark.broker]

AT_ONCE = "[worker]\nretry_truncated = 0.0\n"


def on(broker: Broker) -> str:
    return AT_ONCE + f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n'


def content(number: int) -> bytes:
    """No two alike: good ones, a defect now and then, and some that are no images."""
    if number % 7 == 3:
        return b"words %d" % number
    if number % 5 == 4:
        return make_image(defect=True, seed=number)
    return make_slow_image(number % 4, grey=65 + number % 190) + b"%d" % number


def settled(station: Station, count: int) -> bool:
    """Whether every image has its inspection and its place; a journal may not be there yet."""
    try:
        done = len(station.rows())
    except sqlite3.OperationalError:
        return False
    return done >= count and not station.claimed()


# -- 1: at random moments ----------------------------------------------------------------------


@dataclass
class Camera:
    """Drops images at a steady rate until it is told to stop."""

    station: Station
    every: float
    offered: list[bytes] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._shoot)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _shoot(self) -> None:
        while not self._over.wait(self.every):
            number = len(self.offered)
            self.station.drop(f"{number}.png", content(number))
            self.offered.append(content(number))


def kill_at_random(
    station: Station, subscriber: Subscriber, kills: int, seed: int, every: float = 0.05
) -> dict[str, float]:
    """Under load; every third time it is killed before it has got going again."""
    chance = random.Random(seed)
    recoveries = []
    station.start()
    with Camera(station, every) as camera:
        for number in range(kills):
            if number % 3 == 2:
                time.sleep(chance.uniform(0.0, 1.5))
                station.kill()
                station.start(wait=False)
                continue
            time.sleep(chance.uniform(0.0, 0.5))
            station.kill()
            before = station.last_sequence()
            restarted = time.monotonic()
            station.start(wait=False)
            wait_for(lambda before=before: station.last_sequence() > before)
            recoveries.append(time.monotonic() - restarted)
    found = finish(station, camera.offered, subscriber)
    recoveries.sort()
    return {
        "kills": kills,
        "images": found.inspections,
        "repeats": found.repeats,
        "restart to first verdict, median s": round(recoveries[len(recoveries) // 2], 2),
        "maximum s": round(recoveries[-1], 2),
    }


def test_some_kills_at_random_moments(make_station, slow_bundle, broker, subscribe):
    seed = int.from_bytes(os.urandom(4), "big")
    print(f"seed {seed}")
    subscriber = subscribe(broker.port, "inspection/#")

    print(kill_at_random(make_station(on(broker), bundle=slow_bundle), subscriber, 4, seed))


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_two_hundred_kills_at_random_moments(make_station, slow_bundle, broker, subscribe, capsys):
    seed = int(os.environ.get("SEED") or int.from_bytes(os.urandom(4), "big"))
    with capsys.disabled():
        print(f"\nSEED={seed}", flush=True)
    subscriber = subscribe(broker.port, "inspection/#")

    found = kill_at_random(make_station(on(broker), bundle=slow_bundle), subscriber, 200, seed, 0.2)

    with capsys.disabled():
        print(json.dumps(found))


# -- 2: at every call --------------------------------------------------------------------------


class Sweep:
    """Kills a station at the N-th call of each name, with two images to judge each time."""

    def __init__(self, station: Station) -> None:
        self.station = station
        self.offered: list[bytes] = []
        self.points: dict[str, int] = {}

    def offer(self) -> None:
        for _ in range(2):
            number = len(self.offered)
            made = make_image(defect=False, seed=number) if number % 2 else b"words %d" % number
            self.station.drop(f"{number}.png", made)
            self.offered.append(made)

    def round(self, call: str, run: Callable[[], object]) -> bool:
        """Offer, run until it is killed or has nothing left to do; whether it was killed."""
        self.offer()
        run()
        daemon = self.station.daemon
        wait_for(lambda: daemon.poll() is not None or settled(self.station, len(self.offered)), 120)
        if daemon.poll() is None:
            self.station.kill()
            return False
        assert daemon.returncode == -signal.SIGKILL, self.station.log
        self.points[call] = self.points.get(call, 0) + 1
        return True

    def of_main_thread(self, call: str, numbers: Iterable[int]) -> None:
        """From the start, which takes up what the last kill left, to images filed away."""
        for number in numbers:
            fault = f"{call}:signal=KILL:when={number}"
            start = partial(self.station.start, wait=False, under=launched(fault))
            if not self.round(call, start):
                return

    def of_other_threads(self, call: str, numbers: Iterable[int], log: Path) -> None:
        """The publisher's, from a start that is complete."""
        for number in numbers:
            fault = f"{call}:signal=KILL:when={number}"
            self.station.start()
            daemon = psutil.Process(self.station.daemon.pid)
            threads = [t.id for t in daemon.threads() if t.id != daemon.pid]
            with attached(threads, fault, log):
                if not self.round(call, lambda: None):
                    return


@pytest.fixture
def sweep_of(tmp_path, bundle, broker):
    """``sweep_of(way)``: over a station whose images go this way."""
    with ExitStack() as stack:

        def make(way: str) -> Sweep:
            made = station_by(way, tmp_path / "station", bundle, on(broker), page=False, folder="")
            return Sweep(stack.enter_context(made))

        yield make


# Which are reached depends on what shares a commit.
SOME = {
    RENAMED: {"mkdir": [1], "rename": [1, 2], "fsync": [1], "fdatasync": [1, 2], "rmdir": [1]},
    COPIED: {"rename": [1, 2, 3, 4], "fsync": [1, 3], "unlink": [1, 2], "rmdir": [1]},
    KEPT: {"rename": [1], "fdatasync": [1, 2], "unlink": [1, 2], "rmdir": [1]},
}


@needs_strace
@pytest.mark.parametrize("way", WAYS)
def test_killed_at_some_calls_that_change_the_disk(sweep_of, broker, subscribe, tmp_path, way):
    subscriber = subscribe(broker.port, "inspection/#")
    sweep = sweep_of(way)

    for call, numbers in SOME[way].items():
        sweep.of_main_thread(call, numbers)
    sweep.of_other_threads("sendto", [2], tmp_path / "strace")

    sweep.station.start()
    found = finish(sweep.station, sweep.offered, subscriber)
    print(sweep.points, found.inspections, found.repeats)
    assert sum(sweep.points.values()) >= 5


@needs_strace
@pytest.mark.faults
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("way", WAYS)
def test_killed_at_every_call_that_changes_the_disk(
    sweep_of, broker, subscribe, tmp_path, capsys, way
):
    subscriber = subscribe(broker.port, "inspection/#")
    sweep = sweep_of(way)

    for call in CHANGES:
        sweep.of_main_thread(call, itertools.count(1))
    for call in ("sendto", "pwrite64"):
        sweep.of_other_threads(call, itertools.count(1), tmp_path / "strace")

    sweep.station.start()
    found = finish(sweep.station, sweep.offered, subscriber)
    with capsys.disabled():
        print(json.dumps({"way": way, "points": sweep.points, "repeats": found.repeats}))
    assert sum(sweep.points.values()) > 20
