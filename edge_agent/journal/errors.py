"""What can go wrong with the journal, in words that say what to do."""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_TRIAL = 1 << 16  # bytes: with less than that left, a journal can't be written

# What SQLite says of a file that is no journal, or not a whole one.
_DAMAGED = (
    "malformed", "not a database", "no such table", "no such column", "no such index",
    "has no column", "constraint failed", "datatype mismatch", "unsupported file format",
    "encrypted",
)  # fmt: skip


class JournalError(Exception):
    """The journal can't be used, or a transaction was not committed; the message says why.

    ``temporary``: there is no room, or another program holds a lock. The transaction was rolled
    back, the connection stays usable: try again. After any other failure close the journal and
    open it again, which is recovery: a sync that failed once says nothing about the pages that it
    was to save.
    """

    def __init__(self, message: str, *, full: bool = False, locked: bool = False) -> None:
        super().__init__(message)
        self.full = full
        self.temporary = full or locked


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into `JournalError`."""
    try:
        yield
    except sqlite3.Error as error:
        raise _explain(path, error) from error


def damaged(path: Path, detail: str) -> JournalError:
    """The refusal of a file that can't be trusted."""
    detail = " ".join(detail.replace("*** in database main ***", "").split())
    return JournalError(
        f"the journal {path} is damaged ({detail}). Stop the agent and keep a copy of it; "
        "docs/troubleshooting.md says how to save what can still be read. "
        f"To begin an empty journal instead, move {path.name} and {path.name}-wal away"
    )


def left_open(path: Path, wal: Path) -> JournalError:
    """The refusal of a journal that nobody has closed, where nothing can be written beside it."""
    return JournalError(
        f"{path} was not closed, as after a kill: its latest inspections are in {wal.name}, which "
        f"can only be read where a file may be made beside it, and {path.parent} can't be written "
        "to (a read-only disk, or rights). Copy both and read the copy: "
        f"cp {path} {wal} DIR, then edge-agent journal tail --journal DIR/{path.name}"
    )


def storage_failed(path: Path, error: OSError) -> JournalError:
    """What the operating system says of a file that belongs to the journal."""
    if error.errno == errno.ENOSPC:
        return _full(path)
    if error.errno == errno.EDQUOT:
        return _over_quota(path)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return _not_ours(path)
    return JournalError(
        f"{path} can't be used: {error.strerror}. Look at the disk (`dmesg`), then start again"
    )


def _explain(path: Path, error: sqlite3.Error) -> JournalError:
    text = str(error)
    starved = "I/O error" in text or "unable to open" in text
    refused = _why_refused(path) if starved else None
    if "is full" in text or refused == errno.ENOSPC:
        return _full(path)
    if refused == errno.EDQUOT:
        return _over_quota(path)
    if "locked" in text:
        return JournalError(
            f"another program keeps {path} locked, such as a backup: wait until it ends, or stop "
            f"it (`fuser {path}` shows which)",
            locked=True,
        )
    if "readonly" in text:
        if not os.path.lexists(path):
            return JournalError(f"{path} was moved or removed while it was in use: put it back")
        return _not_ours(path)
    if "unable to open" in text:
        return JournalError(f"{path} can't be opened: check that it exists, and its rights")
    if any(words in text for words in _DAMAGED):
        return damaged(path, text)
    if "I/O error" in text:
        return JournalError(
            f"the journal {path} failed: {text}. Look at the disk (`dmesg`), then start again"
        )
    return JournalError(
        f"the journal {path} failed: {text}. Restart the agent; if that does not help, please "
        "report it"
    )


def _full(path: Path) -> JournalError:
    return JournalError(
        f"the disk that holds {path} is full: free some space. Nothing was written", full=True
    )


def _over_quota(path: Path) -> JournalError:
    return JournalError(
        f"the disk quota for {path} is used up: raise the quota of the user of this service, or "
        "free some of its space. Nothing was written",
        full=True,
    )


def _not_ours(path: Path) -> JournalError:
    return JournalError(f"{path} is not writable by this user: check its owner and rights")


def _why_refused(path: Path) -> int | None:
    """Whether SQLite's failure was one of room: it does not tell all of these apart.

    A shared-memory file that could not grow, and a quota that is used up, are reported as I/O
    errors; a filesystem without a free inode as a file that can't be opened.
    """
    try:
        found = os.statvfs(path.parent)
        if found.f_bavail * found.f_frsize < _TRIAL or found.f_favail == 0 < found.f_files:
            return errno.ENOSPC
        with tempfile.TemporaryFile(dir=path.parent, buffering=0) as trial:
            os.pwrite(trial.fileno(), bytes(_TRIAL), 0)
    except OSError as error:
        return error.errno
    return None
