"""What lies in the inbox, and in folders in it where the settings say so."""

from __future__ import annotations

import os
import stat
from collections import deque
from contextlib import ExitStack
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_INBOX = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_STEP = _INBOX | os.O_NOFOLLOW
_UNFINISHED = (".tmp", ".temp", ".part", ".partial", ".filepart", "~")
MOST = 10_000  # folders that one listing enters

Entry = tuple[str, "os.stat_result | None", str]
"""A name, what lies behind it, and why that is not to be looked at; None: it can't be."""


def open_folder(inbox: Path, folder: str) -> int:
    """A descriptor of a folder in the inbox, reached over no link; empty: of the inbox itself.

    Raises:
        OSError: it is not there, no folder, or behind a link.
    """
    step = os.open(inbox, _INBOX)
    for part in folder.split("/") if folder else ():
        try:
            inner = os.open(part, _STEP, dir_fd=step)
        finally:
            os.close(step)
        step = inner
    return step


def is_passed_over(name: str) -> bool:
    """Whether a file or folder is hidden, or called as producers call what is not finished."""
    return name.startswith(".") or name.lower().endswith(_UNFINISHED)


class Entries:
    """Lists the inbox, and folders in it down to a depth."""

    def __init__(self, inbox: Path, depth: int) -> None:
        """Nothing is looked at yet.

        Args:
            inbox: may itself be a link.
            depth: 0: no folder in it is entered; 1: those that lie in it directly.
        """
        self._inbox = inbox
        self._depth = depth
        self.folders: dict[str, int] = {}
        """Those that the last listing entered, and their mtime (ns)."""
        self.unlisted: list[str] = []
        """Those that it could not list to the end: of what lies there nothing is known."""

    def list(self) -> Iterator[Entry]:
        """Names relative to the inbox, such as ``part.png`` and ``2026-11-30/part.png``.

        Raises:
            OSError: the inbox itself can't be listed.
        """
        self.folders, self.unlisted = {}, []
        waiting = deque([""])
        while waiting:
            folder = waiting.popleft()
            try:
                yield from self._list(folder, waiting)
            except (FileNotFoundError, NotADirectoryError):  # its camera has removed it meanwhile
                if not folder:
                    raise
            except OSError as error:
                if not folder:
                    raise
                self.unlisted.append(folder)
                yield folder, None, f"can not be listed: {error.strerror}"

    def _list(self, folder: str, waiting: deque[str]) -> Iterator[Entry]:
        deeper = folder.count("/") + bool(folder) < self._depth
        with ExitStack() as stack:
            descriptor = open_folder(self._inbox, folder)
            stack.callback(os.close, descriptor)
            home = os.fstat(descriptor)
            for entry in stack.enter_context(os.scandir(descriptor)):
                if is_passed_over(entry.name):
                    continue
                name = f"{folder}/{entry.name}" if folder else entry.name
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                except OSError as error:  # of a share: this one entry, and not the others
                    yield name, None, f"can not be looked at: {error.strerror}"
                    continue
                if not (deeper and stat.S_ISDIR(status.st_mode)):
                    yield name, status, ""
                elif why := self._why_not(status, home):
                    yield name, status, why
                else:
                    self.folders[name] = status.st_mtime_ns
                    waiting.append(name)

    def _why_not(self, status: os.stat_result, home: os.stat_result) -> str:
        if status.st_dev != home.st_dev:  # from there no image could be claimed by a rename
            return "is a folder on another filesystem than the inbox, and not searched"
        if len(self.folders) >= MOST:
            return f"is beyond the limit of {MOST} folders"
        return ""
