"""Unpack a zip file that somebody else made, as if it meant harm."""

from __future__ import annotations

import stat
import zipfile
import zlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from trainer.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MOST_FILES = 100_000
_BLOCK = 1 << 20


def unpack(archive: Path, into: Path, most: int, wanted: Callable[[Path], bool]) -> Path:
    """Unpack into an empty folder; return the folder inside of it that is wanted.

    Nothing is written before the whole list of contents was looked through.

    Args:
        archive: a zip file.
        into: an empty folder.
        most: bytes that all files may have together, counted as they are written: what a file
            says of its own size is not believed.
        wanted: tells whether a folder is the one that was looked for, which may lie one deeper.

    Raises:
        UsageError: not a zip file, damaged, a path that leads outside, a link or device, too
            large, encrypted, or without what is wanted.
    """
    try:
        with zipfile.ZipFile(archive) as contents:
            entries = contents.infolist()
            for entry in entries:
                _refuse_unsafe(archive, entry)
            if len(entries) > MOST_FILES or sum(entry.file_size for entry in entries) > most:
                raise UsageError(_too_large(archive, most))
            left = most
            for entry in entries:
                if not entry.is_dir():
                    left = _write(contents, entry, into, left)
                    if left < 0:
                        raise UsageError(_too_large(archive, most))
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
        raise UsageError(f"{archive} can't be unpacked: {error}") from None
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        raise UsageError(
            f"{archive} holds {error.filename} twice, or as file and as folder: nothing was kept"
        ) from None
    places = [into, *sorted(inner for inner in into.iterdir() if inner.is_dir())]
    for place in places:
        if wanted(place):
            return place
    raise UsageError(f"{archive} does not hold the images that it should: nothing was kept")


def _refuse_unsafe(archive: Path, entry: zipfile.ZipInfo) -> None:
    name = entry.filename
    path = PurePosixPath(name)
    kind = stat.S_IFMT(entry.external_attr >> 16)
    reason = ""
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or not path.parts:
        reason = "a path that leads outside"
    elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        reason = "a link or a device"
    elif entry.flag_bits & 0x1:
        reason = "encrypted"
    if reason:
        raise UsageError(f"{archive} is not safe to unpack: {name!r} is {reason}")


def _write(contents: zipfile.ZipFile, entry: zipfile.ZipInfo, into: Path, left: int) -> int:
    """Write one file; return how many more bytes there may be, below 0 for too many."""
    target = into.joinpath(*PurePosixPath(entry.filename).parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    with contents.open(entry) as source, target.open("xb") as stream:
        while left >= 0 and (block := source.read(_BLOCK)):
            left -= len(block)
            stream.write(block)
    return left


def _too_large(archive: Path, most: int) -> str:
    return (
        f"{archive} would unpack to more than {most / 1e9:.1f} GB or {MOST_FILES:,} files, far "
        "more than it should hold: nothing was kept"
    )
