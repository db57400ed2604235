"""Row 26: by whatever way an image goes, the same holds: renamed, copied, or kept where it is."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import signal
import subprocess
from collections import Counter
from contextlib import ExitStack
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from tests.bundles import make_image
from tests.injected import launched, needs_strace
from tests.line import Station, finish, health, wait_for
from tests.sweeps import swept
from tests.watchdog import ServiceManager
from tests.ways import COPIED, HARDEST, KEPT, RENAMED, WAYS, end, station_by

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

pytestmark = pytest.mark.slow

MIB = 1 << 20


def hashes(contents: Iterable[bytes]) -> Counter[str]:
    return Counter(sha256(content).hexdigest() for content in contents)


def judged(station: Station) -> Counter[str]:
    """What was judged, and how often."""
    return Counter(row["sha256"] for row in station.rows())


def kept_by(*stations: Station) -> Counter[str]:
    """What lies in ``processed/`` and ``quarantine/``."""
    files = [path for one in stations for path in one.filed() + one.filed("quarantine")]
    return hashes(path.read_bytes() for path in files)


def pass_time(station: Station, first: int) -> list[bytes]:
    """Wait until what is written now was quiet for long enough to be taken; what it took."""
    images = [make_image(defect=False, seed=number) for number in range(first, first + 3)]
    for number, image in enumerate(images):
        before = station.last_sequence()
        (station.inbox / f"later {first + number}.png").write_bytes(image)
        wait_for(lambda before=before: station.last_sequence() > before)
    return images


def unlike(station: Station, contents: Collection[bytes]) -> str:
    """How what was judged differs from what was offered; empty if it does not."""
    offered, found = hashes(contents), judged(station)
    return "" if offered == found else f"missing {offered - found}, too many {found - offered}"


# -- a camera that takes its time ---------------------------------------------------------------


@needs_strace
@pytest.mark.parametrize("events", [True, *swept(False)])
@pytest.mark.parametrize("way", WAYS)
def test_a_camera_that_pauses_in_a_file_gets_one_verdict_of_the_whole(
    tmp_path, bundle, way, events
):
    whole = [make_image(defect=number % 2 == 0, seed=number) for number in range(4)]
    with station_by(way, tmp_path / "station", bundle) as station:
        station.start(under=() if events else launched("inotify_add_watch:error=ENOSPC"))
        with ExitStack() as stack:
            cameras = [
                stack.enter_context((station.inbox / f"{number}.png").open("wb", buffering=0))
                for number in range(4)
            ]
            for camera, image in zip(cameras, whole, strict=True):
                camera.write(image[: len(image) // 2])
            others = pass_time(station, 100)
            for camera, image in zip(cameras, whole, strict=True):
                camera.write(image[len(image) // 2 :])

        finish(station, [*whole, *others])

    verdicts = {row["name"]: row["verdict"] for row in station.rows()}
    assert [verdicts[f"{number}.png"] for number in range(4)] == ["defect", "ok"] * 2


@pytest.mark.parametrize("way", WAYS)
def test_a_file_whose_length_comes_first_is_judged_once_and_whole(tmp_path, bundle, way):
    """As shares do it: room is made, then the bytes come; here the last of them late."""
    image = make_image(defect=True, size=(300, 400))
    with station_by(way, tmp_path / "station", bundle) as station:
        station.start()
        with (station.inbox / "a.png").open("wb", buffering=0) as camera:
            camera.truncate(len(image))
            camera.write(image[: len(image) // 2])
            others = pass_time(station, 100)
            camera.write(image[len(image) // 2 :])

        finish(station, [image, *others])

    assert {row["name"]: row["verdict"] for row in station.rows()}["a.png"] == "defect"


# -- what can't be read now ---------------------------------------------------------------------


@pytest.mark.parametrize("call", ["stat", "open", "read"])
@pytest.mark.parametrize("error", [errno.EIO, *swept(errno.ESTALE)])
@pytest.mark.parametrize("way", HARDEST)
def test_a_read_error_that_passes_costs_no_image_and_holds_up_no_other(
    tmp_path, bundle, calls, way, error, call
):
    images = [make_image(defect=number == 0, seed=number) for number in range(6)]
    patient = "[worker]\nretry_truncated = 600.0\n"  # on the own disk it is an error after that
    with station_by(way, tmp_path / "station", bundle, patient) as station:
        station.start(under=calls.under())
        fault = calls.meet(call, "*/sick.png", error=error)
        station.drop("sick.png", images[0])
        wait_for(lambda: fault.hits, 20)
        for number in range(1, 6):
            station.drop(f"{number}.png", images[number])
        wait_for(lambda: not hashes(images[1:]) - judged(station), 20)
        assert sha256(images[0]).hexdigest() not in judged(station)

        def told() -> bool:
            answer = health(station.port)
            named = any("sick.png" in reason for reason in answer["reasons"])
            return answer["status"] == "degraded" and named

        wait_for(told, 30, pause=0.1)
        fault.clear()

        wait_for(lambda: not hashes(images) - judged(station), 60)
        wait_for(lambda: health(station.port)["status"] == "ok", pause=0.1)
        wait_for(lambda: health(station.port)["ignored"] == {}, pause=0.1)
        finish(station, images)

    verdicts = {row["name"]: row["verdict"] for row in station.rows()}
    assert verdicts == {"sick.png": "defect", **{f"{number}.png": "ok" for number in range(1, 6)}}


def ended_or_settled(station: Station, offered: Collection[bytes]) -> bool:
    return station.daemon.poll() is not None or not (unlike(station, offered) or station.claimed())


@pytest.mark.parametrize("way", HARDEST)
def test_the_own_disk_that_fails_once_is_not_the_camera_s_fault(tmp_path, bundle, calls, way):
    """At each sync of the station's own files that are not the journal's, one at a time."""
    offered: list[bytes] = []
    place = itertools.count(1)
    with station_by(way, tmp_path / "station", bundle) as station:
        for number in place:
            station.start(under=calls.under())
            fault = calls.meet(
                "sync", "*/state/[pqw]*", error=errno.EIO, calls=(number, number), who="daemon"
            )
            offered += [make_image(defect=False, seed=number), b"words %d" % number]
            for image in offered[-2:]:
                station.drop(f"{hashes([image]).popitem()[0]}.png", image)
            daemon = station.daemon
            wait_for(partial(ended_or_settled, station, list(offered)), 20)
            fault.clear()
            if daemon.poll() is None:
                assert health(station.port)["ignored"] == {}
                assert station.stop() == 0
            else:
                assert daemon.returncode == 2, station.log
                assert "(`dmesg`)" in station.log
            assert "ignored " not in station.log
            if not fault.hits:
                break
        station.start()
        finish(station, offered)

    if way == COPIED:
        assert next(place) > 2, "nothing was brought to the disk"


# -- the same again -----------------------------------------------------------------------------


@pytest.mark.parametrize("way", HARDEST[:2])
def test_images_that_somebody_moves_back_are_judged_again(tmp_path, bundle, way):
    images = [make_image(defect=number % 2 == 0, seed=number) for number in range(4)]
    images += [b"words %d" % number for number in range(4)]
    with station_by(way, tmp_path / "station", bundle) as station:
        station.start()
        for number, image in enumerate(images):
            station.drop(f"{number}.png", image)
        wait_for(lambda: len(station.filed() + station.filed("quarantine")) == 8)
        wait_for(lambda: not station.claimed())

        for path in station.filed() + station.filed("quarantine"):
            subprocess.run(["mv", path, station.inbox / path.name], check=True)

        wait_for(lambda: station.last_sequence() == 16, 20)
        wait_for(lambda: not station.claimed())
        assert station.stop() == 0

    assert unlike(station, images * 2) == ""
    assert kept_by(station) == hashes(images)


@pytest.mark.parametrize("way", WAYS)
def test_the_same_part_each_morning_is_judged_each_morning(tmp_path, bundle, way):
    """A name, a size, an mtime and bytes that were there before: as `cp -p` and `rsync -t` do."""
    image = make_image(defect=True)
    with station_by(way, tmp_path / "station", bundle) as station:
        station.start()
        for morning in range(1, 6):
            aside = station.aside / ".reference"
            aside.write_bytes(image)
            os.utime(aside, ns=(10**18, 10**18))
            aside.rename(station.inbox / "reference.png")
            wait_for(lambda morning=morning: station.last_sequence() == morning, 20)
            if way != KEPT:
                wait_for(lambda morning=morning: len(station.filed()) == morning)
        assert station.stop() == 0

    assert unlike(station, [image] * 5) == ""
    if way == KEPT:
        assert (tmp_path / "station/inbox/reference.png").read_bytes() == image
    else:
        assert kept_by(station) == hashes([image] * 5)


def test_a_kept_image_that_is_gone_and_comes_again_is_judged_again(tmp_path, bundle):
    image = make_image(defect=True)
    with station_by(KEPT, tmp_path / "station", bundle) as station:
        path = station.inbox / "reference.png"

        def offer() -> None:
            path.write_bytes(image)
            os.utime(path, ns=(10**18, 10**18))

        offer()
        station.start()
        wait_for(lambda: station.last_sequence() == 1)
        path.unlink()
        others = pass_time(station, 100)
        offer()
        wait_for(lambda: station.last_sequence() == 5, 20)
        assert station.stop() == 0
        path.unlink()  # and while nobody looks
        offer()
        station.start()
        wait_for(lambda: station.last_sequence() == 6, 20)
        assert station.stop() == 0

    assert unlike(station, [image] * 3 + others) == ""


def test_a_kept_image_that_is_only_touched_is_not_judged_again(tmp_path, bundle):
    """Rights, links and a new start change nothing of what the image is."""
    image = make_image(defect=True)
    with station_by(KEPT, tmp_path / "station", bundle) as station:
        path = station.inbox / "a.png"
        path.write_bytes(image)
        station.start()
        wait_for(lambda: station.last_sequence() == 1)
        path.chmod(0o440)
        others = pass_time(station, 100)
        os.link(path, station.home / "elsewhere.png")
        others += pass_time(station, 200)
        assert station.stop() == 0
        (station.home / "elsewhere.png").unlink()
        station.start()
        others += pass_time(station, 300)
        finish(station, [image, *others])


# -- what is large ------------------------------------------------------------------------------


def make_large(path: Path, size: int) -> str:
    """An image of which no byte is a hole; its hash."""
    content = make_image(defect=False)
    content += b"1" * (size - len(content))
    path.write_bytes(content)
    return sha256(content).hexdigest()


def good_beside(station: Station, large: Path) -> int:
    """Offer a large file, then good ones, one when the other is judged; how many of these.

    Until the large one is judged, and its bytes have found their place.
    """
    kept = station.after == "keep"
    places = [station.state / where / "large.png" for where in ("processed", "quarantine")]
    large.rename(station.inbox / "large.png")
    wait_for(lambda: kept or not (station.inbox / "large.png").exists(), 20)

    def over() -> bool:
        names = [row["name"] for row in station.rows()]
        return "large.png" in names and (kept or any(place.exists() for place in places))

    count = 0
    while not over() and count < 20:
        name = f"good {count}.png"
        station.drop(name, make_image(defect=False, seed=count))
        wait_for(lambda name=name: any(row["name"] == name for row in station.rows()))
        count += 1
    wait_for(over, 120)
    wait_for(lambda: not station.claimed())
    return count


@pytest.mark.parametrize(
    "size", [pytest.param(110 * MIB, id="too large"), pytest.param(60 * MIB, id="large")]
)
@pytest.mark.parametrize("way", HARDEST)
def test_what_is_large_is_copied_beside_what_else_there_is(tmp_path, bundle, calls, way, size):
    """On a disk that takes its time over each megabyte; the watchdog is fed all along."""
    limit = "[worker]\nmax_bytes = 100_000_000\n"
    with (
        ServiceManager(tmp_path, period=3.0) as manager,
        station_by(way, tmp_path / "station", bundle, limit) as station,
    ):
        large = station.aside / ".large"
        expected = make_large(large, size)
        station.start(under=[*calls.under(), *manager.under])
        calls.meet("write", "*/state/*", seconds_per_mib=0.1, who="daemon")
        calls.meet("copy", seconds_per_mib=0.1, who="daemon")

        beside = good_beside(station, large)

        assert manager.hungry < manager.period
        assert station.stop() == 0
        filed = kept_by(station)
        inbox = [path.name for path in station.inbox.iterdir()]
    rows = {row["name"]: row for row in station.rows()}
    assert len(station.rows()) == beside + 1
    row = rows["large.png"]
    if size > 100_000_000:
        assert row["verdict"] == "error"
        assert f"{size} bytes is more than the limit of 100000000" in row["reason"]
    else:
        assert (row["verdict"], row["sha256"]) == ("ok", expected)
    if way == KEPT:
        assert "large.png" in inbox
    else:
        assert filed[expected] == 1


@pytest.mark.faults
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("way", WAYS)
def test_a_hole_of_six_gigabytes_does_not_starve_the_watchdog(tmp_path, bundle, way):
    if shutil.disk_usage(tmp_path).free < 8 << 30:
        pytest.skip("less than 8 GB are free")
    with (
        ServiceManager(tmp_path, period=10.0) as manager,
        station_by(way, tmp_path / "station", bundle) as station,
    ):
        large = station.aside / ".large"
        with large.open("wb") as stream:
            stream.truncate(6 << 30)
        station.start(under=manager.under)

        good_beside(station, large)

        assert manager.hungry < manager.period
        assert station.stop() == 0
    row = next(row for row in station.rows() if row["name"] == "large.png")
    assert row["verdict"] == "error"
    assert f"{6 << 30} bytes is more than the limit of" in row["reason"]
    shutil.rmtree(station.state)


# -- two of a thing -----------------------------------------------------------------------------


@pytest.mark.parametrize("way", HARDEST[:2])
def test_two_stations_on_one_folder_judge_each_image_once(tmp_path, bundle, way):
    """Also where one of them is killed in the middle, and what it had is its own.

    The first stands still for a while, so that the other has something.
    """
    images = [make_image(defect=False, seed=number) for number in range(200)]
    name = '[station]\nname = "{}"\n'
    with station_by(way, tmp_path / "one", bundle, name.format("one"), page=False) as one:
        shared = f'[source.folder]\npath = "{one.inbox}"\nsettle = 0.2\n'
        other = Station(tmp_path / "two", bundle, name.format("two"), source=shared)
        try:
            one.start()
            other.start()
            for number, image in enumerate(images):
                one.drop(f"{number}.png", image)
                if number == 50:
                    os.kill(one.daemon.pid, signal.SIGSTOP)
                elif number == 100:
                    wait_for(other.last_sequence)
                    other.kill()
                    os.kill(one.daemon.pid, signal.SIGCONT)
                    other.start(wait=False)
            wait_for(lambda: not hashes(images) - judged(one) - judged(other))
            wait_for(lambda: not one.claimed() and not other.claimed())
            wait_for(lambda: other.log.count("ready: ") == 2)  # or SIGTERM would kill it
            assert one.stop() == 0
            assert other.stop() == 0
        finally:
            end(other)
        assert [path.name for path in one.inbox.iterdir() if path.is_file()] == []

    assert judged(one) + judged(other) == hashes(images)
    assert kept_by(one, other) == hashes(images)
    assert judged(one)
    assert judged(other)


@pytest.mark.parametrize("call", ["rename", "link"])
def test_a_link_to_what_is_filed_is_filed_once_also_after_a_kill(tmp_path, bundle, calls, call):
    """A rename of two links of one inode succeeds, and does nothing."""
    image = make_image(defect=False)
    with station_by(RENAMED, tmp_path / "station", bundle) as station:
        station.start(under=calls.under())
        station.drop("a.png", image)
        wait_for(lambda: len(station.filed()) == 1)
        fault = calls.meet(call, target="*/state/processed/*", kill=True)
        os.link(station.filed()[0], station.inbox / "a.png")
        wait_for(lambda: station.last_sequence() == 2)
        wait_for(lambda: station.daemon.poll() is not None or not station.claimed(), 20)
        fault.clear()
        if not fault.hits:
            assert call == "link", "what was judged is filed without a rename"

        for _ in range(2):
            station.kill()
            station.start(under=calls.under())
            wait_for(lambda: not station.claimed(), 20)
            assert health(station.port)["status"] == "ok"
        station.drop("a.png", image)
        wait_for(lambda: station.last_sequence() == 3)
        wait_for(lambda: not station.claimed())
        assert station.stop() == 0

    assert unlike(station, [image] * 3) == ""
    assert set(kept_by(station)) == set(hashes([image]))
    assert "can't leave" not in station.log


def test_two_links_of_one_file_are_two_images(tmp_path, bundle):
    image = make_image(defect=False)
    with station_by(RENAMED, tmp_path / "station", bundle) as station:
        (station.home / "a").write_bytes(image)
        for name in ("1.png", "2.png", "3.png"):
            os.link(station.home / "a", station.inbox / name)
        station.start()
        finish(station, [image] * 3)
