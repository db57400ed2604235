"""Files are taken, kept and put aside whole, once, under any name, over any crash."""

from __future__ import annotations

import errno
import json
import os
import resource
import tempfile
from collections import deque
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.sources.identity import identity_of
from edge_agent.sources.spool import Note, Spool, SpoolError, new_id
from edge_agent.types import Failure, Image, ReplyTo

IMAGE = b"pixels"
NAMES = [
    "part 1.png",
    "x" * 251 + ".png",
    "ü" * 125 + ".png",
    "two\nlines.png",
    "-rf.png",
    "#+$.png",
    "no suffix",
    "bad \udcff\udcfe bytes.png",
    "\udcff" * 251 + ".png",
    "a." + "s" * 253,
]


class Place:
    """A spool with its directories, as a station has them."""

    def __init__(self, root: Path, processed: Path | None = None) -> None:
        self.inbox = root / "inbox"
        self.inbox.mkdir(exist_ok=True)
        self.work = root / "work"
        self.processed = processed or root / "processed"
        self.quarantine = root / "quarantine"
        self.spool = self.restart()

    def restart(self) -> Spool:
        self.spool = Spool(self.work, self.processed, self.quarantine)
        return self.spool

    def drop(self, name: str = "a.png", content: bytes = IMAGE) -> Path:
        path = self.inbox / name
        path.write_bytes(content)
        return path

    def filed(self) -> list[bytes]:
        return [path.read_bytes() for path in self.processed.iterdir()]

    def recovered(self) -> list[tuple[str, str]]:
        return [(claim.id, claim.name) for claim in self.spool.recover()]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def run(steps):
    """All of them, and what they return."""
    ended = []

    def note():
        ended.append((yield from steps))

    deque(note(), maxlen=0)
    return ended[0]


def whole_id(path: Path, status: os.stat_result | None = None) -> str:
    return identity_of(path, status or path.lstat(), stays=True).whole


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def only(directory: Path) -> Path:
    (path,) = directory.iterdir()
    return path


# -- claiming ----------------------------------------------------------------------------------


def test_a_claim_takes_the_file_and_says_what_it_is(place):
    path = place.drop()
    os.utime(path, (1_000_000_000.5, 1_000_000_000.5))

    claim = place.spool.claim(path)

    assert not path.exists()
    assert claim.path.read_bytes() == IMAGE
    assert claim.path == place.work / claim.id / "a.png"
    assert (claim.name, claim.captured, claim.copy) == ("a.png", 1_000_000_000.5, False)
    assert place.spool.depth() == 1


def test_identities_are_unique_and_sort_by_time(place):
    ids = [new_id() for _ in range(1000)]

    assert len(set(ids)) == 1000
    assert [i[:12] for i in ids] == sorted(i[:12] for i in ids)
    assert {len(i) for i in ids} == {24}


