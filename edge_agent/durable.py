"""What has been written is on the disk before anything relies on it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def write_durably(file: Path, content: bytes) -> None:
    """Write a file whose bytes, though not its name, survive a power cut from now on.

    Raises:
        OSError: they can't be written.
    """
    with file.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def sync_file(file: Path) -> None:
    """Make the bytes of a file that was written survive a power cut.

    Raises:
        OSError: it can't be done.
    """
    with file.open("rb") as stream:
        os.fsync(stream.fileno())


def sync_directory(directory: Path) -> None:
    """Make what was created, renamed or removed in a directory survive a power cut.

    Raises:
        OSError: it can't be done.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
