"""Row 27: entries that can't be judged hold up none that can."""

from __future__ import annotations

import errno
import hashlib
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.bundles import make_image
from tests.line import finish, health, wait_for
from tests.sick import KINDS, LARGE, SETTINGS, Sick
from tests.ways import COPIED, HARDEST, KEPT, MOVED, RENAMED, station_by

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from tests.line import Station

pytestmark = pytest.mark.slow

GOOD = 30


def names(station: Station) -> list[str]:
    return [row["name"] for row in station.rows()]


def judged(station: Station, which: str) -> list[str]:
    return [name for name in names(station) if name.startswith(which)]


def good(number: int) -> bytes:
    return make_image(defect=number % 3 == 0, seed=number) + b"good %d" % number


def drop_one_by_one(station: Station, numbers: range, seconds: float = 30) -> None:
    """Good ones, each when the one before has its verdict."""
    for number in numbers:
        station.drop(f"good {number}.png", good(number))
        wait_for(lambda number=number: f"good {number}.png" in names(station), seconds)


def named(station: Station) -> tuple[set[str], int]:
    """What ``/healthz`` says is not taken: by name, and how many more."""
    ignored = health(station.port)["ignored"]
    rest = [int(name.split()[1]) for name in ignored if name.startswith("and ")]
    return {name for name in ignored if not name.startswith("and ")}, sum(rest)


def all_named(station: Station, sick: list[str]) -> bool:
    """Whether all of these are known not to be taken: by name, as far as there is room."""
    shown, more = named(station)
    assert shown <= set(sick)
    return len(shown) + more == len(sick) and bool(shown)


# -- a few, that would cost others the most -----------------------------------------------------


@contextmanager
def growing(files: list[Any]) -> Iterator[None]:
    """Each gets a byte a millisecond, for as long as the block lasts."""
    over = threading.Event()

    def write() -> None:
        while not over.wait(0.001):
            for file in files:
                file.write(b"+")

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def left(station: Station, way: str) -> set[str]:
    """Those that grow; but for one that stood still for as long as its copying and judging took."""
    both = {"growing 0.png", "growing 1.png"}
    return both & {path.name for path in station.inbox.iterdir()} if way == COPIED else both


@pytest.mark.parametrize("way", HARDEST)
def test_two_images_that_grow_on_cost_fifty_others_nothing(tmp_path, bundle, calls, way):
    """Whole, and renamed in; but whoever writes them adds to them without an end."""
    with station_by(way, tmp_path / "station", bundle) as station:
        station.start(under=calls.under())
        tries = calls.meet("open", "*/growing *.png", who="worker")
        images = [make_image(defect=True, seed=98), make_image(defect=True, seed=99)]
        aside = [station.aside / f".growing {number}" for number in range(2)]
        files = [path.open("wb", buffering=0) for path in aside]
        try:
            for file, image in zip(files, images, strict=True):
                file.write(image)
            with growing(files):
                for number, path in enumerate(aside):
                    path.rename(station.inbox / f"growing {number}.png")
                wait_for(lambda: tries.calls >= 2 or way == KEPT, 20)
                for number in range(50):
                    station.drop(f"good {number}.png", good(number))
                wait_for(lambda: len(judged(station, "good")) >= 50, 30)
                assert judged(station, "good") == [f"good {number}.png" for number in range(50)]
                assert tries.calls < 50
                wait_for(lambda: named(station)[0] == left(station, way), pause=0.1)
                gone = len(left(station, way)) < 2
        finally:
            ends = [file.tell() for file in files]
            for file in files:
                file.close()
        last = [image + b"+" * (end - len(image)) for image, end in zip(images, ends, strict=True)]
        if gone:
            return
        hashes = {hashlib.sha256(content).hexdigest() for content in last}
        wait_for(lambda: hashes <= {row["sha256"] for row in station.rows()})
        # A copy of one that stood still meanwhile, since its writer waited for a processor, is an
        # image; and so is what the file becomes.
        still = len(judged(station, "growing")) - 2
        assert still == 0 or way != RENAMED
        if way == KEPT and still:
            return
        wait_for(lambda: not station.claimed())
        filed = [path for path in station.filed() if "growing" in path.name]
        grown = last if way == KEPT else [path.read_bytes() for path in filed]
        assert all(any(content.startswith(one) for content in last) for one in grown)
        finish(station, [*(good(number) for number in range(50)), *grown])


@pytest.mark.parametrize("way", MOVED)
def test_forty_claims_that_fail_cost_others_nothing(tmp_path, bundle, calls, way):
    with station_by(way, tmp_path / "station", bundle) as station:
        station.start(under=calls.under())
        fault = calls.meet("rename", "*/inbox/busy *.png", error=errno.EBUSY)
        busy = {f"busy {number}.png": make_image(defect=True, seed=number) for number in range(40)}
        for name, image in busy.items():
            station.drop(name, image)
        drop_one_by_one(station, range(20))
        # Each good one would have to wait for a round of them, and each round for seconds.
        assert fault.calls < 10 * 40
        assert names(station) == [f"good {number}.png" for number in range(20)]
        wait_for(lambda: named(station) == (set(busy), 0), 20, pause=0.1)
        assert health(station.port)["status"] != "failing"
        fault.clear()
        finish(station, [*busy.values(), *(good(number) for number in range(20))])


# -- very many ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "count", [100, pytest.param(1000, marks=[pytest.mark.faults, pytest.mark.timeout(1200)])]
)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", HARDEST)
def test_many_sick_ones_stand_behind_every_good_one(tmp_path, bundle, calls, way, kind, count):
    with station_by(way, tmp_path / "station", bundle, SETTINGS) as station:
        station.start(under=calls.under())
        with Sick(kind, count, station, calls) as sick:
            if kind == LARGE:  # nothing is to be waited for: they are refused, one by one
                wait_for(lambda: len(station.rows()) == count, 60 + count / 10)
            else:
                wait_for(lambda: all_named(station, sick.names), 30, pause=0.2)
            already, before = len(station.rows()), sick.tries

            drop_one_by_one(station, range(GOOD))
            tried = sick.tries - before
            for number in range(GOOD, 2 * GOOD):  # and all at once, in the order of their coming
                station.drop(f"good {number}.png", good(number))
            wait_for(lambda: len(station.rows()) >= already + 2 * GOOD, 60)

            assert names(station)[already:] == [f"good {number}.png" for number in range(2 * GOOD)]
            # Tried again behind the good ones, with growing pauses; not in front of each of them.
            assert tried <= 3 * count
            print(f"{tried} tries of {count} {kind} ones while {GOOD} good ones were judged")
            sick.heal()
            finish(station, [*sick.contents, *(good(number) for number in range(2 * GOOD))])
