"""An image that was filed away: where it lies, and how it is removed with its note."""

from __future__ import annotations

import contextlib
import errno
import os
from enum import Enum
from typing import TYPE_CHECKING

from edge_agent.sources.message import file_names
from edge_agent.sources.places import numbered
from edge_agent.sources.reason import REASON, note_of, read_note
from edge_agent.sources.spool import sha256_of

if TYPE_CHECKING:
    from pathlib import Path

    from edge_agent.journal.archive import Filed


_ONE = (errno.EACCES, errno.EPERM, errno.EISDIR, errno.ELOOP)  # of one file, not of the disk


class Fate(Enum):
    """What became of an image that was to be removed."""

    REMOVED = 1
    MISSING = 2
    """Somebody else has removed it."""
    STUCK = 3
    """It can't be removed."""
    LINKED = 4
    """It was left: it has another hard link, and removing it frees no room."""


def remove(directory: Path, filed: Filed, *, for_room: bool = False) -> tuple[Fate, str]:
    """Remove an image; what became of it, and why it can't be removed.

    Args:
        directory: that it was filed in.
        filed: what is known of it.
        for_room: only if that frees room.

    Raises:
        OSError: the disk fails.
    """
    why = ""
    for path in _places(directory, filed):
        try:
            if not _is(path, filed):
                continue
            if for_room and os.path.lexists(path) and path.lstat().st_nlink > 1:
                return Fate.LINKED, ""
            # Of a round that was cut short, only the note may be left.
            path.unlink(missing_ok=filed.quarantined)
            if filed.quarantined:
                note_of(path).unlink(missing_ok=True)
        except FileNotFoundError:
            continue
        except OSError as failure:
            if failure.errno not in _ONE:
                raise
            why = why or f"{path} is due for deletion, but can't be deleted: {failure.strerror}"
        else:
            return Fate.REMOVED, ""
    return (Fate.STUCK, why) if why else (Fate.MISSING, "")


def count(directory: Path) -> int:
    """How many images lie there, whosever they are.

    Raises:
        OSError: it can't be listed.
    """
    with os.scandir(directory) as entries:
        return sum(1 for e in entries if e.name[0] != "." and not e.name.endswith(REASON))


def _is(path: Path, filed: Filed) -> bool:
    """Whether what lies there is this image, and not another one that has taken its name.

    Raises:
        OSError: it can't be read, or is not there.
    """
    if filed.id in path.name:
        return os.path.lexists(path) or (filed.quarantined and os.path.lexists(note_of(path)))
    if filed.quarantined and (note := read_note(path)):
        return bool(note.get("id") == filed.id)
    return sha256_of(path) == filed.sha256


def _places(directory: Path, filed: Filed) -> list[Path]:
    """Where the image may have been filed: the journal has its name in printable form."""
    names = [filed.name]
    with contextlib.suppress(UnicodeError):
        plain = filed.name.encode("latin-1", "backslashreplace").decode("unicode_escape")
        names += [plain] if plain != filed.name else []
    last = [name.rpartition("/")[2] for name in names if "/" in name]  # of a folder's image
    # Of a message it is what a camera has written: any text, also a path that leads elsewhere.
    names += [file for name in names for file in file_names(name)] + last
    names = [name for name in names if "/" not in name and "\0" not in name]
    own = [directory / numbered(directory / name, filed.id) for name in names]
    return list(dict.fromkeys(own + [directory / name for name in names]))
