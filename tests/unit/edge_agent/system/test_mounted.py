"""Folders that lie elsewhere than they did."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from edge_agent.system.mounted import MountWatch, Place, is_same

if TYPE_CHECKING:
    from pathlib import Path

ROOT = "27 1 254:0 / / rw - ext4 /dev/vda rw"


class Machine:
    """A mount table that a test writes, and the watch over one folder."""

    def __init__(self, home: Path) -> None:
        self.inbox = home / "inbox"
        self.note = home / "mounts.json"
        self.table = home / "mountinfo"
        self.now = 0.0
        self.watch = self.start()

    def start(self) -> MountWatch:
        self.watch = MountWatch(
            self.note,
            {"source.folder.path": self.inbox},
            mountinfo=self.table,
            clock=lambda: self.now,
        )
        return self.watch

    def share(self, source: str = "nas:/plant", kind: str = "nfs4", number: int = 40) -> str:
        return f"{number} 27 0:{number} / {self.inbox} rw - {kind} {source} rw"

    def look(self, *mounts: str) -> str:
        self.table.write_text("\n".join([ROOT, *mounts]) + "\n")
        self.now += 1000.0  # also what a trouble must stay away to be over
        self.watch.look()
        self.watch.look()
        return self.watch.trouble


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_a_share_that_is_not_mounted_is_told_until_it_is(machine):
    assert machine.look(machine.share()) == ""

    said = machine.look()

    assert said.startswith(
        f"source.folder.path {machine.inbox} lay on nfs4 (nas:/plant), mounted on {machine.inbox}, "
        "and lies on ext4, mounted on /, now"
    )
    assert f"Mount it again (mount {machine.inbox})" in said
    assert machine.watch.away(machine.inbox) == said
    assert machine.watch.away(machine.note) == ""
    assert machine.look(machine.share(number=77)) == ""
    assert machine.watch.away(machine.inbox) == ""


def test_it_is_told_after_a_start_too(machine):
    machine.look(machine.share())
    machine.start()

    assert "nas:/plant" in machine.look()


def test_another_share_is_told(machine):
    machine.look(machine.share())

    assert "lies on nfs4 (nas:/other)" in machine.look(machine.share("nas:/other"))


def test_what_is_mounted_at_last_is_what_was_wanted(machine, caplog):
    assert machine.look() == ""
    assert machine.look(machine.share()) == ""

    assert "nas:/plant" in machine.look()


def test_a_mount_of_the_service_itself_is_none(machine):
    """Systemd mounts on itself what a service may write to, below a share that comes later."""
    own = f"30 27 254:0 {machine.inbox} {machine.inbox} rw - ext4 /dev/vda rw"
    assert machine.look() == ""
    assert machine.look(own) == ""
    assert machine.look() == ""
    assert machine.look(own, machine.share()) == ""

    assert "nas:/plant" in machine.look(own)


def test_what_is_so_is_accepted_when_the_note_is_removed(machine):
    machine.look(machine.share())
    assert machine.look()
    machine.note.unlink()

    assert machine.look() == ""

    assert machine.look(machine.share("nas:/other")) == ""  # it is mounted above it: deeper
    assert json.loads(machine.note.read_bytes())[str(machine.inbox)]["source"] == "nas:/other"


def test_another_folder_begins_anew(machine):
    machine.look(machine.share())
    machine.inbox = machine.inbox.with_name("other")
    machine.start()

    assert machine.look() == ""


@pytest.mark.parametrize("content", [b"", b"[]", b'{"/x": 1}', b'{"/x": {"point": "/"}}'])
def test_a_note_that_is_none_is_written_anew(machine, content):
    machine.note.write_bytes(content)
    machine.start()

    assert machine.look(machine.share()) == ""
    assert machine.look()


def test_a_note_that_can_not_be_written_does_not_stop_the_station(machine, caplog):
    machine.note.mkdir()
    machine.start()

    assert machine.look(machine.share()) == ""
    assert machine.look()
    assert "can't be noted" in caplog.text


@pytest.mark.parametrize(
    ("was", "now", "same"),
    [
        (("/a", "ext4", "UUID=1", "/"), ("/a", "ext4", "UUID=1", "/"), True),
        (("/a", "ext4", "UUID=1", "/"), ("/a", "ext4", "UUID=2", "/"), False),
        # A device without a lasting name; and one that is unmounted, over such another.
        (("/a", "ext4", "UUID=1", "/"), ("/a", "ext4", "", "/"), True),
        (("/a", "ext4", "", "/"), ("/", "ext4", "", "/a"), False),
        (("/a", "ext4", "", "/"), ("/a", "xfs", "", "/"), False),
        # A folder that systemd has mounted on itself, for a service that may write there.
        (("/a", "ext4", "UUID=1", "/a"), ("/", "ext4", "UUID=1", "/a"), True),
        # Until somebody looks.
        (("/a", "nfs4", "nas:/a", "/"), ("/a", "autofs", "systemd-1", "/"), True),
        (("/a", "nfs4", "nas:/a", "/"), ("/", "autofs", "systemd-1", "/"), False),
    ],
)
def test_what_is_the_same(was, now, same):
    assert is_same(Place(*was), Place(*now)) is same
