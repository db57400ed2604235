"""What has been written is on the disk before anything relies on it."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def blamed(path: Path) -> Iterator[None]:
    """What a descriptor's call raises says whose it was: by itself it does not, or in part."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def write_durably(file: Path, content: bytes) -> None:
    """Write a file whose bytes, though not its name, survive a power cut from now on.

    Raises:
        OSError: they can't be written.
    """
    with blamed(file), file.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def write_whole(file: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all; `sync_directory` makes its name durable.

    Raises:
        OSError: it can't be written; what was there before still is.
    """
    partial = file.with_name(f".{file.name}.partial")
    write_durably(partial, content)
    partial.replace(file)


def sync_directory(directory: Path) -> None:
    """Make what was created, renamed or removed in a directory survive a power cut.

    Raises:
        OSError: it can't be done.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with blamed(directory):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
