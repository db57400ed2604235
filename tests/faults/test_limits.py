"""Rows 24 and 25: workers that are stopped, too much to do, too little to do it with."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import pytest

from tests.broker import free_port
from tests.bundles import make_image
from tests.integration.conftest import worker_of
from tests.line import at_rest, finish, footprint, health, wait_for
from tests.slow import make_slow_image

pytestmark = pytest.mark.slow


# -- 24 ----------------------------------------------------------------------------------------


def test_a_worker_that_is_stopped_is_replaced_and_its_frame_judged(make_station):
    port = free_port()
    settings = f"[worker]\nframe_timeout = 4.0\n[http]\nport = {port}\n"
    station = make_station(settings).start()
    images = [make_image(defect=False, seed=n) for n in range(6)]
    worker = worker_of(station)
    worker.send_signal(signal.SIGSTOP)
    station.drop("first.png", images[0])
    wait_for(lambda: list((station.state / "work").iterdir()))
    for number, image in enumerate(images[1:]):
        station.drop(f"{number}.png", image)

    wait_for(lambda: "first.png cost a worker (1): hung for" in station.log)
    at_rest(station, len(images))
    wait_for(lambda: health(port)["status"] == "ok")
    assert health(port)["worker_restarts"] == 1
    finish(station, images)
    assert not worker.is_running()


def test_an_idle_worker_that_is_killed_costs_no_frame(make_station):
    port = free_port()
    station = make_station(f"[http]\nport = {port}\n").start()
    images = [make_image(defect=False, seed=n) for n in range(3)]
    worker_of(station).kill()
    for number, image in enumerate(images):
        station.drop(f"{number}.png", image)

    finish_at = len(images)
    at_rest(station, finish_at)
    assert health(port)["worker_restarts"] == 1
    finish(station, images)
    assert all(row["verdict"] == "ok" for row in station.rows())


# -- 25 ----------------------------------------------------------------------------------------


def test_few_descriptors_are_enough_for_any_backlog(make_station):
    station = make_station()
    images = [make_image(defect=False, size=(64, 96)) + b"%d" % n for n in range(300)]
    for number, image in enumerate(images[:150]):
        station.drop(f"{number}.png", image)
    station.start(under=["prlimit", "--nofile=40:40"])
    at_rest(station, 150, 120)
    before = footprint(station)
    for number, image in enumerate(images[150:], 150):
        station.drop(f"{number}.png", image)
    at_rest(station, 300, 120)

    after = footprint(station)  # I5
    assert after.descriptors <= before.descriptors + 8, (before, after)  # housekeeping has some
    assert (after.threads, after.processes) == (before.threads, before.processes)
    finish(station, images)


def test_too_few_descriptors_to_start_is_one_message(make_station):
    station = make_station()
    for limit in (12, 16, 20):
        done = subprocess.run(
            ["prlimit", f"--nofile={limit}:{limit}", sys.executable, "-m", "edge_agent", "run",
             "--config", str(station.config)],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode != 0
        assert "Too many open files" in done.stderr
        assert "Traceback" not in done.stderr, (limit, done.stderr)


def test_more_images_than_can_be_judged_wait_on_disk(make_station, slow_bundle):
    # Some 400 ms of work each, at 20 a second.
    station = make_station(bundle=slow_bundle)
    images = [make_slow_image(60, grey=70 + n) for n in range(60)]
    station.start()
    before = footprint(station)
    most = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            most.append(len(list((station.state / "work").iterdir())))

    watcher = threading.Thread(target=watch)
    watcher.start()
    for number, image in enumerate(images):
        station.drop(f"{number}.png", image)
        over.wait(0.05)
    waiting = len(list(station.inbox.iterdir()))
    peak = footprint(station)
    over.set()
    watcher.join()

    assert max(most) <= 10  # what is claimed ahead is bounded; all else waits in the folder
    assert waiting > 10
    assert peak.rss < before.rss + (20 << 20)
    assert peak.descriptors <= before.descriptors + 8
    assert station.stop() == 0  # the backlog is no reason not to stop
    station.start()
    finish(station, images)


def test_a_journal_with_flipped_bytes_is_refused_and_left_as_it_is(make_station):
    station = make_station().start()
    for number in range(40):
        station.drop(f"{number}.png", make_image(defect=False, seed=number))
    at_rest(station, 40)
    assert station.stop() == 0
    journal = station.state / "journal.db"
    with closing(sqlite3.connect(journal)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = journal.read_bytes()
    spoilt = bytearray(whole)
    for place in range(4096 * 2, len(spoilt), 97):
        spoilt[place] ^= 0xFF
    journal.write_bytes(spoilt)
    station.drop("next.png", make_image(defect=False, seed=99))

    station.start(wait=False)

    assert station.daemon.wait(60) == 2
    assert "journal.db is damaged" in station.log
    assert "Traceback" not in station.log
    assert journal.read_bytes() == spoilt
    assert (station.inbox / "next.png").exists()
    journal.write_bytes(whole)
    station.start()
    at_rest(station, 41)
    assert [row["sequence"] for row in station.rows()] == list(range(1, 42))


def test_a_second_daemon_is_refused_and_the_first_goes_on(make_station):
    station = make_station().start()
    command = [sys.executable, "-m", "edge_agent", "run", "--config", str(station.config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 2
    assert f"(process {station.daemon.pid})" in done.stderr
    station.kill()
    station.start()  # what a killed one leaves of its lock holds up nobody
    station.drop("a.png", make_image(defect=False))
    finish(station, 1)
