"""Reads a file that a message has named: only inside one folder, and over no link."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_STEP = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class TooLargeError(OSError):
    """The file has more bytes than may be read."""

    def __init__(self, size: int) -> None:
        super().__init__(errno.EFBIG, "too large")
        self.size = size


def read_inside(folder: Path, named: str, limit: int) -> tuple[bytes, float]:
    """The bytes of a regular file, and its mtime.

    Each part of the path is opened below the one before, and none may be a link: nothing that is
    exchanged meanwhile leads out of the folder.

    Args:
        folder: absolute; may itself be a link.
        named: relative to the folder, or absolute and inside of it as it is written.
        limit: bytes that the file may have.

    Raises:
        TooLargeError: it has more.
        OSError: it is not there, not a regular file, a link, or not inside.
    """
    path = PurePosixPath(named)
    if path.is_absolute():
        if not path.is_relative_to(folder):
            raise OSError(errno.EACCES, f"is not inside {folder}")
        path = path.relative_to(folder)
    if not path.parts or ".." in path.parts or "\0" in named:
        raise OSError(errno.EACCES, f"is not a file inside {folder}")
    step = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in path.parts[:-1]:
            inner = os.open(part, _STEP, dir_fd=step)
            os.close(step)
            step = inner
        descriptor = os.open(path.parts[-1], _FILE, dir_fd=step)
    finally:
        os.close(step)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "is not a regular file")
        if status.st_size > limit:
            raise TooLargeError(status.st_size)
        with open(descriptor, "rb", closefd=False) as stream:
            return stream.read(status.st_size), status.st_mtime  # not what it grows to meanwhile
    finally:
        os.close(descriptor)
