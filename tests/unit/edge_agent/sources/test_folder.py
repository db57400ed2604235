"""Every whole image is taken, no half one, nothing else; whatever the folder is like."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edge_agent.settings import FolderSettings
from edge_agent.sources.entries import Entries
from edge_agent.sources.folder import FolderSource
from edge_agent.sources.identity import identity_of
from edge_agent.sources.spool import Spool, SpoolError
from edge_agent.sources.watch import Watch
from tests.bundles import make_image
from tests.unit.edge_agent.sources.test_ending import TELLING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge_agent.types import Claim


class Camera:
    """A folder, its source with a clock that only the test moves, and a spool."""

    def __init__(self, root: Path, inbox: Path | None = None, **options: Any) -> None:
        self.inbox = inbox or root / "inbox"
        self.inbox.mkdir(exist_ok=True, parents=True)
        self.judged: dict[str, str] = options.pop("judged", {})
        self.now = 1000.0
        self.woken = threading.Event()
        places = (root / "work", root / "processed", root / "quarantine")
        (root / "id").write_text("0123456789ab\n")
        self.spool = Spool(*places, inbox=self.inbox, root=root)
        patience = options.pop("patience", 0.0)
        settings = {"settle": 0.5, "scan_every": 1.0, **options}
        self.source = FolderSource(
            FolderSettings(path=self.inbox, **settings),
            self.spool,
            judged=self.judged_like,
            wake=self.woken.set,
            patience=patience,
            clock=lambda: self.now,
        )

    def judged_like(self, start: str) -> dict[str, str]:
        return {known: sha for known, sha in self.judged.items() if known.startswith(start)}

    def judge(self, claim: Claim) -> None:
        """Its inspection is committed, and its file filed away."""
        self.judged[claim.id] = hashlib.sha256(claim.path.read_bytes()).hexdigest()
        if claim.copy:
            self.spool.discard(claim)
        else:
            deque(self.spool.keep(claim))

    def write(self, name: str = "a.png", content: bytes = b"pixels") -> Path:
        path = self.inbox / name
        path.write_bytes(content)
        written = time.time_ns() - 60 * 10**9  # nobody who opens it now is taken for its writer
        os.utime(path, ns=(written, written))
        self.told()
        return path

    def told(self) -> None:
        """Wait until the watch knows of all that was done so far: the clock here is no real one."""
        barrier = self.inbox / f".{time.monotonic_ns()}"
        barrier.touch()
        deadline = time.monotonic() + 20
        while barrier.name not in self.source._watch._fresh | self.source._fresh:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        barrier.unlink()

    def look(self, after: float = 0.0, limit: int = 100) -> list[str]:
        """The names that are claimed after some more seconds."""
        return [claim.path.name for claim in self.claims(after, limit)]

    def claims(self, after: float = 0.0, limit: int = 100) -> list[Claim]:
        self.now += after
        return self.source.claim(limit)

    def until(self, satisfied: Callable[[], object]) -> None:
        """Wait for what an event of the filesystem brings."""
        deadline = time.monotonic() + 20
        while not satisfied():
            assert time.monotonic() < deadline
            self.woken.wait(0.01)
            self.woken.clear()


@pytest.fixture
def camera(tmp_path: Path) -> Iterator[Callable[..., Camera]]:
    made: list[Camera] = []

    def make(**options: Any) -> Camera:
        made.append(Camera(options.pop("root", tmp_path), **options))
        return made[-1]

    yield make
    for one in made:
        one.source.close()


# -- when a file is whole ----------------------------------------------------------------------


def test_a_file_is_taken_when_it_has_been_quiet_for_settle_seconds(camera):
    line = camera()
    line.write()

    assert line.look() == []
    assert line.look(after=0.49) == []
    assert line.source.due() == pytest.approx(0.01)
    assert line.look(after=0.01) == ["a.png"]
    assert line.look(after=5) == []


@pytest.mark.parametrize("after", ["move", "keep"])
def test_a_file_closed_block_by_block_is_taken_when_its_end_is_there(camera, after):
    line = camera(patience=5.0, after=after)
    whole = make_image(defect=False)
    for length in (100, 1000):
        line.write(content=whole[:length])
        assert line.look() == []
        assert line.look(after=0.6) == []
    line.write(content=whole)
    assert line.look() + line.look(after=0.5) == ["a.png"]
    assert line.look(after=5) == []


@pytest.mark.parametrize("after", ["move", "keep"])
@pytest.mark.parametrize("kind", ["PNG", "BMP", "PGM, 16 bits", "TIFF"])
def test_a_length_that_is_set_first_and_blocks_that_are_each_closed(camera, after, kind):
    line, whole = camera(patience=5.0, after=after), TELLING[kind]
    path = line.write(content=bytes(len(whole)))
    for start in range(0, len(whole), len(whole) // 4 + 1):
        line.until(lambda: line.source._watch._closed)
        assert line.look() == []
        assert line.look(after=1) == []
        with path.open("r+b") as stream:
            stream.seek(start)
            stream.write(whole[start : start + len(whole) // 4 + 1])
    line.until(lambda: line.source._watch._closed)
    (claim,) = line.claims() + line.claims(after=0.5)
    assert claim.path.read_bytes() == whole


def test_a_file_whose_end_never_comes_is_taken_after_a_while(camera):
    line = camera(patience=5.0)
    line.write(content=make_image(defect=False)[:-1])
    assert line.look() == []
    assert line.look(after=4.9) == []
    assert line.look(after=0.1) == ["a.png"]


def test_what_is_waited_for_is_named_however_long_that_may_be(camera):
    line = camera(patience=3600.0)
    line.write(content=make_image(defect=False)[:-1])
    assert line.look() == []
    assert line.look(after=10) == []
    assert "a.png" not in line.source.ignored
    assert line.look(after=1) == []
    assert "after 11 s" in line.source.ignored["a.png"]


def test_what_is_no_image_is_not_waited_for(camera):
    line = camera(patience=5.0)
    line.write()
    assert line.look() == []
    assert line.look(after=0.5) == ["a.png"]


def test_zeros_may_still_be_coming_where_nobody_was_seen_to_close_the_file(camera, tmp_path):
    (tmp_path / "inbox").mkdir()
    whole = TELLING["BMP"]
    stalled = whole[:-100] + bytes(100)
    (tmp_path / "inbox" / "stalled.bmp").write_bytes(stalled)
    (tmp_path / "inbox" / "whole.bmp").write_bytes(whole)
    line = camera(patience=5.0)
    line.write("closed.bmp", stalled)  # black below, and its writer has let go of it
    line.until(lambda: "closed.bmp" in line.source._watch._closed)
    assert line.look() == []
    assert set(line.look(after=0.5)) == {"closed.bmp", "whole.bmp"}
    assert line.look(after=4.4) == []
    assert line.look(after=0.1) == ["stalled.bmp"]


@pytest.mark.parametrize("after", ["move", "keep"])
def test_a_name_that_is_written_anew_all_the_time_is_taken_at_each_close(camera, after, caplog):
    """The first version is overwritten before it has settled; from then on that is known."""
    caplog.set_level("INFO")
    line = camera(patience=5.0, after=after)
    taken: list[bytes] = []

    def see(number: int) -> None:
        line.write("same.png", make_image(defect=False, seed=number))
        if number:
            line.until(lambda: line.source._watch._closed)
        claims = line.claims(after=0.3)
        taken.extend(claim.path.read_bytes() for claim in claims)
        for claim in claims:
            line.judge(claim)

    for number in range(6):
        see(number)
        line.claims()

    assert taken == [make_image(defect=False, seed=number) for number in range(1, 6)]
    assert caplog.text.count("is written anew before it was quiet") == 1
    assert line.source.trouble == ""


def test_a_name_that_is_written_anew_and_does_not_tell_its_end_is_a_trouble(camera):
    line = camera(patience=5.0)
    for number in range(60):
        line.write("same.png", b"words %d" % number)
        assert line.look(after=0.3) == []
    assert "is still being written to after 1" in line.source.ignored["same.png"]
    assert "no image was taken in the last 1" in line.source.trouble
    assert "same.png" in line.source.trouble

    (line.inbox / "aside.tmp").write_bytes(b"pixels")
    (line.inbox / "aside.tmp").rename(line.inbox / "other.png")
    line.until(lambda: line.look() == ["other.png"])
    line.write("same.png", b"more words")

    assert line.look(after=1) == []
    assert line.source.trouble == ""
    assert "same.png" in line.source.ignored


def test_a_file_that_grows_is_not_taken(camera):
    line = camera()
    path = line.write()
    taken = []
    for _ in range(10):
        taken += line.look(after=0.3)
        with path.open("ab") as stream:
            stream.write(b"more")

    assert taken == []
    line.told()
    line.look(after=1)
    line.told()  # it was read, and closed again
    assert line.look(after=0.5) == ["a.png"]


def test_a_file_rewritten_at_the_same_size_is_not_taken(camera):
    line = camera()
    path = line.write(content=b"one")
    line.look()
    before = path.stat()
    line.write(content=b"two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))  # a clock of coarse ticks

    assert line.look(after=0.5) == []
    assert line.look(after=0.5) == ["a.png"]


@pytest.mark.parametrize("scan", [False, True])
def test_a_file_rewritten_while_it_waits_for_its_turn_settles_again(camera, scan):
    line = camera()
    line.write("a.png")
    waiting = line.write("b.png", b"one")
    os.utime(waiting, ns=(2**62, 2**62))  # the younger one
    line.look()
    assert line.look(after=0.5, limit=1) == ["a.png"]
    line.write("b.png", b"t")

    assert line.look(after=1.0 if scan else 0.0) == []
    assert line.look(after=0.4) == []
    assert line.look(after=0.5) == ["b.png"]


def test_without_settle_a_file_is_taken_at_once(camera):
    line = camera(settle=0.0)
    line.write()

    assert line.look() == ["a.png"]


def test_what_was_there_before_the_start_settles_too(camera, tmp_path):
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox/old.png").write_bytes(b"pixels")
    os.utime(tmp_path / "inbox/old.png", (1, 1))
    line = camera()

    assert line.look() == []
    assert line.look(after=0.5) == ["old.png"]


def test_the_oldest_is_taken_first(camera):
    line = camera()
    for mtime, name in ((30, "a.png"), (10, "b.png"), (20, "c.png")):
        os.utime(line.write(name), (mtime, mtime))
    line.look()

    assert line.look(after=1, limit=2) == ["b.png", "c.png"]
    assert line.source.waiting() == 1
    assert line.source.due() == 0.0
    assert line.look() == ["a.png"]


def test_a_file_renamed_into_the_folder_is_taken_at_once(camera, tmp_path):
    line = camera(settle=3600)
    line.look()
    (tmp_path / "made.png").write_bytes(b"pixels")
    taken: list[str] = []

    (tmp_path / "made.png").rename(line.inbox / "a.png")

    line.until(lambda: taken.extend(line.look()) or taken)
    assert taken == ["a.png"]


def test_a_file_renamed_within_the_folder_is_taken_at_once(camera):
    line = camera(settle=3600)
    path = line.write("a.png.part")
    line.look()
    taken: list[str] = []

    path.rename(line.inbox / "a.png")

    line.until(lambda: taken.extend(line.look()) or taken)
    assert taken == ["a.png"]


@pytest.mark.parametrize("name", ["a.txt", ".a.png", "a.png.tmp"])
def test_what_is_renamed_in_under_a_name_that_is_none_is_left(camera, tmp_path, name):
    line = camera()
    line.look()
    (tmp_path / "made").write_bytes(b"pixels")

    (tmp_path / "made").rename(line.inbox / name)

    assert line.woken.wait(20)
    assert line.look() == line.look(after=1) == line.look(after=1) == []
    assert (line.inbox / name).exists()


def test_a_link_renamed_in_is_not_followed(camera, tmp_path):
    line = camera()
    (tmp_path / "secret.png").write_bytes(b"secret")
    (tmp_path / "link").symlink_to("secret.png")
    line.look()

    (tmp_path / "link").rename(line.inbox / "a.png")

    line.until(lambda: line.look(after=1) or line.source.ignored)
    assert line.source.ignored == {"a.png": "is a symbolic link: links are not followed"}


def test_a_file_written_in_place_wakes_the_source(camera):
    line = camera()
    line.look()

    line.write()

    assert line.woken.wait(20)


def test_a_hard_link_into_the_folder_is_found(camera, tmp_path):
    line = camera()
    (tmp_path / "made.png").write_bytes(b"pixels")
    os.link(tmp_path / "made.png", line.inbox / "a.png")

    line.look()
    assert line.look(after=0.5) == ["a.png"]


def test_one_name_again_and_again(camera):
    line = camera()
    for number in range(3):
        line.write(content=b"%d" % number)
        line.look(after=1)
        (claim,) = line.claims(after=1)
        assert claim.path.read_bytes() == b"%d" % number


def test_a_folder_that_takes_the_place_of_another_is_watched_as_that_one_was(camera, tmp_path):
    line = camera()
    line.inbox.rename(tmp_path / "old")
    line.inbox.mkdir()
    line.look(after=2)
    (tmp_path / "made.png").write_bytes(b"pixels")
    (tmp_path / "made.png").rename(line.inbox / "a.png")

    taken = []  # the clock stands still: no scan is due, only an event can tell
    line.until(lambda: taken.extend(line.look()) or taken)
    assert taken == ["a.png"]


# -- what is not taken -------------------------------------------------------------------------


def test_everything_else_stays_and_is_named(camera):
    line = camera()
    line.write("words.txt")
    (line.inbox / "folder.png").mkdir()
    (line.inbox / "link.png").symlink_to(line.write("good.png"))
    (line.inbox / "broken.png").symlink_to("nowhere")
    os.mkfifo(line.inbox / "pipe.png")
    line.look()

    assert line.look(after=1) == ["good.png"]
    assert line.source.ignored == {
        "words.txt": "its name matches no pattern in [source.folder]",
        "folder.png": "is a directory: only files directly in the folder are taken",
        "link.png": "is a symbolic link: links are not followed",
        "broken.png": "is a symbolic link: links are not followed",
        "pipe.png": "is not a regular file",
    }


@pytest.mark.parametrize(
    "name", [".a.png", "a.png.tmp", "a.TMP", "a.png.part", "a.partial", "a.png.filepart", "a.png~"]
)
def test_names_of_what_is_not_finished_are_passed_over_in_silence(camera, name):
    line = camera(patterns=["*"])
    line.write(name)
    line.look()

    assert line.look(after=10) == []
    assert line.source.ignored == {}


@pytest.mark.parametrize(
    "name",
    ["A.PNG", "a.JpEg", "two\nlines.png", "\udcff.png", "x" * 251 + ".png", "#+.tif", "-.png"],
)
def test_names_that_are_taken(camera, name):
    line = camera()
    line.write(name)
    line.look()

    assert line.look(after=1) == [name]


def test_the_reasons_are_bounded_however_many_there_are(camera):
    line = camera()
    for number in range(250):
        line.write(f"{number:03}.xml")
    line.look()

    assert len(line.source.ignored) == 101
    assert line.source.ignored["and 150 more"] == "are ignored too"


def test_files_that_are_never_taken_do_not_hide_the_others(camera, monkeypatch):
    monkeypatch.setattr("edge_agent.sources.folder.LISTED", 50)
    line = camera()
    for number in range(60):
        line.write(f"{number}.xml")
    taken: list[str] = []
    for number in range(120):
        line.write(f"{number}.png")

    for _ in range(20):
        taken += line.look(after=1)

    assert len(taken) == len(set(taken)) == 120


def test_a_reason_goes_with_its_file(camera):
    line = camera()
    path = line.write("words.txt")
    line.look()
    path.unlink()
    line.look(after=1)

    assert line.source.ignored == {}


# -- keep --------------------------------------------------------------------------------------


def test_what_stays_is_taken_once(camera):
    line = camera(after="keep")
    path = line.write()
    line.look()

    (claim,) = line.claims(after=1)

    assert claim.copy
    assert path.read_bytes() == claim.path.read_bytes() == b"pixels"
    for _ in range(5):
        assert line.look(after=1) == []


def test_what_stays_and_changes_is_taken_again(camera):
    line = camera(after="keep")
    line.write(content=b"one")
    line.look()
    (first,) = line.claims(after=1)
    line.write(content=b"other")
    line.look(after=1)
    (second,) = line.claims(after=1)

    assert first.id != second.id
    assert second.path.read_bytes() == b"other"


def test_what_stays_is_known_after_a_restart(camera):
    line = camera(after="keep")
    line.write()
    line.look()
    (claim,) = line.claims(after=1)
    line.judge(claim)
    line.source.close()

    again = camera(after="keep")
    again.judged |= line.judged
    again.look()

    assert again.look(after=1) == []


def test_what_stays_and_is_in_work_after_a_restart_is_not_taken_twice(camera):
    line = camera(after="keep")
    line.write()
    line.look()
    line.claims(after=1)
    line.source.close()

    again = camera(after="keep")
    assert len(list(again.spool.recover())) == 1
    again.look()

    assert again.look(after=1) == []
    assert again.spool.depth() == 1


def test_a_folder_that_may_only_be_read_is_enough_to_keep(camera, unprivileged):
    (unprivileged / "inbox").mkdir()
    (unprivileged / "inbox/a.png").write_bytes(b"pixels")
    (unprivileged / "inbox").chmod(0o555)
    line = camera(root=unprivileged, after="keep")
    line.look()

    assert line.look(after=1) == ["a.png"]


def test_names_wait_on_disk_and_not_in_memory(camera, monkeypatch):
    """A camera that is faster than the line for days tells of every image that it renames in."""
    monkeypatch.setattr("edge_agent.sources.folder.LISTED", 50)
    line = camera()
    drain, told = Watch.drain, set()

    def listening(watch):
        changed, renamed, closed = drain(watch)
        told.update(renamed)
        return changed, renamed, closed

    monkeypatch.setattr(Watch, "drain", listening)
    for number in range(600):
        aside = line.inbox.parent / "aside"
        aside.write_bytes(b"pixels")
        aside.rename(line.inbox / f"{number}.png")

    line.until(lambda: line.look(limit=0) or len(told) == 600)

    assert line.source.waiting() == 50
    taken: list[str] = []
    for _ in range(100):
        taken += line.look(after=1)

    assert len(taken) == len(set(taken)) == 600


# -- another filesystem ------------------------------------------------------------------------


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("/dev/shm is not another filesystem here")
    with tempfile.TemporaryDirectory(dir=shm) as other:
        yield Path(other)


def test_a_folder_on_another_filesystem_is_emptied_by_renames_too(camera, elsewhere):
    line = camera(inbox=elsewhere)
    path = line.write()
    inode = path.stat().st_ino
    line.look()

    (claim,) = line.claims(after=1)

    assert claim.path.read_bytes() == b"pixels"
    assert claim.path.stat().st_ino == inode
    assert not claim.copy
    assert not path.exists()
    line.judge(claim)
    assert (line.spool._processed / "a.png").read_bytes() == b"pixels"
    assert [path.name for path in elsewhere.iterdir()] == [".edge-agent-0123456789ab"]
    assert line.spool.depth() == 0


@pytest.mark.parametrize("same", [True, False])
def test_on_another_filesystem_the_same_again_is_another_image(camera, elsewhere, same):
    line = camera(inbox=elsewhere)
    taken = []
    for _ in range(3):
        path = line.write()
        os.utime(path, (5, 5))
        line.look(after=1)
        taken += line.claims(after=1)
        if not same:
            line.judge(taken[-1])

    assert len({claim.id for claim in taken}) == 3


def test_two_stations_on_one_folder_share_its_images(camera, elsewhere, tmp_path):
    (tmp_path / "two").mkdir()
    one, two = camera(inbox=elsewhere), camera(root=tmp_path / "two", inbox=elsewhere)
    two.spool._aside = elsewhere / ".edge-agent-ba9876543210"
    for number in range(20):
        one.write(f"{number}.png")
    for line in (one, two):
        line.look()
        line.look(after=1, limit=0)

    taken = [name for _ in range(20) for line in (one, two) for name in line.look(limit=1)]

    assert len(taken) == len(set(taken)) == 20


def test_what_another_station_has_claimed_and_not_filed_is_named(camera, elsewhere):
    home = elsewhere / ".edge-agent-ba9876543210" / "0123456789abcdef01234567"
    home.mkdir(parents=True)
    (home / "a.png").write_bytes(b"pixels")
    line = camera(inbox=elsewhere)

    line.look()
    assert line.source.ignored == {}
    line.look(after=100)

    assert "holds 1 images" in line.source.ignored[".edge-agent-ba9876543210"]


def test_a_folder_that_was_away_at_the_start_gives_back_what_was_claimed_in_it(
    camera, elsewhere, tmp_path
):
    inbox = elsewhere / "inbox"
    line = camera(inbox=inbox)
    line.write()
    line.look()
    (claim,) = line.claims(after=1)
    line.source.close()
    inbox.rename(elsewhere / "away")
    again = camera(inbox=inbox)
    assert list(again.spool.recover()) == []
    inbox.rmdir()
    again.look(after=2)

    (elsewhere / "away").rename(inbox)

    claims = again.claims(after=2)
    assert [(c.id, c.recovered) for c in claims] == [(claim.id, True)]
    assert again.claims(after=2) == []


def test_a_full_disk_delays_a_copy_and_loses_nothing(camera, monkeypatch):
    line = camera(after="keep")
    line.write()
    line.look()
    with monkeypatch.context() as patch:
        full = OSError(errno.ENOSPC, "No space left on device")
        patch.setattr("edge_agent.sources.copying.os.pwrite", raising(full))
        with pytest.raises(OSError, match="No space left"):
            line.look(after=1)
        assert list(line.spool._work.iterdir()) == []

    line.look(after=1)
    assert line.look(after=1) == ["a.png"]


# -- a version of a file that stays --------------------------------------------------------------


def kept(camera, **options: Any) -> tuple[Camera, Path]:
    """A file that was judged, and stays."""
    line = camera(after="keep", **options)
    path = line.write()
    os.utime(path, (5, 5))
    line.look()
    (claim,) = line.claims(after=1)
    line.judge(claim)
    line.until(lambda: not line.source._watch.writing("a.png", (0, 0)))
    line.look(after=1)
    return line, path


def test_a_change_of_rights_makes_no_other_image(camera):
    line, path = kept(camera)

    path.chmod(0o600)

    line.look(after=1)
    assert line.look(after=1) == []


@pytest.mark.parametrize("way", ["written again", "removed and written", "renamed over"])
def test_the_same_again_is_another_image(camera, way):
    line, path = kept(camera)

    if way == "removed and written":
        path.unlink()
        line.look(after=1)
    if way == "renamed over":
        aside = line.inbox.parent / "aside"
        aside.write_bytes(b"pixels")
        os.utime(aside, (5, 5))
        aside.rename(path)
    else:
        path.write_bytes(b"pixels")
        os.utime(path, (5, 5))

    taken: list[str] = []
    line.until(lambda: taken.extend(line.look(after=1)) or taken)
    assert taken == ["a.png"]
    for _ in range(3):
        assert line.look(after=1) == []


def test_where_inodes_get_other_numbers_the_bytes_decide(camera):
    """As after another mount of a FAT filesystem, or of one in user space."""
    line, path = kept(camera)
    line.source.close()
    (line.inbox / "other").write_bytes(b"pixels")
    os.utime(line.inbox / "other", (5, 5))
    (line.inbox / "other").rename(path)
    for last in (False, True):
        again = camera(after="keep", judged=line.judged)
        again.source._inodes_last = last
        again.look()
        assert again.look(after=1) == (["a.png"] if last else [])
        again.source.close()


def test_after_a_restart_the_bytes_decide(camera):
    line, path = kept(camera)
    line.source.close()
    path.chmod(0o600)
    same = camera(after="keep")
    same.judged |= line.judged
    same.look()
    assert same.look(after=1) == []
    same.source.close()
    path.write_bytes(b"others")
    os.utime(path, (5, 5))

    other = camera(after="keep")
    other.judged |= line.judged
    other.look()

    assert other.look(after=1) == ["a.png"]


def test_an_inode_number_that_is_given_again_is_another_file(camera, monkeypatch):
    """Where the filesystem tells by the inode's generation, as ext4, XFS and Btrfs do."""
    line, path = kept(camera)
    line.source.close()
    path.chmod(0o600)
    for generation, taken in ((7, []), (8, ["a.png"])):
        monkeypatch.setattr("edge_agent.sources.identity.generation", lambda _, g=generation: g)
        if generation == 7:
            line.judged = {
                identity_of(path, path.lstat(), stays=True).whole: digest
                for digest in line.judged.values()
            }
            path.chmod(0o644)
        again = camera(after="keep", judged=line.judged)
        again.look()
        assert again.look(after=1) == taken
        again.source.close()


