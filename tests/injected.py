"""Faults at the system call, by strace: an error code, or death, at the N-th call of a name."""

from __future__ import annotations

import shutil
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.line import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

STRACE = shutil.which("strace")
needs_strace = pytest.mark.skipif(STRACE is None, reason="strace is not installed")

# What changes a disk, on the way of an image through the daemon.
CHANGES = (
    "mkdir", "rename", "rmdir", "unlink", "fsync", "fdatasync", "pwrite64", "ftruncate",
    "utimensat",
)  # fmt: skip


def launched(fault: str, *, threads: bool = False, path: Path | None = None) -> list[str]:
    """What to start a program under, so that ``fault`` meets its main thread, or all.

    The program is the child still, and the tracer a process beside it. ``fault`` as strace has
    it: ``fsync:signal=KILL:when=3``. It counts the calls of each thread by themselves, and those
    that concern ``path`` alone, if it is given.
    """
    assert STRACE is not None
    call = fault.split(":", 1)[0]
    follow = ["-f"] if threads else []
    own = ["-P", str(path)] if path else []
    where = ["-o", "/dev/null", f"--trace={call}", f"--inject={fault}"]
    return [STRACE, "-D", "-qq", *follow, *own, *where]


@contextmanager
def attached(
    threads: Iterable[int], fault: str, log: Path, path: Path | None = None
) -> Iterator[None]:
    """``fault`` meets these running threads, until the block ends; ``log`` has the calls."""
    assert STRACE is not None
    call = fault.split(":", 1)[0]
    pids = [argument for thread in threads for argument in ("-p", str(thread))]
    own = ["-P", str(path)] if path else []
    said = log.with_suffix(".said")
    with said.open("wb") as stream:
        tracer = subprocess.Popen(
            [STRACE, *own, *pids, "-o", str(log), f"--trace={call}", f"--inject={fault}"],
            stderr=stream,
        )
        try:

            def attached_to_all() -> bool:
                return said.read_text().count(" attached") >= len(pids) // 2

            wait_for(lambda: attached_to_all() or tracer.poll() is not None)
            # It may have met one already, and ended with what it was attached to.
            assert attached_to_all(), said.read_text()
            yield
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.wait(30)
