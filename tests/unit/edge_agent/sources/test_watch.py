"""Events say that something may have changed, and what was renamed in."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from edge_agent.sources import watch as module
from edge_agent.sources.watch import Watch
from tests.line import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Seen:
    """A watch on a folder, and everything that it has told so far."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.changed = False
        self.renamed: list[str] = []
        self.woken = threading.Event()
        self.watch = Watch(folder, self.woken.set)

    def drain(self) -> None:
        changed, renamed, _ = self.watch.drain()
        self.changed |= changed
        self.renamed += renamed

    def until(self, satisfied: Callable[[], object]) -> None:
        deadline = time.monotonic() + 20
        while not satisfied():
            assert time.monotonic() < deadline, (self.changed, self.renamed)
            self.woken.wait(0.05)
            self.woken.clear()
            self.drain()


@pytest.fixture
def seen(tmp_path: Path) -> Iterator[Seen]:
    (tmp_path / "inbox").mkdir()
    made = Seen(tmp_path / "inbox")
    yield made
    made.watch.close()


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "made.png"
    path.write_bytes(b"pixels")
    return path


def version(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def test_nothing_happened(seen):
    assert seen.watch.drain() == (False, [], [])


def test_renamed_in(seen, outside):
    outside.rename(seen.folder / "a.png")

    seen.until(lambda: seen.renamed == ["a.png"])


def test_renamed_within(seen):
    (seen.folder / "a.tmp").write_bytes(b"pixels")

    (seen.folder / "a.tmp").rename(seen.folder / "a.png")

    seen.until(lambda: "a.png" in seen.renamed)
    assert set(seen.renamed) == {"a.png"}


def test_created_and_written_is_a_change_and_no_rename(seen):
    (seen.folder / "a.png").write_bytes(b"pixels")

    seen.until(lambda: seen.changed)
    assert seen.renamed == []


def test_linked_in_is_a_change(seen, outside):
    os.link(outside, seen.folder / "a.png")

    seen.until(lambda: seen.changed)


def test_who_only_reads_is_no_writer(seen, outside):
    os.link(outside, seen.folder / "linked.png")
    with (seen.folder / "linked.png").open("rb"):
        seen.until(lambda: seen.watch.writing("linked.png", (0, 0)))  # for all that is known
    seen.until(lambda: not seen.watch.writing("linked.png", (0, 0)))


def test_a_reader_ends_no_writing(seen, outside):
    path = seen.folder / "a.png"
    with path.open("wb", buffering=0) as writer:
        writer.write(b"pix")
        seen.until(lambda: seen.watch.writing("a.png", (0, 0)))
        path.read_bytes()
        outside.rename(seen.folder / "last.png")  # events come in order
        seen.until(lambda: "last.png" in seen.renamed)
        assert seen.watch.writing("a.png", (0, 0))
    seen.until(lambda: not seen.watch.writing("a.png", (0, 0)))


def test_who_only_reads_an_old_file_is_no_writer_though_another_writes_then(seen, outside):
    path = seen.folder / "a.png"
    os.utime(outside, (5, 5))
    outside.rename(path)
    seen.until(lambda: seen.renamed == ["a.png"])
    with path.open("rb"):
        seen.until(lambda: seen.watch.writing("a.png", (0, 0)))
        assert not seen.watch.writing("a.png", version(path))
        with path.open("ab", buffering=0) as writer:
            writer.write(b"more")
            assert seen.watch.writing("a.png", version(path))
        seen.until(lambda: not seen.watch.writing("a.png", version(path)))


def test_who_opens_what_was_just_changed_may_be_its_writer(seen):
    path = seen.folder / "a.png"
    path.write_bytes(b"pixels")
    seen.until(lambda: not seen.watch.writing("a.png", (0, 0)))
    with path.open("r+b", buffering=0) as writer:
        seen.until(lambda: seen.watch.writing("a.png", version(path)))
        writer.write(b"others")
    seen.until(lambda: not seen.watch.writing("a.png", version(path)))


def test_a_file_that_came_while_the_folder_was_listed_is_not_forgotten(seen):
    seen.watch.fresh()  # a scan begins
    with (seen.folder / "a.png").open("wb"):
        seen.until(lambda: seen.watch.writing("a.png", (0, 0)))
        seen.watch.keep_only(set())  # and ends: it was not there yet
        assert seen.watch.writing("a.png", (0, 0))
        seen.watch.fresh()
        seen.watch.keep_only(set())
        assert not seen.watch.writing("a.png", (0, 0))


def test_a_file_that_grows_makes_no_events(seen):
    path = seen.folder / "a.png"
    with path.open("wb", buffering=0) as writer:
        seen.until(lambda: seen.watch.writing("a.png", (0, 0)))
        told: list[Any] = []
        seen.watch._handler.on_any_event = told.append
        for _ in range(100):
            writer.write(b"+")
    wait_for(lambda: told)
    assert [event.event_type for event in told if not event.is_directory] == ["closed"]


def test_renamed_out_is_nothing(seen, outside):
    (seen.folder / "a.png").write_bytes(b"pixels")
    seen.until(lambda: seen.changed)

    (seen.folder / "a.png").rename(outside.with_name("b.png"))
    outside.rename(seen.folder / "last.png")  # events come in order

    seen.until(lambda: "last.png" in seen.renamed)
    assert seen.renamed == ["last.png"]


def test_a_rename_out_does_not_hold_back_what_follows(seen, outside):
    # To pair it with a rename in, watchdog would hold it, and all behind it, for half a second.
    (seen.folder / "a.png").write_bytes(b"pixels")
    seen.until(lambda: seen.changed)
    fastest = 60.0
    for number in range(5):
        ready = outside.with_name("next.png")
        ready.write_bytes(b"pixels")
        start = time.monotonic()
        (seen.folder / "a.png").rename(outside.with_name(f"{number}.png"))
        ready.rename(seen.folder / "a.png")
        seen.until(lambda number=number: len(seen.renamed) > number)
        fastest = min(fastest, time.monotonic() - start)

    assert fastest < 0.25


@pytest.mark.parametrize(
    "name", ["two\nlines.png", "\udcff\udcfe.png", "ü" * 125 + ".png", "#+ $.png"]
)
def test_any_name(seen, outside, name):
    outside.rename(seen.folder / name)

    seen.until(lambda: seen.renamed == [name])


def test_directories_are_not_of_interest(seen, outside):
    (seen.folder / "sub").mkdir()
    (seen.folder / "sub" / "a.png").write_bytes(b"pixels")
    outside.rename(seen.folder / "last.png")

    seen.until(lambda: seen.renamed)
    assert seen.renamed == ["last.png"]


@pytest.mark.parametrize("way", ["{}/", "{}/../inbox", "{}/."])
def test_the_folder_may_be_named_in_any_way(seen, outside, way):
    seen.watch.close()
    again = Seen(type(seen.folder)(way.format(seen.folder)))
    try:
        outside.rename(seen.folder / "a.png")
        again.until(lambda: again.renamed == ["a.png"])
    finally:
        again.watch.close()


def test_a_folder_behind_a_link(seen, outside):
    link = outside.with_name("link")
    link.symlink_to(seen.folder)
    again = Seen(link)
    try:
        outside.rename(link / "a.png")
        again.until(lambda: again.renamed == ["a.png"])
    finally:
        again.watch.close()


def test_a_folder_that_is_made_anew_is_no_longer_watched(seen):
    assert not seen.watch.lost()

    seen.folder.rmdir()
    assert not seen.watch.lost()  # there is none that could be watched instead
    seen.folder.mkdir()  # on many filesystems with the number of the old one

    seen.until(seen.watch.lost)


def test_a_folder_that_is_exchanged_is_no_longer_watched(seen, tmp_path):
    seen.folder.rename(tmp_path / "old")
    seen.folder.mkdir()

    assert seen.watch.lost()


def test_many_hints_become_one_scan(seen, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "HINTS", 10)
    for number in range(30):
        (tmp_path / "made").write_bytes(b"pixels")
        (tmp_path / "made").rename(seen.folder / f"{number}.png")

    deadline = time.monotonic() + 20
    while len(seen.watch._renamed) < 10 or not seen.watch._changed:
        assert time.monotonic() < deadline
        seen.woken.wait(0.05)
    seen.drain()

    assert seen.changed
    assert len(seen.renamed) == 10


def test_a_folder_that_can_not_be_watched_is_only_scanned(tmp_path):
    watch = Watch(tmp_path / "none", lambda: None)

    assert watch.drain() == (False, [], [])
    watch.close()
    watch.close()


# -- folders in the folder ----------------------------------------------------------------------


def follow(seen, **folders: int) -> bool:
    for name in folders:
        (seen.folder / name).mkdir(exist_ok=True)
    return seen.watch.follow(folders)


def test_a_new_folder_is_a_change(seen):
    (seen.folder / "2026-11-30").mkdir()

    seen.until(lambda: seen.changed)


def test_what_happens_in_a_folder_that_is_followed_is_told_by_its_whole_name(seen, outside):
    assert follow(seen, day=1)
    assert not follow(seen, day=1)

    outside.rename(seen.folder / "day/a.png")
    with (seen.folder / "day/b.png").open("wb") as stream:
        stream.write(b"pixels")
        stream.flush()
        seen.until(lambda: seen.watch.writing("day/b.png", (0, 0)))

    seen.until(lambda: seen.renamed == ["day/a.png"])
    seen.until(lambda: not seen.watch.writing("day/b.png", (0, 0)))
    assert {"day/a.png", "day/b.png"} <= seen.watch.fresh()
    assert not seen.watch.lost()


def test_a_folder_that_is_removed_and_made_again_is_followed_anew(seen, outside):
    follow(seen, day=1)
    (seen.folder / "day").rmdir()
    (seen.folder / "day").mkdir()

    # It may have the number of the one before: that its emitter has ended tells then.
    seen.until(lambda: seen.watch.follow({"day": 1}))
    outside.rename(seen.folder / "day/a.png")

    seen.until(lambda: seen.renamed == ["day/a.png"])
    assert not seen.watch.lost()


def test_the_newest_folders_are_followed_and_no_more(seen, outside):
    before = threading.active_count()
    days = {f"d{n}": n for n in range(100)}

    follow(seen, **days)

    assert threading.active_count() - before <= 2 * module._FOLLOWED
    outside.rename(seen.folder / "d99/a.png")
    seen.until(lambda: seen.renamed == ["d99/a.png"])
    follow(seen)
    assert threading.active_count() <= before


def test_the_end_of_the_inbox_is_seen_beside_folders_that_are_followed(seen):
    follow(seen, day=1)
    (seen.folder / "day").rmdir()
    seen.folder.rmdir()
    seen.folder.mkdir()

    deadline = time.monotonic() + 20
    while not seen.watch.lost():
        assert time.monotonic() < deadline
        time.sleep(0.01)
