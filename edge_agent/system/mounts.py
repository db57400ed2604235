"""Which filesystem a path lies on, from ``/proc/self/mountinfo`` (proc(5))."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MOUNTINFO = Path("/proc/self/mountinfo")
# Changes that another machine, or the host of a guest, makes send no events here.
_NETWORK = {
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs", "lustre", "ncpfs"),
    *("9p", "virtiofs", "vboxsf", "fuse.vmhgfs-fuse", "fuse.sshfs", "fuse.glusterfs"),
    *("fuse.s3fs", "fuse.rclone", "fuse.davfs2", "davfs", "orangefs", "beegfs", "gpfs"),
}
_LOCAL_FUSE = {"fuseblk", "fuse.fuse-overlayfs", "fuse.overlayfs", "fuse.mergerfs"}
# Where a file may have another inode number at each mount, or whenever it is looked up.
_NUMBERED_ANEW = {"vfat", "msdos", "exfat", "ntfs", "9p", "virtiofs", "vboxsf", "davfs"}
_MEMORY = {"tmpfs", "ramfs"}
_LAYER = {"overlay", "aufs", "fuse.fuse-overlayfs", "fuse.overlayfs"}


@dataclass(frozen=True)
class Mount:
    """One line of mountinfo."""

    point: str
    kind: str
    """Type: ``ext4``, ``nfs4``, ``fuse.sshfs``."""
    source: str
    read_only: bool
    root: str = "/"
    """What of the filesystem is mounted: another folder than its root where it is a bind mount."""

    @property
    def network(self) -> bool:
        """Changes may come from elsewhere, unseen; locks and shared memory are not to be had.

        A FUSE filesystem that isn't known to be local counts as one.
        """
        unknown = self.kind.startswith("fuse") and self.kind not in _LOCAL_FUSE
        return self.kind in _NETWORK or unknown

    @property
    def numbers_last(self) -> bool:
        """A file keeps its inode number as long as it exists."""
        return self.kind not in _NUMBERED_ANEW and not self.kind.startswith("fuse.")

    @property
    def fleeting(self) -> str:
        """Why what is written here does not last; empty when it does."""
        if self.kind in _MEMORY:
            return "memory, gone after a power cut"
        return "a container's layer, gone with the container" if self.kind in _LAYER else ""


def read_mounts(text: str) -> list[Mount]:
    """The mounts in the kernel's order; lines that are not of its form are passed over."""
    mounts = []
    for line in text.splitlines():
        left, separator, right = line.partition(" - ")
        fields, rest = left.split(" "), right.split(" ")
        if not separator or len(fields) < 6 or len(rest) < 2:
            continue
        options = [*fields[5].split(","), *(rest[2].split(",") if len(rest) > 2 else ())]
        mounts.append(
            Mount(_plain(fields[4]), rest[0], _plain(rest[1]), "ro" in options, _plain(fields[3]))
        )
    return mounts


def mount_of(path: Path, mounts: Sequence[Mount]) -> Mount | None:
    """The mount that a path lies on: the deepest, and of those on one point the last."""
    real = os.path.realpath(path)
    best: Mount | None = None
    for mount in mounts:
        point = mount.point.rstrip("/")
        inside = real == point or real.startswith(f"{point}/")
        if inside and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def _plain(field: str) -> str:
    """Space, tab, newline and backslash are written as octal."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)
