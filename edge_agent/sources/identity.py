"""Who a file is that can't be moved out of its folder: the same at every look, another when it is.

``s`` or ``r``, then digits of three digests: of path, size and mtime; of the inode; of the ctime.
The first ones alone find the versions of a file that differ in the rest only.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

STAYS = "s"
"""The file stays in its folder, because the settings say so."""
REFUSED = "r"
"""The file was to be moved, and may not be."""
_EARLIER = "k"  # what files that stay were known by in version 0.1

_GETVERSION = 0x80087601  # FS_IOC_GETVERSION, <linux/fs.h>

PATTERN = rf"[0-9a-f]{{24}}|[{STAYS}{REFUSED}{_EARLIER}][0-9a-f]{{23}}"
FORM = re.compile(PATTERN)
"""Every frame's identity."""
_LOOK = 9  # of an identity's characters: its kind, and the digits of path, size and mtime


@dataclass(frozen=True)
class Identity:
    """Of one version of a file, 24 characters in all."""

    look: str
    """Of path, size and mtime."""
    inode: str
    change: str
    """Of the ctime, which every write moves, and every change of rights."""
    earlier: str
    """What a file that stays was known by in version 0.1: without inode and ctime."""

    @property
    def whole(self) -> str:
        return self.look + self.inode + self.change


def identity_of(path: Path, status: os.stat_result, *, stays: bool) -> Identity:
    """The identity of a file at a path, from what ``lstat`` says of it.

    Raises:
        OSError: it can't be opened.
    """
    key = f"{os.fsencode(path)!r}\0{status.st_size}\0{status.st_mtime_ns}"
    earlier = _digest(key)
    return Identity(
        look=look_of((STAYS if stays else REFUSED) + earlier),
        inode=_digest(f"{status.st_ino} {generation(path)}")[:8],
        change=_digest(str(status.st_ctime_ns))[:7],
        earlier=_EARLIER + earlier[:23] if stays else "",
    )


def look_of(identity: str) -> str:
    """What identities of one path, size and mtime begin with."""
    return identity[:_LOOK]


def is_copy_of_what_stays(identity: str) -> bool:
    """Whether the frame is a copy, to be dropped when it is judged."""
    return identity.startswith((STAYS, _EARLIER))


def is_copy(identity: str) -> bool:
    """Whether the frame is a copy, and the file that it was made from is still in its folder."""
    return identity.startswith((STAYS, REFUSED, _EARLIER))


def generation(path: Path) -> int:
    """Which file has the inode's number: it is given again. 0 where the filesystem doesn't say."""
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            return int(struct.unpack("=q", fcntl.ioctl(file, _GETVERSION, bytes(8)))[0])
        return 0
    finally:
        os.close(file)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