def test_what_version_0_1_has_judged_is_not_judged_again(camera):
    path = camera(after="keep").write()
    line = camera(after="keep")
    key = f"{os.fsencode(path)!r}\0{path.stat().st_size}\0{path.stat().st_mtime_ns}"
    earlier = "k" + hashlib.sha256(key.encode()).hexdigest()[:23]
    line.judged[earlier] = hashlib.sha256(b"pixels").hexdigest()
    line.look()

    assert line.look(after=1) == []


def test_what_stays_and_is_too_large_is_refused_without_a_copy(camera):
    line = camera(after="keep")
    line.source._max_bytes = 5
    line.write()
    line.look()

    (claim,) = line.claims(after=1)

    assert claim.refused is not None
    assert claim.refused.reason == "6 bytes is more than the limit of 5"
    assert line.spool.depth() == 0
    line.spool.discard(claim)
    assert (line.inbox / "a.png").exists()
    assert line.look(after=1) == []


def test_a_large_copy_is_made_in_steps(camera, monkeypatch):
    monkeypatch.setattr("edge_agent.sources.copying._STEP", 1000)
    monkeypatch.setattr("edge_agent.sources.copying._PIECE", 1000)
    line = camera(after="keep")
    line.write(content=b"x" * 5500)
    line.look()

    taken = [line.look(after=1)]
    while not taken[-1]:
        assert line.source.due() == 0.0
        taken.append(line.look())

    assert taken == [[]] * 5 + [["a.png"]]


