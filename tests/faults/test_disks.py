"""Rows 3, 11, 12 and 13: the power goes, the disk is full, the disk fails."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.broker import free_port
from tests.bundles import make_image
from tests.injected import launched, needs_strace
from tests.line import Station, at_rest, health, told, verify, wait_for
from tests.mounts import (
    cut_power,
    fill,
    format_ext4,
    mounted,
    needs_ext4,
    needs_root,
    small,
    take_all_inodes,
)
from tests.slow import FOREVER, make_slow_image

if TYPE_CHECKING:
    from tests.subscriber import Subscriber

pytestmark = [pytest.mark.slow, pytest.mark.broker]

AT_ONCE = "[worker]\nretry_truncated = 0.0\n"


def settings_of(broker, port: int) -> str:
    mqtt = f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n'
    return AT_ONCE + mqtt + f"[http]\nport = {port}\n"


def arrived(subscriber: Subscriber) -> set[str]:
    return {message.json()["id"] for message in subscriber.received("/verdict")}


def at_a_stop(station: Station) -> bool:
    """Whether no image is claimed for longer than the daemon waits between two tries."""
    before = len(list(station.inbox.iterdir()))
    time.sleep(1.5)
    return len(list(station.inbox.iterdir())) == before


def finish(station: Station, offered: list[bytes], subscriber: Subscriber) -> None:
    at_rest(station, len(offered))
    ids = {row["id"] for row in station.rows()}
    wait_for(lambda: ids <= arrived(subscriber), pause=0.1)
    assert station.stop() == 0, station.log
    assert verify(station, offered, subscriber).wrong == []
    assert "Traceback" not in station.log


# -- 3: the power ------------------------------------------------------------------------------


@needs_root
@needs_ext4
@pytest.mark.parametrize("cuts", [2, pytest.param(20, marks=pytest.mark.faults)])
def test_the_power_goes_and_what_was_published_has_a_row(
    tmp_path, slow_bundle, broker, subscribe, cuts
):
    subscriber = subscribe(broker.port, "inspection/#")
    disk, place = tmp_path / "disk", tmp_path / "place"
    format_ext4(disk)
    offered: list[bytes] = []
    settings = settings_of(broker, free_port())
    for _ in range(cuts):
        with mounted(place, "-o", "loop", str(disk)):
            station = Station(place / "station", slow_bundle, settings)
            for _ in range(20):
                number = len(offered)
                offered.append(make_slow_image(2, grey=65 + number % 190) + b"%d" % number)
                station.drop(f"{number}.png", offered[-1])
            os.sync()  # what the camera has not brought to the disk is the camera's to lose
            known = arrived(subscriber)
            station.start(wait=False)
            wait_for(lambda known=known: len(arrived(subscriber) - known) >= 5)
            cut_power(place)
            published = arrived(subscriber)
            station.kill()
        with mounted(place, "-o", "loop", str(disk)):
            assert published <= {row["id"] for row in station.rows()}
    with mounted(place, "-o", "loop", str(disk)):
        station.start()
        finish(station, offered, subscriber)
        assert "missing" not in station.log  # the mark may be older than the journal: no loss


@needs_root
@needs_ext4
def test_the_power_goes_and_what_was_judged_is_not_offered_again(tmp_path, bundle):
    """The claim is on the disk before the inspection, also where the inspection needs no claim's.

    A journal that grows takes along whatever the filesystem had to write, claims too. One that
    writes over what it had before, as after each of its checkpoints, does not.
    """
    disk, place = tmp_path / "disk", tmp_path / "place"
    format_ext4(disk)
    made = [make_image(defect=False, seed=number) for number in range(21)]
    seldom = "loop,commit=3600"  # by itself the filesystem writes nothing in between
    with mounted(place, "-o", seldom, str(disk)):
        station = Station(place / "station", bundle, AT_ONCE).start()
        for number in range(20):
            station.drop(f"{number}.png", made[number])
        at_rest(station, 20)
        with closing(sqlite3.connect(station.state / "journal.db", timeout=60)) as db:
            assert db.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[0] == 0
        os.kill(station.daemon.pid, signal.SIGSTOP)
        station.drop("20.png", made[20])
        os.sync()
        os.kill(station.daemon.pid, signal.SIGCONT)
        wait_for(lambda: len(station.rows()) == 21, pause=0.002)
        cut_power(place)
        station.kill()
    with mounted(place, "-o", "loop", str(disk)):
        assert len(station.rows()) == 21
        assert list(station.inbox.iterdir()) == []
        station.start()
        at_rest(station, 21)
        assert station.stop() == 0
        assert verify(station, made).wrong == []


# -- 11: full ----------------------------------------------------------------------------------


@needs_root
def test_a_full_disk_holds_up_claims_and_goes_on_by_itself(
    make_station, broker, subscribe, tmp_path
):
    subscriber = subscribe(broker.port, "inspection/#")
    port = free_port()
    station = make_station(settings_of(broker, port))
    made = [make_image(defect=False, seed=number) for number in range(8)]
    with small(station.state):
        station.start()
        station.drop("0.png", made[0])
        at_rest(station, 1)
        ballast = fill(station.state)
        for number in range(1, 8):
            station.drop(f"{number}.png", made[number])
        # A claim in the inbox needs no room here.
        told(station, port, "is full: free some space", status="failing")
        assert len(station.rows()) == 1
        assert len([path for path in station.inbox.rglob("*") if path.is_file()]) == 7

        ballast.unlink()
        freed = time.monotonic()
        at_rest(station, 8)
        print(f"resumed after {time.monotonic() - freed:.2f} s")

        wait_for(lambda: health(port)["status"] == "ok")
        finish(station, made, subscriber)


@needs_root
def test_nothing_is_published_that_a_full_disk_kept_from_the_journal(
    tmp_path, bundle, broker, subscribe
):
    subscriber = subscribe(broker.port, "inspection/#")
    port = free_port()
    made = [make_image(defect=False, seed=number) for number in range(40)]
    with small(tmp_path / "small"):
        # All on one filesystem: a claim is a rename, for which there is room.
        station = Station(tmp_path / "small/station", bundle, settings_of(broker, port)).start()
        try:
            os.kill(station.daemon.pid, signal.SIGSTOP)
            for number in range(40):
                station.drop(f"{number}.png", made[number])
            ballast = fill(station.state)
            os.kill(station.daemon.pid, signal.SIGCONT)
            told(station, port, "is full", status="failing")
            assert station.rows() == []
            assert arrived(subscriber) == set()
            wait_for(lambda: at_a_stop(station))
            assert list(station.inbox.iterdir())  # the rest is not even claimed

            ballast.unlink()
            freed = time.monotonic()
            at_rest(station, 40)
            print(f"resumed after {time.monotonic() - freed:.2f} s")

            finish(station, made, subscriber)
        finally:
            station.kill()


@needs_root
def test_a_frame_that_kills_workers_is_poison_on_a_full_disk_too(tmp_path, slow_bundle):
    port = free_port()
    limits = "[worker]\nframe_timeout = 0.5\nretry_truncated = 0.0\n"
    poison = make_slow_image(FOREVER)
    with small(tmp_path / "small"):
        station = Station(
            tmp_path / "small/station", slow_bundle, limits + f"[http]\nport = {port}\n"
        ).start()
        try:
            os.kill(station.daemon.pid, signal.SIGSTOP)
            station.drop("poison.png", poison)
            ballast = fill(station.state)
            os.kill(station.daemon.pid, signal.SIGCONT)
            wait_for(lambda: any("is full" in reason for reason in health(port)["reasons"]))
            wait_for(lambda: health(port)["worker_restarts"] == 3)

            ballast.unlink()
            at_rest(station, 1)
            assert station.stop() == 0
            assert verify(station, [poison]).wrong == []
            (row,) = station.rows()
            assert row["reason"] == "took down 3 workers, the last: hung for 0.5 s at a frame"
        finally:
            station.kill()


@needs_root
@pytest.mark.parametrize(
    ("inbox", "words"),
    [("elsewhere", "can't leave"), ("there", "images can't be claimed: No space left on device")],
)
def test_a_filesystem_out_of_inodes_holds_up_images_and_goes_on_by_itself(
    tmp_path, bundle, broker, subscribe, inbox, words
):
    subscriber = subscribe(broker.port, "inspection/#")
    port = free_port()
    made = [make_image(defect=False, seed=number) for number in range(4)]
    place = tmp_path / "station" / ("state" if inbox == "elsewhere" else "")
    with small(place, inodes=80):
        station = Station(tmp_path / "station", bundle, settings_of(broker, port)).start()
        try:
            station.drop("0.png", made[0])
            at_rest(station, 1)
            crowd = station.state / ".crowd"
            crowd.mkdir()
            for number in range(1, 4):
                (station.home / f"{number}.aside").write_bytes(made[number])
            take_all_inodes(crowd)
            for number in range(1, 4):
                (station.home / f"{number}.aside").rename(station.inbox / f"{number}.png")
            told(station, port, words)

            for path in crowd.iterdir():
                path.unlink()
            at_rest(station, 4)

            finish(station, made, subscriber)
        finally:
            station.kill()


# -- 12: nowhere to file -----------------------------------------------------------------------


@needs_root
def test_a_full_disk_for_what_was_judged_gets_no_part_of_an_image(make_station, broker, subscribe):
    subscriber = subscribe(broker.port, "inspection/#")
    port = free_port()
    station = make_station('processed = "state/processed"\n' + settings_of(broker, port))
    made = [make_image(defect=False, seed=number, size=(300, 400)) for number in range(3)]
    with small(station.state / "processed", size="1m"):
        ballast = fill(station.state / "processed")
        station.start()
        for number in range(3):
            station.drop(f"{number}.png", made[number])
        wait_for(lambda: len(station.rows()) == 3)  # judged and published all the same
        told(station, port, "can't leave")
        assert {p.name for p in (station.state / "processed").iterdir()} == {".ballast"}

        ballast.unlink()

        finish(station, made, subscriber)


def test_a_claim_that_finds_no_room_at_its_sync_is_synced_before_it_counts(
    make_station, broker, subscribe, calls
):
    subscriber = subscribe(broker.port, "inspection/#")
    port = free_port()
    station = make_station(settings_of(broker, port))
    made = [make_image(defect=False, seed=number) for number in range(5)]
    station.start(under=calls.under())
    full = calls.meet("sync", "*/work/*", error=errno.ENOSPC, who="daemon")
    for number, content in enumerate(made):
        station.drop(f"{number}.png", content)
    told(station, port, "can't be synced to the disk")
    wait_for(lambda: full.hits >= 2)
    assert not station.rows()

    full.clear()

    finish(station, made, subscriber)


# -- 13: failing -------------------------------------------------------------------------------


@needs_strace
@pytest.mark.parametrize(
    "fault", ["fdatasync:error=EIO:when=1", "pwrite64:error=EIO:when=2", "fsync:error=EIO:when=1"]
)
def test_a_disk_that_fails_ends_the_daemon_and_the_next_start_finishes(
    make_station, broker, subscribe, fault
):
    subscriber = subscribe(broker.port, "inspection/#")
    station = make_station(settings_of(broker, free_port()))
    made = [make_image(defect=False, seed=number) for number in range(20)]
    station.start()
    station.drop("0.png", made[0])
    at_rest(station, 1)
    assert station.stop() == 0
    for number in range(1, 20):
        station.drop(f"{number}.png", made[number])

    station.start(wait=False, under=launched(fault))

    assert station.daemon.wait(60) == 2, station.log
    assert "ook at the disk (`dmesg`)" in station.log
    assert len(station.rows()) < 20
    assert arrived(subscriber) <= {row["id"] for row in station.rows()}
    assert "Traceback" not in station.log
    station.start()
    finish(station, made, subscriber)
