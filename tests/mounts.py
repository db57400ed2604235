"""Filesystems of a test's own: small ones, and one whose power can be cut."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import shutil
import struct
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN
_WITHOUT_FLUSH = struct.pack("I", 2)  # EXT4_GOING_FLAGS_NOLOGFLUSH: as when the power goes

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a filesystem")
needs_ext4 = pytest.mark.skipif(
    shutil.which("mkfs.ext4", path="/sbin:/usr/sbin:/usr/bin") is None,
    reason="mkfs.ext4 is not installed (e2fsprogs)",
)


@contextmanager
def mounted(at: Path, *options: str) -> Iterator[Path]:
    """What ``mount`` is told, at a directory that is made for it; gone at the end."""
    at.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", *options, str(at)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no filesystem can be mounted here: {done.stderr.strip()}")
    try:
        yield at
    finally:
        # A process that was killed holds it until it is gone; what is mounted again before that
        # is the filesystem whose power was cut, not what is left of it on the disk.
        until = time.monotonic() + 20
        while subprocess.run(["umount", str(at)], capture_output=True, check=False).returncode:
            if time.monotonic() > until:
                subprocess.run(["umount", "--lazy", str(at)], check=True)
                break
            time.sleep(0.05)


def small(
    at: Path, *, size: str = "8m", inodes: int = 0
) -> contextlib.AbstractContextManager[Path]:
    """A tmpfs of a few megabytes, or of a few files."""
    limits = f"size={size}" + (f",nr_inodes={inodes}" if inodes else "")
    return mounted(at, "-t", "tmpfs", "-o", limits, "none")


def fill(directory: Path) -> Path:
    """Leave no room at all on the filesystem; delete what is returned to give it back."""
    ballast = directory / ".ballast"
    with ballast.open("ab", buffering=0) as stream:
        for piece in (1 << 20, 1 << 12, 1):
            _until_full(lambda piece=piece: stream.write(bytes(piece)) < piece)
    return ballast


def take_all_inodes(directory: Path) -> None:
    """Leave room for no further file."""
    paths = (directory / str(number) for number in itertools.count())
    _until_full(lambda: next(paths).touch())


def _until_full(take: Callable[[], object]) -> None:
    try:
        while not take():
            pass
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise


def format_ext4(image: Path, megabytes: int = 64) -> None:
    """A filesystem in a file."""
    with image.open("wb") as stream:
        stream.truncate(megabytes << 20)
    path = os.environ["PATH"] + ":/sbin:/usr/sbin"
    subprocess.run(
        ["mkfs.ext4", "-q", "-F", str(image)], check=True, env={**os.environ, "PATH": path}
    )


def cut_power(mount: Path) -> None:
    """Whatever is not on the disk at this moment never will be."""
    descriptor = os.open(mount, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(descriptor, _SHUTDOWN, _WITHOUT_FLUSH)
    finally:
        os.close(descriptor)
