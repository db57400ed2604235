"""Copies a file in steps, between which the caller may do something else."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from edge_agent.system.durable import blamed

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

_PIECE = 1 << 20
_STEP = 8 << 20
"""Bytes between two steps: some tens of milliseconds."""


def copy_in_steps(
    source: Path, target: Path, inside: int | None = None
) -> Generator[None, None, os.stat_result]:
    """Copy a regular file's bytes and mtime durably; holes stay holes.

    Links are not followed, and nothing blocks on a pipe or a device.

    Args:
        source: the file.
        target: is written over.
        inside: a descriptor of the folder that the file is opened in, whatever has that folder's
            path now; None: by its path.

    Returns:
        What the source was when all of it had been read.

    Raises:
        OSError: its ``filename`` says which of the two failed.
    """
    with blamed(source):
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        reader = os.open(source if inside is None else source.name, flags, dir_fd=inside)
    try:
        with blamed(source):
            status = os.fstat(reader)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
        with blamed(target):
            writer = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        try:
            step = 0
            for start, end in _pieces(source, reader, status.st_size):
                with blamed(source):
                    piece = os.pread(reader, end - start, start)
                with blamed(target):
                    _write_all(writer, piece, start)
                step += len(piece)
                if step >= _STEP:
                    step = 0
                    yield
            with blamed(target):
                os.ftruncate(writer, status.st_size)
                os.fsync(writer)
                os.utime(writer, ns=(status.st_atime_ns, status.st_mtime_ns))
        finally:
            os.close(writer)
        with blamed(source):
            return os.fstat(reader)
    finally:
        os.close(reader)


def _pieces(source: Path, reader: int, size: int) -> Iterator[tuple[int, int]]:
    """Where the file has bytes; a filesystem that knows no holes has them everywhere."""
    start = 0
    while start < size:
        with blamed(source):
            try:
                start = os.lseek(reader, start, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # nothing but a hole up to its end
                    return
                raise
            hole = min(os.lseek(reader, start, os.SEEK_HOLE), size)
        while start < hole:
            end = min(start + _PIECE, hole)
            yield start, end
            start = end


def _write_all(writer: int, piece: bytes, start: int) -> None:
    rest = memoryview(piece)
    while rest:
        written = os.pwrite(writer, rest, start)
        rest, start = rest[written:], start + written
