"""Files of a bundle, opened as what may come from anywhere."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def open_regular(file: Path, *, follow: bool) -> Iterator[tuple[IO[bytes], int]]:
    """A file for reading, and the size that it has now; a pipe is not waited for.

    Args:
        file: its path.
        follow: also if it is a link; else it is not there.

    Raises:
        FileNotFoundError: there is no regular file.
        OSError: it can't be opened, or is a directory.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = os.open(file, flags if follow else flags | os.O_NOFOLLOW)
    with open(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(status.st_mode):
            raise FileNotFoundError(errno.ENOENT, "it is not a regular file")
        yield stream, status.st_size