# -- an entry that can't be taken ------------------------------------------------------------------


def test_each_has_a_back_off_of_its_own_behind_what_is_new(camera, monkeypatch):
    line = camera()
    for number in range(5):
        line.write(f"busy {number}.png")
    line.look()
    real, tries = line.spool.claim, []

    def claim(path):
        tries.append(path.name)
        if "busy" in path.name:
            raise OSError(errno.EBUSY, "Device or resource busy", str(path))
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(line.spool, "claim", claim)
        assert line.look(after=1) == []
        assert len(line.source.delayed) == 5
        order: list[str] = []
        for number in range(100):
            line.write(f"good {number}.png")
            order += line.look(after=0.3)
        while "good 99.png" not in order:
            order += line.look(after=1, limit=1)
        assert order == [f"good {number}.png" for number in range(100)]
        tries.clear()
        for _ in range(60):
            line.look(after=1)
        assert len([name for name in tries if name == "busy 0.png"]) <= 10
        assert set(line.source.ignored) == {f"busy {number}.png" for number in range(5)}

    taken = [name for _ in range(60) for name in line.look(after=1)]
    assert sorted(taken) == [f"busy {number}.png" for number in range(5)]
    line.look(after=1)
    assert line.source.delayed == line.source.ignored == {}


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EBUSY])
def test_what_can_not_be_read_once_is_read_again(camera, monkeypatch, number):
    line = camera(after="keep")
    line.write()
    line.look()
    with monkeypatch.context() as patch:
        patch.setattr(
            "edge_agent.sources.copying.os.pread", raising(OSError(number, os.strerror(number)))
        )
        assert line.look(after=1) == []
    assert line.source.delayed == {"a.png": f"can not be read: {os.strerror(number)}"}

    assert line.look(after=1) + line.look(after=1) == ["a.png"]
    assert line.source.delayed == {}


