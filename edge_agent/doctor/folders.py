"""The station's folders: there, writable, on a filesystem that is fit for them, with room."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_agent.doctor.finding import Finding
from edge_agent.doctor.planned import missing_above, planned_mounts
from edge_agent.doctor.who import user_name
from edge_agent.sources.spool import SpoolError, check_root
from edge_agent.system.mounted import describe, how_to_mend, is_same, place_of, read_note
from edge_agent.system.mounts import MOUNTINFO, Mount, mount_of, read_mounts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edge_agent.doctor.planned import Planned
    from edge_agent.settings import Settings, StorageSettings

TOPIC = "folders"
_GB = 1e9


@dataclass(frozen=True)
class Place:
    """A folder of the settings."""

    key: str
    path: Path
    writes: bool
    """Whether the agent changes it."""
    made: bool
    """Whether the agent makes it at its start."""

    @property
    def nearest(self) -> Path:
        """The folder itself, or the one that it will be made in."""
        path = self.path
        while not os.path.lexists(path) and path != path.parent:
            path = path.parent
        return path

    @property
    def label(self) -> str:
        """For messages."""
        return f"{self.key} {self.path}"


@dataclass(frozen=True)
class Room:
    """What is left on a filesystem; shares of 1."""

    bytes_free: int
    bytes_share: float
    inodes_share: float
    """1 where the filesystem makes inodes as it needs them."""


def look_at_folders(settings: Settings, mountinfo: Path = MOUNTINFO) -> list[Finding]:
    """Each folder by itself, then each filesystem once, then how the folders lie to each other."""
    places = places_of(settings)
    mounts = read_mounts(mountinfo.read_text(encoding="utf-8", errors="surrogateescape"))
    found = [look_at_place(place) for place in places]
    found += look_at_root(settings.storage)
    found += look_at_mounts(settings, places, mounts, planned_mounts())
    folder = settings.source.folder
    found += look_at_filesystems(places, mounts, folder.scan_every if folder else 0.0)
    seen: set[int] = set()
    for place in places:
        try:
            device = place.nearest.stat().st_dev
            room = measure_room(place.nearest)
        except OSError:
            continue  # said above
        if device not in seen:
            seen.add(device)
            found.append(judge_room(place.label, room))
    if folder and folder.after == "move":
        found += look_at_claim(places[0], places[2], mounts)
    return found


def places_of(settings: Settings) -> list[Place]:
    """Inbox, root, work, processed, quarantine, and where images are that messages name."""
    folder, storage = settings.source.folder, settings.storage
    own = (
        ("storage.root", storage.root),
        ("storage.work", storage.work_dir),
        ("storage.processed", storage.processed_dir),
        ("storage.quarantine", storage.quarantine_dir),
    )
    places = [Place(key, path, writes=True, made=True) for key, path in own]
    if settings.source.mqtt and (named := settings.source.mqtt.folder):
        places.append(Place("source.mqtt.folder", named, writes=False, made=False))
    if folder is None:
        return places
    inbox = Place("source.folder.path", folder.path, writes=folder.after == "move", made=False)
    return [inbox, *places]


def look_at_place(place: Place) -> Finding:
    """Whether it is there, and may be used: tried, because rights are more than their bits."""
    nearest = place.nearest
    mend = f"as administrator: chown it to the user of the service, now {user_name()}"
    try:
        status = nearest.stat()
        if not stat.S_ISDIR(status.st_mode):
            return _wrong(
                f"{place.label}: {nearest} is not a folder",
                f"move it away, or set {place.key} to another",
            )
        if nearest != place.path and not place.made:
            return _wrong(
                f"{place.label} does not exist, or may not be seen", f"mkdir -p {place.path}"
            )
        with os.scandir(nearest) as entries:
            next(entries, None)
        if place.writes:
            # Unseen by everyone where the filesystem can do that, hidden where it can't.
            with tempfile.TemporaryFile(dir=nearest, prefix=".edge-agent-doctor-") as trial:
                trial.write(b"\0" * 4096)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            mend = "free some space there; images wait in the inbox meanwhile"
        return _wrong(f"{place.label}: {nearest} can't be used: {error.strerror}", mend)
    foreign = status.st_uid != os.geteuid() and os.geteuid() != 0
    if place.key == "source.folder.path" and status.st_mode & stat.S_ISVTX and foreign:
        return _wrong(
            f"{place.label}: its sticky bit keeps {user_name()} from moving other users' files",
            f"chmod -t {place.path}",
        )
    if nearest != place.path:
        return Finding(TOPIC, "ok", f"{place.label} will be made in {nearest}")
    return Finding(TOPIC, "ok", f"{place.label}: {'writable' if place.writes else 'readable'}")


def look_at_root(storage: StorageSettings) -> list[Finding]:
    """Whether it is missing though the station has run."""
    try:
        check_root(storage.root, storage.work_dir)
    except SpoolError as error:
        return [_wrong(str(error), "without it the journal would start empty")]
    return []


def look_at_mounts(
    settings: Settings,
    places: Sequence[Place],
    mounts: Sequence[Mount],
    planned: Sequence[Planned],
) -> list[Finding]:
    """Whether each lies where it lay, and what should be mounted above it is."""
    found = []
    note = settings.storage.mounts
    remembered = read_note(note)
    for place in places:
        mount, was = mount_of(place.path, mounts), remembered.get(str(place.path))
        now = place_of(place.path, mount) if mount else None
        if was and now and not is_same(was, now):
            what = describe(place.key, place.path, was, now)
            found.append(_wrong(what, how_to_mend(was, note)))
            continue
        for one in missing_above(place.path, planned, mounts):
            what = f"{place.label}: {one.where} mounts {one.source} on {one.point}, and it is not"
            found.append(_wrong(what, f"mount {one.point}"))
    return found


def look_at_filesystems(
    places: Sequence[Place], mounts: Sequence[Mount], scan_every: float
) -> list[Finding]:
    """What kind each is: no events over a network, and no journal there nor in memory."""
    found = []
    for place in places:
        mount = mount_of(place.nearest, mounts)
        if mount is None:
            continue
        where = f"{place.label} is on {mount.kind} ({mount.source})"
        if mount.network and place.key == "source.folder.path":
            what = f"{where}: it gives no events, so it is scanned every {scan_every:g} s"
            mend = "a local folder is faster: images are claimed by rename instead of copied"
            found.append(Finding(TOPIC, "warning", what, mend))
        elif mount.network and place.key == "storage.root":
            what = f"{where}: SQLite's journal is not safe over a network"
            found.append(_wrong(what, "set storage.root to a folder on a local disk"))
        elif mount.fleeting and place.key == "storage.root":
            what = f"{where}: {mount.fleeting}: so are the journal and unpublished verdicts"
            mend = "set storage.root to a folder on a disk, or mount a volume there"
            found.append(Finding(TOPIC, "warning", what, mend))
        elif place.key in ("source.folder.path", "storage.root"):
            found.append(Finding(TOPIC, "ok", where))
    return found


def measure_room(path: Path) -> Room:
    """What this user may still fill.

    Raises:
        OSError: the path is not there.
    """
    status = os.statvfs(path)
    return Room(
        bytes_free=status.f_bavail * status.f_frsize,
        bytes_share=status.f_bavail / status.f_blocks if status.f_blocks else 1.0,
        inodes_share=status.f_favail / status.f_files if status.f_files else 1.0,
    )


def judge_room(label: str, room: Room) -> Finding:
    """Error under 1 %; warning under 10 %, or 5 GB, whichever comes first."""
    what = (
        f"the disk of {label}: {room.bytes_free / _GB:.1f} GB ({room.bytes_share:.0%}) and "
        f"{room.inodes_share:.0%} of the inodes are free"
    )
    least = min(room.bytes_share, room.inodes_share)
    mend = "remove old images from processed/ or move them elsewhere, or give it a larger disk"
    if least < 0.01:
        return _wrong(what, mend)
    if least < 0.10 or room.bytes_free < 5 * _GB:
        return Finding(TOPIC, "warning", what, mend)
    return Finding(TOPIC, "ok", what)


def look_at_claim(inbox: Place, work: Place, mounts: Sequence[Mount]) -> list[Finding]:
    """Whether a claim is a rename. Two mounts of one filesystem are two, to the kernel."""
    try:
        one = inbox.nearest.stat().st_dev == work.nearest.stat().st_dev
    except OSError:
        return []
    if one and mount_of(inbox.nearest, mounts) == mount_of(work.nearest, mounts):
        what = "inbox and work are on one filesystem: images are claimed by rename"
        return [Finding(TOPIC, "ok", what)]
    what = f"{inbox.label} and {work.label} are on two filesystems: every image is copied"
    mend = "put storage.work (or storage.root) on the filesystem of the inbox"
    return [Finding(TOPIC, "warning", what, mend)]


def _wrong(what: str, mend: str) -> Finding:
    return Finding(TOPIC, "error", what, mend)
