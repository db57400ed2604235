"""One daemon a station: a lock on the state directory that names its holder."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

from contextlib import contextmanager


class LockedError(Exception):
    """The state directory is another agent's, or can't be used; the message says which and why."""


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Hold the lock file for as long as the block runs. The kernel frees it at any death.

    Raises:
        LockedError: somebody else holds it, or its directory can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise LockedError(
            f"[storage] root {path.parent} can't be used ({path.name}: {error.strerror}): create "
            "it or change its owner, so that the user of this service may write there"
        ) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 64).decode(errors="replace").strip() or "unknown"
            raise LockedError(
                f"{path.parent} is in use by another edge-agent (process {holder}): stop that one, "
                "or give this station its own [storage] root"
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)