def test_a_disk_of_our_own_that_fails_is_no_fault_of_the_file(camera, monkeypatch):
    line = camera(after="keep")
    line.write()
    line.look()
    with monkeypatch.context() as patch:
        patch.setattr(
            "edge_agent.sources.copying.os.fsync", raising(OSError(errno.EIO, "I/O error"))
        )
        with pytest.raises(OSError, match="/work/"):
            line.look(after=1)

    assert line.source.delayed == line.source.ignored == {}
    line.look(after=1)
    assert line.look(after=1) == ["a.png"]


# -- who writes ------------------------------------------------------------------------------------


def test_a_file_is_whole_when_its_writer_has_closed_it(camera):
    line = camera()
    with (line.inbox / "a.png").open("wb", buffering=0) as writer:
        writer.truncate(1000)
        line.until(lambda: line.source._watch.writing("a.png", (0, 0)))
        for _ in range(20):
            assert line.look(after=1) == []
        assert "is still being written to" in line.source.ignored["a.png"]
        writer.write(b"pixels")
    line.until(lambda: not line.source._watch.writing("a.png", (0, 0)))

    line.look()
    assert line.look(after=1) == ["a.png"]


def test_a_file_that_nobody_was_seen_to_close_is_taken_after_a_minute_of_quiet(camera):
    line = camera()
    with (line.inbox / "a.png").open("wb", buffering=0) as writer:
        writer.write(b"pixels")
        line.until(lambda: line.source._watch.writing("a.png", (0, 0)))
        line.look()
        assert line.look(after=50) == []
        assert line.look(after=11) == ["a.png"]