def test_a_file_that_vanished_leaves_nothing(place):
    with pytest.raises(FileNotFoundError):
        place.spool.claim(place.inbox / "gone.png")

    assert list(place.work.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_name_comes_through_unchanged_whatever_it_is(place, name):
    claim = place.spool.claim(place.drop(name))

    assert claim.path.name == name
    assert claim.name.isprintable()
    claim.name.encode()

    place.spool.keep(claim)

    kept = only(place.processed)
    assert kept.read_bytes() == IMAGE
    assert len(os.fsencode(kept.name)) <= 255
    if len(os.fsencode(name)) <= 255 - len(".reason.json"):
        assert kept.name == name
    assert list(place.work.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_name_comes_to_quarantine_with_its_reason(place, name):
    claim = place.spool.claim(place.drop(name))

    place.spool.quarantine(claim, "the file is empty")

    image, note = sorted(place.quarantine.iterdir(), key=lambda path: len(os.fsencode(path.name)))
    assert image.read_bytes() == IMAGE
    assert note.name == image.name + ".reason.json"
    said = json.loads(note.read_text())
    assert said["reason"] == "the file is empty"
    assert (said["id"], said["name"]) == (claim.id, claim.name)


@pytest.mark.parametrize("file_away", ["keep", "quarantine"])
def test_files_of_one_name_are_all_kept(place, file_away):
    for number in range(4):
        claim = place.spool.claim(place.drop("cam.png", b"%d" % number))
        if file_away == "keep":
            place.spool.keep(claim)
        else:
            place.spool.quarantine(claim, "bad")

    target = place.processed if file_away == "keep" else place.quarantine
    images = {n: c for n, c in contents(target).items() if not n.endswith(".reason.json")}
    assert sorted(images.values()) == [b"0", b"1", b"2", b"3"]
    assert all(name.startswith("cam.") and name.endswith(".png") for name in images)


@pytest.mark.parametrize("suffix", [".reason.json", ".Reason.JSON"])
def test_an_image_that_is_called_like_anothers_reason_is_not_written_over(place, suffix):
    place.spool.quarantine(place.spool.claim(place.drop("a.png" + suffix, b"first")), "bad")
    place.spool.quarantine(place.spool.claim(place.drop("a.png", b"second")), "worse")

    found = contents(place.quarantine)
    assert {b"first", b"second"} < set(found.values())
    assert json.loads(found["a.png.reason.json"])["reason"] == "worse"
    assert len(found) == 4


def test_files_of_one_long_name_are_all_kept(place):
    for number in range(3):
        place.spool.keep(place.spool.claim(place.drop("ü" * 125 + ".png", b"%d" % number)))

    assert sorted(contents(place.processed).values()) == [b"0", b"1", b"2"]


# -- copies ------------------------------------------------------------------------------------


def test_a_copy_leaves_the_original_and_is_dropped_when_judged(place):
    path = place.drop()
    identity = whole_id(path)

    claim = run(place.spool.copy(path, path.lstat(), identity))

    assert claim.copy
    assert claim.path.read_bytes() == IMAGE
    assert claim.captured == path.stat().st_mtime
    place.spool.discard(claim)
    place.spool.discard(claim)
    assert list(place.work.iterdir()) == []
    assert path.read_bytes() == IMAGE


def test_the_identity_of_a_copy_is_the_file_as_it_is(place):
    path = place.drop()
    first = whole_id(path)

    assert first == whole_id(path)
    assert first != identity_of(path, path.lstat(), stays=False).whole
    os.utime(path, ns=(1, 1))
    assert first != whole_id(path)


def test_a_copy_that_is_in_work_is_not_taken_twice(place):
    path = place.drop()
    identity = whole_id(path)

    assert run(place.spool.copy(path, path.lstat(), identity)) is not None
    assert run(place.spool.copy(path, path.lstat(), identity)) is None


def test_a_copy_of_what_was_written_to_meanwhile_is_none(place):
    path = place.drop()
    before = path.lstat()
    os.utime(path, ns=(1, 1))

    identity = whole_id(path, before)
    assert run(place.spool.copy(path, before, identity)) is None
    assert list(place.work.iterdir()) == []


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
def test_only_a_regular_file_is_copied_and_nothing_blocks(place, kind):
    path = place.inbox / "a.png"
    if kind == "link":
        path.symlink_to(place.drop("target.png"))
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()

    with pytest.raises(OSError) as caught:
        run(place.spool.copy(path, path.lstat(), new_id()))

    assert caught.value.errno in (errno.ELOOP, errno.EINVAL, errno.EISDIR)
    assert list(place.work.iterdir()) == []


# -- recovery ----------------------------------------------------------------------------------


def test_killed_between_the_directory_and_the_rename(place):
    path = place.drop()
    (place.work / new_id()).mkdir()

    place.restart()

    assert place.recovered() == []
    assert list(place.work.iterdir()) == []
    assert path.exists()


def test_killed_after_the_claim_it_is_found_again_oldest_first(place):
    claims = [place.spool.claim(place.drop(f"{number}.png")) for number in (3, 1, 2)]

    place.restart()

    assert place.recovered() == sorted((claim.id, claim.name) for claim in claims)
    assert place.recovered() == place.recovered()


def test_killed_in_the_middle_of_a_copy(place):
    path = place.drop()
    identity = whole_id(path)
    (place.work / identity).mkdir()
    (place.work / identity / ".partial").write_bytes(b"pix")

    assert run(place.spool.copy(path, path.lstat(), identity)).path.read_bytes() == IMAGE
    place.restart()
    assert place.recovered() == [(identity, "a.png")]


def test_killed_in_the_middle_of_a_copy_then_recovered(place):
    identity = new_id()
    (place.work / identity).mkdir()
    (place.work / identity / ".partial").write_bytes(b"pix")

    assert place.recovered() == []
    assert list(place.work.iterdir()) == []


def test_a_recovered_copy_is_known_for_one(place):
    path = place.drop()
    run(place.spool.copy(path, path.lstat(), whole_id(path)))
    place.spool.claim(place.drop("b.png"))

    place.restart()

    assert {claim.name: claim.copy for claim in place.spool.recover()} == {
        "a.png": True,
        "b.png": False,
    }


def test_killed_after_the_reason_was_written(place):
    claim = place.spool.claim(place.drop())
    (place.quarantine / "a.png.reason.json").write_text("{")

    place.restart()
    (claim,) = place.spool.recover()
    place.spool.quarantine(claim, "bad")

    assert sorted(contents(place.quarantine)) == ["a.png", "a.png.reason.json"]
    assert json.loads((place.quarantine / "a.png.reason.json").read_text())["reason"] == "bad"


def test_killed_after_filing_before_tidying_up(place):
    claim = place.spool.claim(place.drop())
    claim.path.rename(place.processed / "a.png")

    place.restart()

    assert place.recovered() == []
    assert list(place.work.iterdir()) == []
    assert contents(place.processed) == {"a.png": IMAGE}


def test_filing_twice_is_harmless(place):
    claim = place.spool.claim(place.drop())

    place.spool.keep(claim)
    place.spool.keep(claim)

    assert contents(place.processed) == {"a.png": IMAGE}


def test_what_is_not_ours_in_work_is_left_alone(place):
    (place.work / "lost+found").mkdir()
    (place.work / "notes").mkdir()
    (place.work / "notes/todo.png").write_bytes(b"mine")
    claim = place.spool.claim(place.drop())
    (claim.path.parent / ".DS_Store").write_bytes(b"a file browser was here")

    place.restart()

    assert place.recovered() == [(claim.id, "a.png")]
    assert place.spool.depth() == 1
    assert (place.work / "lost+found").is_dir()
    assert (place.work / "notes/todo.png").read_bytes() == b"mine"


def test_a_hidden_left_over_does_not_stop_the_start(place):
    home = place.work / new_id()
    home.mkdir()
    (home / ".nfs0001").write_bytes(b"")

    assert place.recovered() == []


# -- another filesystem ------------------------------------------------------------------------


@pytest.fixture
def across(tmp_path: Path):
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("/dev/shm is not another filesystem here")
    with tempfile.TemporaryDirectory(dir=shm) as other:
        yield Place(tmp_path, processed=Path(other) / "processed")


def test_a_folder_on_another_filesystem_is_refused_to_be_renamed(across):
    path = across.processed / "a.png"
    path.write_bytes(IMAGE)

    with pytest.raises(OSError) as caught:
        across.spool.claim(path)

    assert caught.value.errno == errno.EXDEV
    assert path.exists()
    assert list(across.work.iterdir()) == []


def test_filing_to_another_filesystem_copies_whole(across):
    claim = across.spool.claim(across.drop())
    mtime = claim.path.stat().st_mtime_ns

    run(across.spool.keep(claim))

    assert contents(across.processed) == {"a.png": IMAGE}
    assert (across.processed / "a.png").stat().st_mtime_ns == mtime
    assert list(across.work.iterdir()) == []


class KilledError(BaseException):
    pass


@pytest.mark.parametrize("call", ["sync_directory", "Path.unlink", "write_durably"])
@pytest.mark.parametrize("twin", [False, True])
def test_killed_after_the_copy_there_is_no_second_one(across, monkeypatch, call, twin):
    """Also where another image of its name, bytes and time is there already."""
    for _ in range(1 + twin):
        path = across.drop()
        os.utime(path, ns=(5, 5))
        claim = across.spool.claim(path)
        if twin and not across.filed():
            run(across.spool.keep(claim))

    def killed(*_, **__):
        raise KilledError

    where = "pathlib.Path.unlink" if "." in call else f"edge_agent.sources.spool.{call}"
    with monkeypatch.context() as patch:
        patch.setattr(where, killed)
        with pytest.raises(KilledError):
            run(across.spool.keep(claim))

    across.restart()
    (claim,) = across.spool.recover()
    run(across.spool.keep(claim))

    assert across.filed() == [IMAGE] * (1 + twin)
    assert list(across.work.iterdir()) == []


def test_killed_in_the_middle_of_the_copy(across):
    claim = across.spool.claim(across.drop())
    (across.processed / f".{claim.id}.partial").write_bytes(b"pix")

    across.restart()
    (claim,) = across.spool.recover()
    run(across.spool.keep(claim))

    assert contents(across.processed) == {"a.png": IMAGE}


def test_two_like_images_of_one_name_are_still_two(across):
    for _ in range(2):
        path = across.drop()
        os.utime(path, ns=(5, 5))
        run(across.spool.keep(across.spool.claim(path)))

    assert len(contents(across.processed)) == 2


# -- directories -------------------------------------------------------------------------------


def test_directories_are_made(tmp_path):
    Spool(tmp_path / "a/b/work", tmp_path / "c/processed", tmp_path / "quarantine")

    assert (tmp_path / "a/b/work").is_dir()
    assert (tmp_path / "c/processed").is_dir()


def test_a_file_in_the_place_of_a_directory(tmp_path):
    (tmp_path / "work").write_text("")

    with pytest.raises(SpoolError, match="work is not writable"):
        Spool(tmp_path / "work", tmp_path / "processed", tmp_path / "quarantine")


def test_a_directory_that_may_not_be_written(unprivileged):
    (unprivileged / "work").mkdir(mode=0o555)

    with pytest.raises(
        SpoolError, match=r"not writable \(Permission denied\): create it or change"
    ):
        Spool(unprivileged / "work", unprivileged / "processed", unprivileged / "quarantine")


# -- what comes over a wire -----------------------------------------------------------------------


NOTE = Note(
    name="Teil ß.png",
    captured=5.25,
    received=7.5,
    reply=ReplyTo("plc/a", b"\xff\x00"),
    refused=Failure("too large", Image("ab", 9)),
)
IDENTITY = "0123456789abcdef01234567"


def test_what_is_received_is_whole_and_survives_a_restart(tmp_path):
    work = tmp_path / "work"
    spool = Spool(work, tmp_path / "processed", tmp_path / "quarantine")
    assert not spool.holds(IDENTITY)
    claim = spool.receive(IDENTITY, "Teil.png", b"bytes", NOTE)
    assert spool.holds(IDENTITY)
    assert (claim.id, claim.name, claim.whole, claim.copy) == (IDENTITY, NOTE.name, True, False)
    (again,) = Spool(work, tmp_path / "processed", tmp_path / "quarantine").recover()
    assert replace(again, claimed=claim.claimed, recovered=False) == claim
    assert again.recovered
    assert (again.reply, again.refused) == (NOTE.reply, NOTE.refused)
    assert again.path.read_bytes() == b"bytes"
    spool.keep(again)
    assert not list(work.iterdir())
    assert (tmp_path / "processed" / "Teil.png").read_bytes() == b"bytes"
    assert not spool.holds(IDENTITY)


def test_what_was_received_in_part_is_nothing(tmp_path):
    work = tmp_path / "work"
    spool = Spool(work, tmp_path / "processed", tmp_path / "quarantine")
    spool.receive(IDENTITY, "a.png", b"bytes", NOTE)
    (work / IDENTITY / "a.png").rename(work / IDENTITY / ".partial")
    spool = Spool(work, tmp_path / "processed", tmp_path / "quarantine")
    assert list(spool.recover()) == []
    assert not spool.holds(IDENTITY)
    assert not list(work.iterdir())


def test_a_frame_that_was_filed_before_a_kill_leaves_no_note(tmp_path):
    work = tmp_path / "work"
    spool = Spool(work, tmp_path / "processed", tmp_path / "quarantine")
    spool.receive(IDENTITY, "a.png", b"bytes", NOTE)
    (work / IDENTITY / "a.png").unlink()
    assert list(spool.recover()) == []
    assert not list(work.iterdir())


def hide(home: Path) -> None:
    """What file browsers leave where somebody has looked."""
    (home / ".directory").write_text("[Desktop Entry]")
    (home / ".AppleDouble").mkdir()
    (home / ".AppleDouble" / "a.png").write_bytes(b"")


def test_what_a_file_browser_leaves_beside_an_image_goes_with_it(place):
    claim = place.spool.claim(place.drop())
    hide(claim.path.parent)

    place.spool.keep(claim)

    assert place.spool.depth() == 0
    assert (place.processed / "a.png").read_bytes() == IMAGE


def test_what_a_file_browser_leaves_where_an_image_was_is_no_frame(place):
    home = place.work / new_id()
    home.mkdir()
    hide(home)

    assert place.recovered() == []
    assert place.spool.depth() == 0


@pytest.mark.parametrize("gone", ["processed", "quarantine"])
def test_a_folder_that_somebody_has_removed_is_named_and_waited_for(place, gone):
    claim = place.spool.claim(place.drop())
    directory = getattr(place, gone)
    directory.rmdir()

    def file():
        place.spool.keep(claim) if gone == "processed" else place.spool.quarantine(claim, "why")

    with pytest.raises(FileNotFoundError, match=f"/{gone}"):
        file()
    assert claim.path.read_bytes() == IMAGE

    directory.mkdir()
    file()
    assert (directory / "a.png").read_bytes() == IMAGE
    assert place.spool.depth() == 0


def test_a_claim_needs_no_descriptor(place):
    """What is in work/ already must not be lost to the loop because somebody else has them all."""
    source = place.drop()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        claim = place.spool.claim(source)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

    assert claim.path.read_bytes() == IMAGE
    assert [(claim.id, claim.name)] == place.recovered()


def test_a_full_disk_leaves_nothing_half_received(tmp_path, monkeypatch):
    work = tmp_path / "work"
    spool = Spool(work, tmp_path / "processed", tmp_path / "quarantine")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            spool.receive(IDENTITY, "a.png", b"bytes", NOTE)
    assert not list(work.iterdir())
    assert spool.receive(IDENTITY, "a.png", b"bytes", NOTE).path.read_bytes() == b"bytes"


def test_what_is_received_needs_no_further_look_at_the_disk(tmp_path, monkeypatch):
    """It would fail when the image counts as here already, and nobody would judge it."""
    spool = Spool(tmp_path / "work", tmp_path / "processed", tmp_path / "quarantine")

    def stale(*_, **__):
        raise OSError(errno.ESTALE, "Stale file handle")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.read_bytes", stale)
        claim = spool.receive(IDENTITY, "a.png", b"bytes", NOTE)

    assert claim.id == IDENTITY


def test_what_failed_and_could_not_be_cleared_is_received_again(tmp_path, monkeypatch):
    """It is in no queue: taken for one that is, it would not be judged before the next start."""
    spool = Spool(tmp_path / "work", tmp_path / "processed", tmp_path / "quarantine")

    def busy(*_, **__):
        raise OSError(errno.EBUSY, "Device or resource busy")

    with monkeypatch.context() as patch:
        patch.setattr("edge_agent.sources.spool.sync_directory", busy)
        patch.setattr("edge_agent.sources.spool.shutil.rmtree", lambda *_, **__: None)
        with pytest.raises(OSError, match="busy"):
            spool.receive(IDENTITY, "a.png", b"bytes", NOTE)
    assert (tmp_path / "work" / IDENTITY / "a.png").exists()
    assert not spool.holds(IDENTITY)

    claim = spool.receive(IDENTITY, "a.png", b"bytes", NOTE)

    assert spool.holds(IDENTITY)
    assert claim.path.read_bytes() == b"bytes"


# -- the place that a verdict names ------------------------------------------------------------


def place_named(place, stored):
    folder, name = stored.split("/", 1)
    return {"processed": place.processed, "quarantine": place.quarantine}[folder] / name


def test_images_of_one_name_each_lie_where_was_said(place):
    claims = [place.spool.claim(place.drop("same.jpg", b"%d" % n)) for n in range(3)]
    said = [place.spool.reserve(claim, quarantined=False) for claim in claims]  # judged together
    assert said[0] == "processed/same.jpg"
    assert said == [place.spool.reserve(claim, quarantined=False) for claim in claims]
    for claim in reversed(claims):
        place.spool.keep(claim)
    assert [place_named(place, stored).read_bytes() for stored in said] == [b"0", b"1", b"2"]
    assert place.spool._names._given == {}


def test_one_that_is_judged_otherwise_gives_its_place_back(place):
    first, second = (place.spool.claim(place.drop("a.png", c)) for c in (b"first", b"second"))
    place.spool.reserve(first, quarantined=False)
    stored = place.spool.reserve(first, quarantined=True)
    assert stored == "quarantine/a.png"
    assert place.spool.reserve(second, quarantined=False) == "processed/a.png"
    place.spool.quarantine(first, "why")
    assert place_named(place, stored).read_bytes() == b"first"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("twin", [False, True])
def test_a_place_outlives_a_kill(place, name, twin):
    if twin:
        place.spool.keep(place.spool.claim(place.drop(name, b"twin")))
    stored = place.spool.reserve(place.spool.claim(place.drop(name)), quarantined=False)
    assert stored.isprintable()
    for path in list(place.processed.iterdir()):
        path.unlink()  # its twin's name is free by now, and not its own
    place.restart()
    (claim,) = place.spool.recover()
    place.spool.reserve_again(claim, stored)
    place.spool.keep(claim)
    assert place.spool._names._said(only(place.processed)) == stored


def test_what_a_stranger_put_there_makes_way(place, caplog):
    claim = place.spool.claim(place.drop("a.png"))
    stored = place.spool.reserve(claim, quarantined=True)
    (place.quarantine / "a.png").write_bytes(b"another")
    (place.quarantine / "a.png.reason.json").write_text("{}")
    place.spool.quarantine(claim, "why")
    assert place_named(place, stored).read_bytes() == IMAGE
    found = contents(place.quarantine)
    assert len(found) == 4
    assert b"another" in found.values()
    assert json.loads(found["a.png.reason.json"])["reason"] == "why"
    assert "was not filed by this station and is a." in caplog.text


def test_a_place_on_another_filesystem(across):
    claims = [across.spool.claim(across.drop("a.png", b"%d" % n)) for n in range(2)]
    said = [across.spool.reserve(claim, quarantined=False) for claim in claims]
    for claim in reversed(claims):
        run(across.spool.keep(claim))
    assert [place_named(across, stored).read_bytes() for stored in said] == [b"0", b"1"]


def test_what_stays_where_it_was_has_no_place(place):
    claim = replace(place.spool.claim(place.drop()), copy=True)
    assert place.spool.reserve(claim, quarantined=False) == ""


@pytest.mark.parametrize(("content", "stored"), [(b"", ""), (b"{}", "quarantine/a.png")])
def test_what_was_not_kept_has_no_place(place, content, stored):
    refused = Failure("5000 bytes is more than the limit", Image("ab", 5000))
    note = Note("a.png", 1.0, 1.0, None, refused)
    claim = place.spool.receive(new_id(), "a.png", content, note)
    assert place.spool.reserve(claim, quarantined=True) == stored
