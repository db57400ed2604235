"""What can go wrong with the journal, in words that say what to do."""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUSY_SECONDS = 10.0


class JournalError(Exception):
    """The journal can't be used, or a transaction was not committed; the message says why.

    ``full``: there is no room. The transaction was rolled back, the connection stays usable:
    try again when there is. After any other failure close the journal and open it again, which
    is recovery: a sync that failed once says nothing about the pages that it was to save.
    """

    def __init__(self, message: str, *, full: bool = False) -> None:
        super().__init__(message)
        self.full = full


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


def _explain(path: Path, error: sqlite3.Error) -> JournalError:
    text = str(error)
    starved = "I/O error" in text or "unable to open" in text
    if "is full" in text or (starved and _no_room(path)):
        return JournalError(
            f"the disk that holds {path} is full: free some space. Nothing was written", full=True
        )
    if "locked" in text:
        return JournalError(
            f"another program has kept {path} locked for {BUSY_SECONDS:.0f} s: "
            f"`fuser {path}` shows which; stop it"
        )
    if "readonly" in text:
        return JournalError(f"{path} is not writable by this user: check its owner and rights")
    if "unable to open" in text:
        return JournalError(f"{path} can't be opened: check that it exists, and its rights")
    if "malformed" in text or "not a database" in text:
        return damaged(path, text)
    return JournalError(
        f"the journal {path} failed: {text}. Look at the disk (`dmesg`), then start again"
    )


def _no_room(path: Path) -> bool:
    # A shared-memory file that could not grow is reported as an I/O error, and a filesystem
    # without a free inode as a file that can't be opened.
    try:
        found = os.statvfs(path.parent)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < 1 << 16 or found.f_favail == 0 < found.f_files
