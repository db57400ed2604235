"""Row 30: what [retention] must not delete, whatever the clock, folders and disk are like."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.broker import free_port
from tests.bundles import make_image
from tests.clock import COMPILER, Clock
from tests.injected import CHANGES, launched, needs_strace
from tests.line import at_rest, health, told, wait_for
from tests.mounts import needs_root, small

if TYPE_CHECKING:
    from tests.line import Station

pytestmark = pytest.mark.slow

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler, to make a clock")
DAY = 86_400


def judge(station: Station, kind: str, count: int, *, first: int = 0) -> set[str]:
    """Let the station judge so many images; their names."""
    done = len(station.rows())
    names = {f"{kind} {number}.png" for number in range(first, first + count)}
    for number in range(first, first + count):
        image = make_image(defect=kind == "defect", seed=number)
        station.drop(f"{kind} {number}.png", image)
    at_rest(station, done + count)
    return names


def names(station: Station) -> set[str]:
    return {path.name for path in station.filed()}


def again(station: Station, **options: object) -> None:
    """Start anew: the first round of the housekeeping is at the start."""
    assert station.stop() == 0
    station.start(**options)


# -- what the journal does not know ------------------------------------------------------------


def test_images_that_the_journal_does_not_know_cost_no_image_that_it_knows(make_station):
    port = free_port()
    station = make_station(f"[retention]\nmax_images = 10\n[http]\nport = {port}\n")
    processed = station.state / "processed"
    processed.mkdir(parents=True)
    for number in range(15):  # as they lie there when the journal was moved away
        (processed / f"before {number}.png").write_bytes(b"an image")
    station.start()
    new = judge(station, "defect", 4)

    again(station)

    words = "15 of them are not in the journal"
    wait_for(
        lambda: (
            not new <= names(station) or any(words in reason for reason in health(port)["reasons"])
        )
    )
    assert new <= names(station)
    assert health(port)["status"] == "degraded"
    for path in processed.glob("before *"):  # what the words say
        path.unlink()
    again(station)
    wait_for(lambda: health(port)["status"] == "ok")
    assert names(station) == new
    assert station.stop() == 0
    assert "Traceback" not in station.log


# -- the clock ---------------------------------------------------------------------------------


@needs_compiler
def test_images_of_a_clock_that_ran_ahead_do_not_cost_newer_ones(make_station, tmp_path):
    clock = Clock(tmp_path)
    station = make_station("[retention]\nok_days = 0.00001\nmax_images = 10\n")
    clock.set(400 * DAY)
    station.start(under=clock.under)
    judge(station, "ok", 10)
    assert station.stop() == 0
    clock.set(0)
    station.start(under=clock.under)
    judge(station, "ok", 1, first=10)
    again(station, under=clock.under)
    new = judge(station, "defect", 8)

    again(station, under=clock.under)

    wait_for(lambda: len(names(station)) <= 10)
    assert new <= names(station)
    assert station.stop() == 0
    assert "Traceback" not in station.log


@needs_compiler
@pytest.mark.parametrize("running", [True, False], ids=["while it runs", "while it is stopped"])
def test_a_clock_that_is_set_right_makes_no_image_old(make_station, tmp_path, running):
    clock = Clock(tmp_path)
    station = make_station("[retention]\nok_days = 30\ndefect_days = 365\njournal_days = 365\n")
    clock.set(-6 * 365 * DAY)  # a dead battery
    station.start(under=clock.under)
    new = judge(station, "ok", 2) | judge(station, "defect", 2)
    if running:
        clock.set(0)  # NTP
        again(station, under=clock.under)
    else:
        assert station.stop() == 0
        clock.set(0)
        station.start(under=clock.under)

    wait_for(lambda: "nothing is deleted by age for" in station.log or names(station) != new)
    assert station.stop() == 0
    assert names(station) == new
    assert len(station.rows()) == 4
    assert "Traceback" not in station.log


# -- the disk ----------------------------------------------------------------------------------


@needs_root
def test_deleting_stops_where_it_frees_no_room(make_station, tmp_path):
    """Images that have another hard link, and a disk that others have filled."""
    port = free_port()
    station = make_station(f"[retention]\nmin_free_mb = 8\n[http]\nport = {port}\n")
    station.state.mkdir(parents=True)
    with small(station.state, size="16m"):
        station.start()
        new = judge(station, "ok", 3) | judge(station, "defect", 3)
        (station.state / "elsewhere").mkdir()
        for path in station.filed():
            os.link(path, station.state / "elsewhere" / path.name)
        (station.state / "ballast").write_bytes(bytes(10 << 20))

        again(station)

        wait_for(lambda: health(port)["status"] == "degraded" or names(station) != new)
        assert names(station) == new
        told(station, port, "min_free_mb")
        assert station.stop() == 0
    assert "Traceback" not in station.log


def test_a_limit_that_no_deleting_can_meet_is_refused(make_station):
    station = make_station("[retention]\nmin_free_mb = 1000000000\n")

    station.start(wait=False)

    assert station.daemon.wait(60) == 2, station.log
    assert "retention.min_free_mb" in station.log
    assert "lower it" in station.log
    assert "Traceback" not in station.log


# -- the folder --------------------------------------------------------------------------------


@needs_root
def test_images_on_a_disk_that_is_away_are_deleted_when_it_is_back(make_station, tmp_path):
    """What is not to be seen today must not count as gone for good."""
    port = free_port()
    disk = tmp_path / "disk"
    settings = f"[retention]\nok_days = 0.00001\n[http]\nport = {port}\n"
    station = make_station(f'processed = "{disk}"\n{settings}')

    def there() -> set[str]:
        return {path.name for path in disk.iterdir()}

    disk.mkdir()
    with small(disk) as mount:
        station.start()
        first = judge(station, "ok", 3)
        assert station.stop() == 0
        saved = {path.name: path.read_bytes() for path in mount.iterdir()}
    station.start()  # the empty mount point
    told(station, port, f"{disk} lay on tmpfs")
    assert station.stop() == 0
    with small(disk):
        for name, content in saved.items():
            (disk / name).write_bytes(content)
        assert there() == first
        station.start()
        wait_for(lambda: there() == set())
        wait_for(lambda: health(port)["status"] == "ok")
        assert station.stop() == 0
    assert "Traceback" not in station.log


# -- killed ------------------------------------------------------------------------------------


class Sweep:
    """Kills a station at the N-th call of a name, while the housekeeping deletes."""

    KEPT = frozenset({"defect 0.png", "defect 1.png"})
    BEFORE = KEPT | {f"ok {number}.png" for number in range(4)}

    def __init__(self, station: Station) -> None:
        """Judge seven images, of which two are to be left."""
        self.station = station
        self.points: dict[str, int] = {}
        self.template = station.home / "template"
        station.start()
        judge(station, "ok", 4)
        station.drop("error.png", b"words")
        at_rest(station, 5)
        judge(station, "defect", 2)
        assert station.stop() == 0
        station.state.rename(self.template)
        with station.config.open("a") as stream:
            stream.write("[retention]\nmax_images = 2\n")

    def deleted(self) -> bool:
        """Whether only the images that may stay are left."""
        return names(self.station) == self.KEPT and not self.station.filed("quarantine")

    def done(self) -> bool:
        """Whether the journal knows it, too: nothing is left to be done."""
        if not self.deleted():
            return False
        with closing(
            sqlite3.connect(f"file:{self.station.state}/journal.db?mode=ro", uri=True)
        ) as db:
            return db.execute("SELECT count(*) FROM images").fetchone() == (len(self.KEPT),)

    def kill_at(self, call: str, number: int) -> bool:
        """Whether it was killed; however it ended, the next start finishes the work."""
        station = self.station
        shutil.rmtree(station.state, ignore_errors=True)
        shutil.copytree(self.template, station.state)
        fault = f"{call}:signal=KILL:when={number}"
        station.start(wait=False, under=launched(fault, threads=True))
        wait_for(lambda: station.daemon.poll() is not None or self.done(), 120)
        killed = station.daemon.poll() is not None
        assert self.KEPT <= names(station) <= self.BEFORE
        if killed:
            assert station.daemon.returncode == -signal.SIGKILL, station.log
            self.points[call] = self.points.get(call, 0) + 1
            station.start()
            wait_for(self.deleted)  # the note of the last one may be left to a later round
            assert station.stop() == 0
        else:
            station.kill()  # the fault may still meet its end
        assert len(station.rows()) == 7
        with closing(sqlite3.connect(station.state / "journal.db")) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return killed


@needs_strace
def test_killed_at_some_calls_of_the_housekeeping(make_station):
    sweep = Sweep(make_station())

    for call, number in (("unlink", 1), ("unlink", 6), ("pwrite64", 5)):
        assert sweep.kill_at(call, number), (call, number)


@needs_strace
@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_killed_at_every_call_of_the_housekeeping(make_station, capsys):
    sweep = Sweep(make_station())

    for call in CHANGES:
        for number in itertools.count(1):
            if not sweep.kill_at(call, number):
                break

    with capsys.disabled():
        print(json.dumps(sweep.points))
    assert sweep.points["unlink"] == 6
    assert sweep.points["pwrite64"] > 5