# -- what may not be done ----------------------------------------------------------------------


def raising(error: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_a_full_disk_in_the_middle_of_a_batch_loses_no_claim(camera, monkeypatch):
    line = camera()
    for name in ("a.png", "b.png", "c.png"):
        line.write(name)
    line.look()
    real, calls = line.spool.claim, []

    def claim(path):
        calls.append(path)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return real(path)

    monkeypatch.setattr(line.spool, "claim", claim)
    taken = line.look(after=1)
    for _ in range(3):
        taken += line.look(after=1)

    assert sorted(taken) == ["a.png", "b.png", "c.png"]


def test_what_can_not_be_claimed_at_all_is_told_to_the_caller(camera, monkeypatch):
    line = camera()
    line.write()
    line.look()
    with monkeypatch.context() as patch:
        patch.setattr(line.spool, "claim", raising(OSError(errno.ENOSPC, "No space left")))
        with pytest.raises(OSError, match="No space left"):
            line.look(after=1)

    line.look(after=1)
    assert line.look(after=1) == ["a.png"]


def test_a_file_that_may_not_be_read_is_named_until_it_may(camera, unprivileged):
    line = camera(root=unprivileged, after="keep")
    path = line.write()
    path.chmod(0)
    line.write("good.png")
    line.look()

    assert line.look(after=1) == ["good.png"]
    assert line.source.ignored == {"a.png": "can not be read: Permission denied"}
    assert line.look(after=1) == []
    assert line.source.ignored == {"a.png": "can not be read: Permission denied"}

    path.chmod(0o644)
    line.look(after=1)
    assert line.look(after=1) == ["a.png"]
    line.look(after=1)
    assert line.source.ignored == {}


def test_a_file_that_may_be_read_and_not_removed_is_taken_once_and_named(camera, unprivileged):
    line = camera(root=unprivileged)
    line.write()
    line.look()
    line.inbox.chmod(0o555)  # after the start

    (claim,) = line.claims(after=1)

    assert claim.path.read_bytes() == b"pixels"
    for _ in range(3):
        assert line.look(after=1) == []
        assert line.source.ignored == {
            "a.png": "was judged, but it can't be removed: Permission denied"
        }
    line.inbox.chmod(0o755)


@pytest.mark.parametrize("recorded", [True, False])
def test_a_file_that_can_be_removed_after_a_restart_is_no_other_frame(
    camera, unprivileged, recorded
):
    line = camera(root=unprivileged)
    line.write()
    line.look()
    line.inbox.chmod(0o555)
    (claim,) = line.claims(after=1)
    if recorded:
        line.judge(claim)
    line.source.close()
    line.inbox.chmod(0o755)

    again = camera(root=unprivileged, judged=line.judged)
    assert len(list(again.spool.recover())) == (not recorded)
    again.look()

    assert again.look(after=1) == []
    assert list(again.inbox.iterdir()) == []
    assert again.spool.depth() == (not recorded)


def test_work_that_may_not_be_written_is_no_fault_of_the_file(camera, unprivileged):
    line = camera(root=unprivileged)
    line.write()
    line.look()
    (unprivileged / "work").chmod(0o555)

    with pytest.raises(PermissionError) as caught:
        line.look(after=1)
    assert "/work/" in str(caught.value.filename)

    (unprivileged / "work").chmod(0o755)
    line.look(after=1)
    assert line.look(after=1) == ["a.png"]


def test_the_folder_must_be_there(tmp_path):
    with pytest.raises(
        SpoolError, match=r"inbox is not a directory: create it, and let the camera"
    ):
        FolderSource(
            FolderSettings(path=tmp_path / "inbox"),
            Spool(tmp_path / "work", tmp_path / "processed", tmp_path / "quarantine"),
            judged=lambda _: {},
            wake=lambda: None,
        )


def test_the_folder_must_be_writable_to_move(camera, unprivileged):
    (unprivileged / "inbox").mkdir(mode=0o555)

    with pytest.raises(SpoolError, match=r'not writable \(Permission denied\).*set after = "keep"'):
        camera(root=unprivileged)


def test_a_folder_that_may_not_be_seen_is_told_like_one_that_may_not_be_written(unprivileged):
    (unprivileged / "home").mkdir(mode=0)

    with pytest.raises(SpoolError, match=r"home/inbox is not writable \(Permission denied\)"):
        FolderSource(
            FolderSettings(path=unprivileged / "home" / "inbox"),
            Spool(unprivileged / "work", unprivileged / "processed", unprivileged / "quarantine"),
            judged=lambda _: {},
            wake=lambda: None,
        )


def test_the_check_leaves_nothing_in_the_folder(camera):
    assert list(camera().inbox.iterdir()) == []


def test_a_folder_that_goes_and_comes_back(camera):
    line = camera()
    line.look()
    line.inbox.rmdir()

    assert line.look(after=2) == []
    assert line.source.trouble == f"{line.inbox} can't be listed: No such file or directory"
    assert line.source.due() <= 1.0

    line.inbox.mkdir()
    (line.inbox / "a.png").write_bytes(b"pixels")
    line.look(after=2)
    assert line.look(after=2) == ["a.png"]
    assert line.source.trouble == ""


# -- many --------------------------------------------------------------------------------------


def test_a_thousand_files_by_scan_and_by_event_are_each_taken_once(camera, tmp_path):
    line = camera()
    (tmp_path / "stage").mkdir()
    taken: list[str] = []
    for number in range(500):
        line.write(f"written {number}.png")
        staged = tmp_path / "stage" / f"renamed {number}.png"
        staged.write_bytes(b"pixels")
        staged.rename(line.inbox / staged.name)
        if number % 50 == 0:
            taken += line.look(after=0.3, limit=16)

    line.until(lambda: taken.extend(line.look(after=1)) or len(taken) >= 1000)

    assert len(taken) == len(set(taken)) == 1000
    assert list(line.inbox.iterdir()) == []


def test_events_in_a_large_folder_do_not_scan_it_all_the_time(camera, monkeypatch):
    line = camera(scan_every=100.0)
    scans = []
    real = Entries.list

    def slow(entries):
        scans.append(line.now)
        yield from real(entries)
        line.now += 0.5  # such a folder takes half a second to list

    monkeypatch.setattr(Entries, "list", slow)
    while line.now < 1100:
        line.source._rescan = True  # an event
        line.look(after=0.01)

    assert len(scans) * 0.5 <= 0.21 * 100
    assert len(scans) >= 30
