"""Images in folders of the inbox: each once, told apart, and nothing from where none belongs."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edge_agent.sources import entries as module
from edge_agent.sources.entries import Entries
from tests.unit.edge_agent.sources.test_folder import Camera

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DAYS = ("2026-11-29", "2026-11-30")


@pytest.fixture
def camera(tmp_path: Path) -> Iterator[Callable[..., Camera]]:
    """``camera(depth=..., ...)``: 1 where nothing is said."""
    made: list[Camera] = []

    def make(**options: object) -> Camera:
        root = options.pop("root", tmp_path)
        made.append(Camera(root, **{"depth": 1, **options}))
        return made[-1]

    yield make
    for one in made:
        one.source.close()


def put(line: Camera, name: str, content: bytes = b"pixels") -> Path:
    (line.inbox / name).parent.mkdir(parents=True, exist_ok=True)
    return line.write(name, content)


def taken(line: Camera) -> dict[str, bytes]:
    """What is claimed once all has settled, by name."""
    line.look()
    return {claim.name: claim.path.read_bytes() for claim in line.claims(after=1)}


def test_without_a_depth_folders_are_named_and_not_entered(camera):
    line = camera(depth=0)
    put(line, "day/a.png")
    put(line, "b.png")

    assert set(taken(line)) == {"b.png"}
    why = "is a directory: only files directly in the folder are taken"
    assert line.source.ignored == {"day": why}


@pytest.mark.parametrize(("depth", "names"), [(1, {"1/a.png"}), (3, {"1/a.png", "1/2/3/b.png"})])
def test_folders_are_entered_down_to_the_depth(camera, depth, names):
    line = camera(depth=depth)
    for name in ("1/a.png", "1/2/3/b.png", "1/2/3/4/c.png"):
        put(line, name)

    assert set(taken(line)) == names
    deeper = {1: "1/2", 3: "1/2/3/4"}[depth]
    why = f"is a directory deeper than [source.folder] depth = {depth}"
    assert line.source.ignored == {deeper: why}


def test_a_claim_is_a_rename_and_the_emptied_folder_stays(camera):
    line = camera()
    inode = put(line, "day/a.png").stat().st_ino
    line.look()

    (claim,) = line.claims(after=1)

    assert (claim.name, claim.path.name) == ("day/a.png", "a.png")
    assert claim.path.stat().st_ino == inode
    assert list((line.inbox / "day").iterdir()) == []
    line.judge(claim)
    assert [path.name for path in line.spool._processed.iterdir()] == ["a.png"]
    assert line.spool.depth() == 0
    assert list(line.spool._work.iterdir()) == []


@pytest.mark.parametrize("after", ["move", "keep"])
def test_images_of_one_name_in_two_folders_are_two(camera, after):
    line = camera(after=after)
    for day in DAYS:
        put(line, f"{day}/a.png", day.encode())
    put(line, "a.png", b"beside them")
    line.look()

    claims = line.claims(after=1)

    expected = {"a.png": b"beside them", **{f"{day}/a.png": day.encode() for day in DAYS}}
    assert {claim.name: claim.path.read_bytes() for claim in claims} == expected
    assert len({claim.id for claim in claims}) == 3
    left = {claim.id: claim for claim in line.spool.recover()}  # as after a kill
    for claim in claims:
        assert (left[claim.id].name, left[claim.id].origin) == (claim.name, claim.origin)
        assert claim.origin == (line.inbox / claim.name if after == "keep" else None)
        again = line.spool.renew(claim) if after == "move" else claim  # as if written to since
        assert again.name == claim.name
        line.judge(again)
    if after == "move":
        filed = {path.read_bytes() for path in line.spool._processed.iterdir()}
        assert filed == set(expected.values())
    assert line.look(after=1) + line.look(after=1) == []


def test_what_stays_in_a_folder_is_known_after_a_restart(camera):
    line = camera(after="keep")
    put(line, "day/a.png")
    line.look()
    (claim,) = line.claims(after=1)
    line.judge(claim)
    line.source.close()

    again = camera(after="keep", judged=line.judged)

    assert taken(again) == {}
    put(again, "day/a.png", b"another")
    assert taken(again) == {"day/a.png": b"another"}


@pytest.mark.parametrize("name", ["Ta\udcffg/a.png", "two\nlines/a.png", "x" * 255 + "/a.png"])
def test_a_folder_may_have_any_name(camera, name):
    line = camera(after="keep")
    put(line, name)
    line.look()

    (claim,) = line.claims(after=1)

    assert claim.name.isprintable()
    assert claim.name.endswith("/a.png")
    assert claim.origin == line.inbox / name
    assert next(line.spool.recover()).origin == line.inbox / name


def test_a_name_that_is_too_long_to_be_shown_loses_of_its_folders(camera):
    line = camera(depth=4)
    put(line, "/".join(["\x01" * 50] * 4) + "/a.png")

    (name,) = taken(line)

    assert len(name) <= 500
    assert name.endswith("…/a.png")


@pytest.mark.parametrize("folder", [".hidden", ".edge-agent-ba9876543210", "day.tmp", "day~"])
def test_hidden_and_unfinished_folders_are_not_entered(camera, folder):
    line = camera()
    put(line, f"{folder}/a.png")

    assert taken(line) == {}
    assert line.source.ignored == {}
    (line.inbox / folder).rename(line.inbox / "day")
    line.look(after=1)
    assert taken(line) == {"day/a.png": b"pixels"}


def test_links_are_not_followed(camera, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.png").write_bytes(b"secret")
    line = camera()
    (line.inbox / "day").symlink_to(outside)

    assert taken(line) == {}
    assert line.source.ignored == {"day": "is a symbolic link: links are not followed"}


@pytest.mark.parametrize("after", ["move", "keep"])
def test_a_folder_that_becomes_a_link_leads_nowhere(camera, tmp_path, after):
    outside = tmp_path / "outside"
    outside.mkdir()
    line = camera(after=after)
    put(line, "day/a.png")
    put(line, "b.png")
    line.look()
    line.claims(after=1, limit=0)  # both are offered, none is taken
    secret = outside / "a.png"
    secret.write_bytes(b"secret")
    shutil.rmtree(line.inbox / "day")
    (line.inbox / "day").symlink_to(outside)
    line.source._settling.forget("day/a.png")
    line.source._offer("day/a.png")  # as for an event that is told late

    assert line.look() == ["b.png"]
    assert secret.exists()
    assert line.source.trouble == ""


def test_a_folder_that_its_camera_removes_costs_nothing_else(camera):
    line = camera()
    put(line, "day/a.png")
    put(line, "b.png")
    line.look()
    line.claims(after=1, limit=0)
    shutil.rmtree(line.inbox / "day")

    assert line.look() == ["b.png"]
    put(line, "day/a.png", b"again")
    assert taken(line) == {"day/a.png": b"again"}
    assert line.source.ignored == {}


def test_a_folder_that_goes_while_it_is_listed_is_passed_over(tmp_path):
    for day in DAYS:
        (tmp_path / day).mkdir()
        (tmp_path / day / "a.png").touch()
    listed = Entries(tmp_path, 1).list()
    first = next(listed)[0]
    for day in DAYS:
        if not first.startswith(day):
            shutil.rmtree(tmp_path / day)

    assert list(listed) == []


@pytest.mark.parametrize("after", ["move", "keep"])
def test_a_folder_that_can_not_be_listed_is_named_and_forgets_nothing(camera, unprivileged, after):
    line = camera(root=unprivileged, after=after)
    put(line, "day/a.png")
    put(line, "other/b.png")
    first = taken(line)
    if after == "keep":
        (line.inbox / "day/a.png").chmod(0o600)  # the same image, and yet not just the same file
    (line.inbox / "day").chmod(0)
    put(line, "other/c.png")

    assert taken(line) == {"other/c.png": b"pixels"}
    assert line.source.ignored == {"day": "can not be listed: Permission denied"}
    (line.inbox / "day").chmod(0o755)
    assert set(first) == {"day/a.png", "other/b.png"}
    for _ in range(3):
        assert line.look(after=1) == []  # what stayed there is no other image
    assert line.source.ignored == {}


def test_a_folder_that_images_may_not_be_moved_out_of(camera, unprivileged):
    line = camera(root=unprivileged)
    put(line, "day/a.png")
    line.look()
    (line.inbox / "day").chmod(0o555)

    (claim,) = line.claims(after=1)

    assert (claim.name, claim.path.read_bytes()) == ("day/a.png", b"pixels")
    assert line.look(after=1) == []
    why = "was judged, but it can't be removed: Permission denied"
    assert line.source.ignored == {"day/a.png": why}
    line.judge(claim)
    (line.inbox / "day").chmod(0o755)
    line.look(after=60)
    line.look(after=1)
    assert list((line.inbox / "day").iterdir()) == []


def test_patterns_are_of_the_last_part_of_a_name(camera):
    line = camera(patterns=("cam*.png",))
    for name in ("cam1/a.png", "cam1/cam.png", "b/CAM2.PNG"):
        put(line, name)

    assert set(taken(line)) == {"cam1/cam.png", "b/CAM2.PNG"}


def test_another_filesystem_is_not_entered():
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == Path("/dev").stat().st_dev:
        pytest.skip("/dev/shm is not another filesystem here")

    found = {name: why for name, _, why in Entries(Path("/dev"), 1).list()}

    assert found["shm"] == "is a folder on another filesystem than the inbox, and not searched"


def test_an_inbox_on_another_filesystem_has_folders_too(camera, tmp_path):
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("/dev/shm is not another filesystem here")
    with tempfile.TemporaryDirectory(dir=shm) as other:
        line = camera(inbox=Path(other))
        inode = put(line, "day/a.png").stat().st_ino
        line.look()

        (claim,) = line.claims(after=1)

        assert claim.path.stat().st_ino == inode
        assert claim.path.is_relative_to(Path(other, ".edge-agent-0123456789ab"))
        assert [left.name for left in line.spool.recover()] == ["day/a.png"]
        line.judge(claim)
        assert line.spool.depth() == 0
        assert list(Path(other, ".edge-agent-0123456789ab").iterdir()) == []


def test_not_more_folders_are_entered_than_a_scan_can_bear(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST", 3)
    for number in range(5):
        (tmp_path / f"{number}").mkdir()

    listed = Entries(tmp_path, 1)
    found = list(listed.list())

    assert [why for _, _, why in found] == ["is beyond the limit of 3 folders"] * 2
    assert len(listed.folders) == 3


def test_what_a_folder_is_called_is_on_the_disk_before_the_verdict(camera, monkeypatch):
    line = camera()
    put(line, "day/a.png")
    line.look()
    claims = line.claims(after=1)
    synced = []
    sync = os.fsync

    def note(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    line.spool.sync(claims)

    home = claims[0].path.parent
    assert synced == [home / ".folder", home]


def test_a_claim_that_fails_leaves_nothing_behind(camera, monkeypatch):
    line = camera()
    put(line, "day/a.png")
    line.look()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "rename", refuse)
    assert line.look(after=1) == []
    monkeypatch.undo()

    assert line.source.ignored == {"day/a.png": "can not be taken: Input/output error"}
    assert list(line.spool._work.iterdir()) == []
    assert line.look(after=1) == ["a.png"]


def test_an_image_in_a_new_folder_is_found_by_events(camera, tmp_path):
    line = camera(scan_every=3600.0)
    line.look()
    (line.inbox / "day").mkdir()
    line.until(lambda: line.look(after=0.1) == [] and "day" in line.source._watch._followed)
    line.look(after=0.1)
    (tmp_path / "made.png").write_bytes(b"pixels")

    (tmp_path / "made.png").rename(line.inbox / "day/a.png")

    names: list[str] = []
    line.until(lambda: names.extend(line.look()) or names == ["a.png"])


@pytest.mark.parametrize("left", [b"", bytes(10)])
def test_a_power_cut_costs_the_folder_s_name_and_no_image(camera, left):
    line = camera()
    put(line, "day/a.png")
    line.look()
    (claim,) = line.claims(after=1)
    (claim.path.parent / ".folder").write_bytes(left)

    assert [found.name for found in line.spool.recover()] == ["a.png"]
