"""The witness outside of the journal: which sequence numbers have been given.

One line in a file beside the journal, written in place behind each commit. A kill loses nothing of
it: what was written is the kernel's. A power cut may lose the last seconds of ``last``, but not
``reserved``, which is synced before the first number of a block is given.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from edge_agent.journal.errors import JournalError, storage_failed
from edge_agent.system.durable import sync_directory, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SIZE = 128  # bytes; less than a sector, which a disk writes whole
_BLOCK = 1000  # numbers that are reserved with one sync
_READS = 20  # a reader may meet the writer in the middle of the line


@dataclass(frozen=True)
class Entry:
    """What the file says."""

    journal: int
    """The identity of the journal that it belongs to."""
    last: int
    """The last number of a transaction that was committed. Nothing above it was published."""
    reserved: int
    """No number above it was ever given."""


DAMAGED = Entry(0, 0, 0)
"""There is a file, but it can't be read."""


def mark_of(journal: Path) -> Path:
    """The file of a journal; one that stays where it is when ``journal.db*`` is moved away."""
    return journal.with_name(f"{journal.stem}.mark")


def read_mark(path: Path) -> Entry | None:
    """What the file says, `DAMAGED`, or None where there is none.

    Raises:
        JournalError: it may not be read.
    """
    for _ in range(_READS):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_failed(path, error) from error
        text, _, check = content.rstrip(b"\n ").rpartition(b" ")
        if check == _check(text):
            return Entry(**json.loads(text))
        time.sleep(0.001)
    return DAMAGED


class Mark:
    """Written by the one writer of the journal."""

    def __init__(self, path: Path) -> None:
        """Nothing is opened yet."""
        self.path = path
        self._file = -1
        self._entry = DAMAGED

    def create(self, entry: Entry) -> None:
        """Write a new file, durably, in the place of whatever is there.

        Raises:
            JournalError: it can't be written.
        """
        with _told(self.path):
            write_whole(self.path, _line(entry))
            sync_directory(self.path.parent)
        self.open(entry)

    def open(self, entry: Entry) -> None:
        """Go on with the file that is there and says this.

        Raises:
            JournalError: it can't be written.
        """
        self.close()
        with _told(self.path):
            self._file = os.open(self.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        self._entry = entry

    def reserve(self, sequence: int) -> None:
        """Numbers up to this one will be given: on the disk before it returns.

        Raises:
            JournalError: it is not, so none may be given.
        """
        if sequence > self._entry.reserved:
            self._write(replace(self._entry, reserved=sequence + _BLOCK), sync=True)

    def committed(self, sequence: int) -> None:
        """All numbers up to this one are in the journal, and may be published from now on.

        Raises:
            JournalError: they may not: the mark was not written.
        """
        if sequence > self._entry.last:
            self._write(replace(self._entry, last=sequence), sync=False)

    def close(self) -> None:
        """Bring it to the disk, as far as that works, and close the file; harmless twice."""
        file, self._file = self._file, -1
        if file != -1:
            try:
                with _told(self.path):
                    os.fdatasync(file)
            finally:
                os.close(file)

    def _write(self, entry: Entry, *, sync: bool) -> None:
        with _told(self.path):
            os.pwrite(self._file, _line(entry), 0)
            if sync:
                os.fdatasync(self._file)
        self._entry = entry


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise storage_failed(path, error) from error


def published(path: Path) -> int:
    """The last number that may be published.

    Raises:
        JournalError: that is not known.
    """
    entry = read_mark(path)
    if entry is None or entry is DAMAGED:
        raise JournalError(
            f"{path} is missing or damaged: restart the agent, which writes it anew. Nothing is "
            "published meanwhile"
        )
    return entry.last


def _line(entry: Entry) -> bytes:
    text = json.dumps(asdict(entry)).encode()
    return (text + b" " + _check(text)).ljust(_SIZE - 1) + b"\n"


def _check(text: bytes) -> bytes:
    return b"%08x" % zlib.crc32(text)
