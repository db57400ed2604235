"""Whether the station's folders lie on the filesystems that they lay on when it last ran.

A share that is not mounted leaves an empty folder behind that looks like any other. So the first
time that a folder is seen, the mount that it lies on is noted, durably. The note is kept by the
folder's path: a station that is given another folder begins anew.
"""

from __future__ import annotations

import json
import logging
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.system.durable import sync_directory, write_durably
from edge_agent.system.mounts import MOUNTINFO, mount_of, read_mounts
from edge_agent.system.trouble import Trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edge_agent.system.mounts import Mount

log = logging.getLogger(__name__)

_EVERY = 1.0  # seconds between two looks
_ON_DEMAND = "autofs"  # mounted as soon as somebody looks
_BY_UUID = Path("/dev/disk/by-uuid")


@dataclass(frozen=True)
class Place:
    """The mount that a folder lies on, in what does not change when the machine starts anew."""

    point: str
    kind: str
    source: str
    """``nas:/plant``, ``UUID=...``; empty for a device without a name that lasts."""
    inside: str
    """The folder's path within the filesystem: the same also where systemd has given a service a
    mount of its own on it."""

    @property
    def label(self) -> str:
        """For messages."""
        return f"{self.kind} ({self.source})" if self.source else self.kind


class MountWatch:
    """Compares where the folders lie with where they lay."""

    def __init__(
        self,
        note: Path,
        folders: Mapping[str, Path],
        *,
        mountinfo: Path = MOUNTINFO,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the note; nothing is looked at yet.

        Args:
            note: the file that remembers; a person removes it to accept what is so now.
            folders: by what the settings call them.
            mountinfo: the kernel's list of mounts.
            clock: monotonic seconds.
        """
        self._note = note
        self._folders = dict(folders)
        self._mountinfo = mountinfo
        self._clock = clock
        self._next = float("-inf")
        self._remembered = read_note(note)
        self._parsed: tuple[str, list[Mount]] = "", []
        self._trouble = Trouble(log, "every folder lies on its filesystem again")

    @property
    def trouble(self) -> str:
        """Which folder lies elsewhere, and what to do; empty when all is well."""
        return self._trouble.text

    def look(self) -> None:
        """Compare, at most once a second; what is seen for the first time is noted."""
        now = self._clock()
        if now < self._next:
            return
        self._next = now + _EVERY
        if self._trouble.text and not self._note.exists():
            log.info("the new mounts are accepted: %s was removed", self._note)
            self._remembered = {}
        try:
            places = self._places()
        except OSError as error:  # no descriptor is left, say
            log.debug("the mounts can't be read now: %s", error)
            return
        for path, place in places.items():
            was = self._remembered.get(path)
            if was != place and (was is None or _is_deeper(place, was)):
                self._remember(places)
                break
        moved = self._moved(places)
        if moved:
            self._trouble.failed("; ".join(moved))
        else:
            self._trouble.worked()

    def away(self, *folders: Path) -> str:
        """Why these folders do not lie where they lay, at this moment; from any thread."""
        asked = {str(folder) for folder in folders}
        places = {path: place for path, place in self._places().items() if path in asked}
        return "; ".join(self._moved(places))

    def _places(self) -> dict[str, Place]:
        text = self._mountinfo.read_text(encoding="utf-8", errors="surrogateescape")
        known, mounts = self._parsed
        if text != known:
            mounts = read_mounts(text)
            self._parsed = text, mounts
        found = {str(path): mount_of(path, mounts) for path in self._folders.values()}
        return {
            path: place_of(Path(path), mount) for path, mount in found.items() if mount is not None
        }

    def _moved(self, places: Mapping[str, Place]) -> list[str]:
        moved = []
        for name, path in self._folders.items():
            was, now = self._remembered.get(str(path)), places.get(str(path))
            if was is not None and now is not None and not is_same(was, now):
                moved.append(f"{describe(name, path, was, now)}. {how_to_mend(was, self._note)}")
        return moved

    def _remember(self, places: Mapping[str, Place]) -> None:
        kept: dict[str, Place] = {}
        for path, place in places.items():
            was = self._remembered.get(path)
            kept[path] = place if was is None or _is_deeper(place, was) else was
        self._remembered = kept
        partial = self._note.with_name(self._note.name + ".partial")
        content = {path: asdict(place) for path, place in kept.items()}
        try:
            write_durably(partial, json.dumps(content, indent=2).encode())
            partial.rename(self._note)
            sync_directory(self._note.parent)
        except OSError as error:
            log.warning("the mounts can't be noted: %s: %s", self._note, error.strerror)


def read_note(note: Path) -> dict[str, Place]:
    """Where each folder lay; empty where that is not known."""
    try:
        content = json.loads(note.read_bytes())
        return {str(path): Place(**place) for path, place in content.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        log.warning("%s can't be read, and is rewritten: %s", note, error)
        return {}


def place_of(path: Path, mount: Mount) -> Place:
    """What of a folder's mount is the same after the machine has started anew."""
    below = os.path.relpath(os.path.realpath(path), mount.point)
    inside = os.path.normpath(Path(mount.root) / below)
    return Place(mount.point, mount.kind, _lasting(mount.source), inside)


def is_same(was: Place, now: Place) -> bool:
    """Whether a folder lies where it lay."""
    if _ON_DEMAND in (was.kind, now.kind):
        return was.point == now.point
    sources = {was.source, now.source} - {""}
    return (was.kind, was.inside) == (now.kind, now.inside) and len(sources) < 2


def describe(name: str, path: Path, was: Place, now: Place) -> str:
    """What is so, in words."""
    return (
        f"{name} {path} lay on {was.label}, mounted on {was.point}, and lies on {now.label}, "
        f"mounted on {now.point}, now"
    )


def how_to_mend(was: Place, note: Path) -> str:
    """What to do about it."""
    return f"Mount it again (mount {was.point}); if this is intended, remove {note}"


def _is_deeper(now: Place, was: Place) -> bool:
    """Whether something was mounted on the folder or above it: that is what a mount is for."""
    below = now.point == was.point or now.point.startswith(was.point.rstrip("/") + "/")
    return below and len(now.inside) < len(was.inside)


def _lasting(source: str) -> str:
    """Devices are counted anew at each start; their filesystems' identities stay."""
    if not source.startswith("/dev/"):
        return source
    try:
        device = os.path.realpath(source)
        for link in _BY_UUID.iterdir():
            if os.path.realpath(link) == device:
                return f"UUID={link.name}"
    except OSError:
        pass
    return ""
