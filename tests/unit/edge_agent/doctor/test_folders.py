"""Folders with every fault that a plant gives them."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from edge_agent.doctor.folders import (
    Room,
    judge_room,
    look_at_claim,
    look_at_folders,
    look_at_place,
    measure_room,
    places_of,
)
from edge_agent.system.mounts import read_mounts

if TYPE_CHECKING:
    from pathlib import Path

ROOT = "27 1 254:0 / / rw - ext4 /dev/vda rw\n"


def of(found, *parts):
    """The one finding that says all of this."""
    (one,) = (f for f in found if all(part in f.what for part in parts))
    return one


def test_all_is_well(make_settings, tmp_path):
    found = look_at_folders(make_settings())

    assert not [one for one in found if one.level == "error"]
    assert of(found, "source.folder.path", "inbox: writable").level == "ok"
    assert of(found, "storage.work", f"will be made in {tmp_path}").level == "ok"
    assert of(found, "images are claimed by rename").level == "ok"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inbox", "station.toml"]
    assert not list((tmp_path / "inbox").iterdir())


def test_an_inbox_that_is_not_there(make_settings, tmp_path):
    settings = make_settings()
    (tmp_path / "inbox").rmdir()

    found = of(look_at_folders(settings), "does not exist")

    assert found.level == "error"
    assert found.mend == f"mkdir -p {tmp_path}/inbox"


def test_a_file_where_a_folder_should_be(make_settings, tmp_path):
    (tmp_path / "state").write_text("")

    found = of(look_at_folders(make_settings()), "storage.root", "is not a folder")

    assert found.level == "error"


@pytest.mark.parametrize("which", ["inbox", "state"])
def test_a_folder_that_may_not_be_written(make_settings, unprivileged, which):
    settings = make_settings(home=unprivileged)
    (unprivileged / "state").mkdir()
    (unprivileged / which).chmod(0o555)

    found = look_at_folders(settings)

    wrong = [one for one in found if one.level == "error"]
    assert wrong
    for one in wrong:
        assert one.what.endswith(f"{unprivileged / which} can't be used: Permission denied")
        assert one.mend.startswith("as administrator: chown it to the user of the service, now ")
    assert any(("inbox" if which == "inbox" else "storage.root") in one.what for one in wrong)


def test_an_inbox_that_is_only_read_need_not_be_writable(make_settings, unprivileged):
    settings = make_settings(home=unprivileged, folder='after = "keep"')
    (unprivileged / "inbox").chmod(0o555)

    found = look_at_folders(settings)

    assert of(found, "source.folder.path", "readable").level == "ok"
    assert not [one for one in found if "claimed by" in one.what]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_sticky_inbox_keeps_what_others_put_there(make_settings, unprivileged):
    settings = make_settings(home=unprivileged)
    os.seteuid(0)
    os.chown(unprivileged / "inbox", 1, 1)
    (unprivileged / "inbox").chmod(0o1777)
    os.seteuid(65534)

    found = look_at_place(places_of(settings)[0])

    assert found.level == "error"
    assert "sticky bit" in found.what
    assert found.mend == f"chmod -t {unprivileged}/inbox"


def mountinfo(tmp_path: Path, *lines: str) -> Path:
    file = tmp_path / "mountinfo"
    file.write_text(ROOT + "".join(f"{line}\n" for line in lines))
    return file


def test_an_inbox_on_a_network_disk(make_settings, tmp_path):
    mounts = mountinfo(tmp_path, f"40 27 0:40 / {tmp_path}/inbox rw - cifs //nas/camera rw")

    found = look_at_folders(make_settings(), mounts)

    said = of(found, "is on cifs (//nas/camera): it gives no events")
    assert said.level == "warning"
    assert "scanned every 1 s" in said.what
    assert of(found, "are on two filesystems: every image is copied").level == "warning"


def test_a_journal_on_a_network_disk(make_settings, tmp_path):
    mounts = mountinfo(tmp_path, f"40 27 0:40 / {tmp_path} rw - nfs4 nas:/plant rw")

    said = of(look_at_folders(make_settings(), mounts), "storage.root", "is on nfs4 (nas:/plant)")

    assert said.level == "error"
    assert said.mend == "set storage.root to a folder on a local disk"


@pytest.mark.parametrize("kind", ["tmpfs", "overlay"])
def test_a_journal_that_does_not_last(make_settings, tmp_path, kind):
    mounts = mountinfo(tmp_path, f"40 27 0:40 / {tmp_path} rw - {kind} {kind} rw")

    said = of(look_at_folders(make_settings(), mounts), "storage.root", f"is on {kind}")

    assert said.level == "warning"
    assert "so are the journal and unpublished verdicts" in said.what


def test_two_mounts_of_one_filesystem_are_two(make_settings, tmp_path):
    inbox, _, work = places_of(make_settings())[:3]
    mounts = read_mounts(f"{ROOT}40 27 254:0 /x {tmp_path}/inbox rw - ext4 /dev/vda rw\n")

    (found,) = look_at_claim(inbox, work, mounts)

    assert found.level == "warning"
    assert found.mend.startswith("put storage.work")


@pytest.fixture
def small(tmp_path):
    """A real filesystem of 1 MB."""
    state = tmp_path / "state"
    state.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(state)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("needs root and the right to mount a tmpfs")
    yield state
    subprocess.run(["umount", str(state)], check=True)


def test_a_full_disk(make_settings, small):
    settings = make_settings()
    with pytest.raises(OSError, match="No space left"):
        (small / "ballast").write_bytes(bytes(2_000_000))

    found = look_at_folders(settings)

    full = of(found, f"storage.root {small}: {small} can't be used: No space left on device")
    assert full.level == "error"
    assert of(found, f"the disk of storage.root {small}: 0.0 GB (0%)").level == "error"
    assert of(found, "storage.root", "is on tmpfs", "memory, gone after a power cut")
    assert of(found, "are on two filesystems: every image is copied").level == "warning"


@pytest.mark.parametrize(
    ("room", "level"),
    [
        (Room(100 * 10**9, 0.5, 0.5), "ok"),
        (Room(100 * 10**9, 0.09, 0.5), "warning"),
        (Room(4 * 10**9, 0.5, 0.5), "warning"),
        (Room(100 * 10**9, 0.5, 0.09), "warning"),
        (Room(100 * 10**9, 0.009, 0.5), "error"),
        (Room(100 * 10**9, 0.5, 0.009), "error"),
        (Room(0, 0.0, 0.0), "error"),
    ],
)
def test_room(room, level):
    assert judge_room("x", room).level == level


def test_room_is_measured(tmp_path):
    room = measure_room(tmp_path)

    assert room.bytes_free > 0
    assert 0 < room.bytes_share <= 1
    assert 0 < room.inodes_share <= 1


def test_the_folder_that_messages_name_images_in_is_only_read(make_settings, tmp_path):
    more = '[mqtt]\nhost = "h"\n[source.mqtt]\ntopic = "t"\nfolder = "named"\n'
    place = places_of(make_settings(more))[-1]

    assert look_at_place(place).level == "error"
    (tmp_path / "named").mkdir()
    found = look_at_place(place)

    assert (found.level, found.what) == ("ok", f"source.mqtt.folder {tmp_path}/named: readable")
