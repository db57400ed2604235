"""Reads a file that a message has named: only inside one folder, and over no link."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from edge_agent.system.text import printable
from edge_agent.types import Failure, Image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_STEP = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# What does not pass: a link, no regular file, a name that is none, and what is refused below.
_LASTING = frozenset(
    {errno.ELOOP, errno.ENOTDIR, errno.EINVAL, errno.ENAMETOOLONG, errno.EPERM, errno.EFBIG}
)

Signature = tuple[int, int]
"""Size and mtime (ns) of a file."""


class TooLargeError(OSError):
    """The file has more bytes than may be read."""

    def __init__(self, size: int) -> None:
        super().__init__(errno.EFBIG, "too large")
        self.size = size


@dataclass(frozen=True)
class Named:
    """What became of a file that a message names."""

    content: bytes = b""
    signature: Signature = (0, 0)
    """Of the file whose bytes these are."""
    refused: Failure | None = None
    """Why it could not be read."""
    may_come: bool = False
    """It may be that it can be read later."""


def read_named(folder: Path, file: str, limit: int) -> Named:
    """Read the file that a message names; what is wrong with it becomes a reason."""
    try:
        content, signature = read_inside(folder, file, limit)
    except TooLargeError as error:
        reason = f"{file} has {error.size} bytes: the limit is {limit}"
        return Named(refused=Failure(printable(reason), Image("", error.size)))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        failure = Failure(printable(f"the file {file!r} can't be read: {why}"), Image("", 0))
        passes = isinstance(error, OSError) and error.errno not in _LASTING
        return Named(refused=failure, may_come=passes)
    return Named(content, signature)


def read_inside(folder: Path, named: str, limit: int) -> tuple[bytes, Signature]:
    """The bytes of a regular file, and its signature.

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
    with _opened(folder, named) as (descriptor, status):
        if status.st_size > limit:
            raise TooLargeError(status.st_size)
        with open(descriptor, "rb", closefd=False) as stream:
            content = stream.read(status.st_size)  # not what it grows to meanwhile
    return content, (status.st_size, status.st_mtime_ns)


def look_inside(folder: Path, named: str) -> Signature | None:
    """The signature of a file as `read_inside` finds it; None: it can't be read now."""
    try:
        with _opened(folder, named) as (_, status):
            return status.st_size, status.st_mtime_ns
    except (OSError, ValueError):
        return None


@contextmanager
def _opened(folder: Path, named: str) -> Iterator[tuple[int, os.stat_result]]:
    path = PurePosixPath(named)
    if path.is_absolute():
        if not path.is_relative_to(folder):
            raise OSError(errno.EPERM, f"is not inside {folder}")
        path = path.relative_to(folder)
    if not path.parts or ".." in path.parts or "\0" in named:
        raise OSError(errno.EPERM, f"is not a file inside {folder}")
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
        yield descriptor, status
    finally:
        os.close(descriptor)
