"""Row 16: every way into the folder, and cameras that go on writing to what is there."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import signal
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from tests.bundles import make_image
from tests.injected import attached, needs_strace
from tests.integration.conftest import worker_of
from tests.line import at_rest, verify, wait_for
from tests.ways import MOVED, station_by

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

AT_ONCE = "[worker]\nretry_truncated = 0.0\nframe_timeout = 300.0\n"
HEADER = 54


def bitmap(grey: int) -> bytes:
    """Of more than two pieces of a copy; it decodes whatever of its pixels are there."""
    stream = io.BytesIO()
    Image.new("RGB", (900, 900), (grey, grey, grey)).save(stream, "BMP")
    return stream.getvalue()


FIRST, LAST = bitmap(200), bitmap(30)  # ok; a defect


def stands(log: Path) -> bool:
    """Whether the process stands still, behind the call at which it was to."""
    return "--- stopped by SIGSTOP ---" in log.read_text()


def test_renamed_linked_rewritten_and_the_same_name_again(make_station):
    station = make_station(AT_ONCE).start()
    made = [make_image(defect=number % 2 == 0, seed=number) for number in range(7)]
    aside = station.home / "aside"
    aside.mkdir()

    station.drop("same.png", made[0])
    at_rest(station, 1)
    station.drop("same.png", made[1])  # one name, other bytes
    at_rest(station, 2)
    (aside / "linked").write_bytes(made[2])
    os.link(aside / "linked", station.inbox / "linked.png")  # no event tells that it is whole
    with (station.inbox / "rewritten.png").open("wb") as image:
        image.write(made[3])
    rewritten = station.inbox / "rewritten.png"
    wait_for(lambda: not rewritten.exists())
    rewritten.write_bytes(made[4])  # a camera that uses one name for ever
    station.drop("twice.png", made[5])
    wait_for(lambda: not (station.inbox / "twice.png").exists())
    station.drop("twice.png", made[6])
    at_rest(station, 7)

    assert station.stop() == 0
    assert verify(station, made).wrong == []


def test_a_file_that_is_still_written_is_left_where_it_is(make_station):
    source = '[source.folder]\npath = "inbox"\nsettle = 3600.0\n'
    station = make_station(AT_ONCE, source=source).start()
    others = [make_image(defect=False, seed=number) for number in range(3)]
    path = station.inbox / "a.bmp"

    with path.open("wb", buffering=0) as camera:
        camera.write(LAST[:HEADER])
        camera.truncate(len(LAST))  # room is made first, as shares do: it would decode
        for number, other in enumerate(others):  # what is renamed in does not have to settle
            station.drop(f"{number}.png", other)
            at_rest(station, number + 1)
        assert path.exists()
        camera.write(LAST[HEADER:])
    path.rename(station.inbox / "whole.bmp")
    at_rest(station, 4)

    assert station.stop() == 0
    assert verify(station, [*others, LAST]).wrong == []
    assert station.rows()[-1]["verdict"] == "defect"


@needs_strace
def test_a_file_rewritten_while_it_is_judged_is_judged_again(make_station, tmp_path):
    station = make_station(AT_ONCE).start()
    worker, log = worker_of(station).pid, tmp_path / "strace"

    with (
        (station.inbox / "a.bmp.part").open("wb", buffering=0) as camera,
        attached([worker], "read:signal=STOP:when=1", log),
    ):
        camera.write(FIRST)
        (station.inbox / "a.bmp.part").rename(station.inbox / "a.bmp")
        wait_for(lambda: stands(log))  # it has read what is there
        camera.seek(0)
        camera.write(LAST)
        os.kill(worker, signal.SIGCONT)
        at_rest(station, 1)

    assert station.stop() == 0
    assert verify(station, [LAST]).wrong == []
    assert station.rows()[0]["verdict"] == "defect"


@needs_strace
def test_a_file_rewritten_while_its_verdict_waits_for_room_is_judged_again(make_station, tmp_path):
    station = make_station(AT_ONCE).start()

    with (station.inbox / "a.bmp.part").open("wb", buffering=0) as camera:
        with attached([station.daemon.pid], "pwrite64:error=ENOSPC", tmp_path / "strace"):
            camera.write(FIRST)
            (station.inbox / "a.bmp.part").rename(station.inbox / "a.bmp")
            wait_for(lambda: "is full" in station.log)  # it is judged, and can't be recorded
            camera.seek(0)
            camera.write(LAST)
        at_rest(station, 1)

    assert station.stop() == 0
    assert verify(station, [LAST]).wrong == []
    assert station.rows()[0]["verdict"] == "defect"


@needs_strace
def test_a_file_rewritten_while_it_is_copied_is_copied_again(make_station, tmp_path):
    station = make_station(AT_ONCE, after="keep").start()
    path, log = station.inbox / "a.bmp", tmp_path / "strace"

    with attached([station.daemon.pid], "pwrite64:signal=STOP:when=1", log):
        path.write_bytes(FIRST)
        wait_for(lambda: stands(log))  # the first piece is copied
        path.write_bytes(LAST)
        os.kill(station.daemon.pid, signal.SIGCONT)
        at_rest(station, 1)

    assert station.stop() == 0
    assert verify(station, [LAST]).wrong == []
    assert station.rows()[0]["verdict"] == "defect"


@pytest.mark.parametrize("way", MOVED)
@pytest.mark.parametrize("killed", [False, True])
def test_written_to_after_its_verdict_without_a_new_time_it_is_judged_again(
    tmp_path, bundle, calls, way, killed
):
    """As by mmap, or within a tick of the filesystem's clock."""
    with station_by(way, tmp_path / "station", bundle, AT_ONCE) as station:
        station.start(under=calls.under())
        held = calls.meet("rename", "*/a.bmp", target="*/processed/*", error=errno.EBUSY)
        copied = calls.meet("create", "*/processed/*", error=errno.EBUSY)
        station.drop("a.bmp", FIRST)
        wait_for(station.rows)
        (at,) = station.home.rglob("a.bmp")
        before = at.stat()
        with at.open("r+b") as camera:
            camera.write(LAST)
        os.utime(at, ns=(before.st_atime_ns, before.st_mtime_ns))
        if killed:
            station.kill()
        held.clear()
        copied.clear()
        if killed:
            station.start()
        at_rest(station, 2)

        assert station.stop() == 0
        first, second = station.rows()
        assert [first["verdict"], second["verdict"]] == ["ok", "defect"]
        assert [path.read_bytes() for path in station.filed()] == [LAST]
        assert second["sha256"] == hashlib.sha256(LAST).hexdigest()
        assert "a.bmp was written to after it was judged: it is judged again" in station.log
