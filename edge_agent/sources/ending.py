"""Whether a file has the end that its format asks for, by a few bytes of it.

Nothing is decoded: some bytes are compared. The decoder, in a worker, has the last word.
"""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Read = Callable[[int, int], bytes]
    """So many bytes from a place on; fewer at the file's end."""

_HEAD = 1024
_TAIL = 1 << 16
"""Bytes in which a format's end is looked for: vendors write behind it."""
_NOTHING = 16
"""So many zeros at the end may be pixels that are still to come. An image that is whole may end in
a few: a TIFF whose directory comes last in up to seven."""
_MARKERS = 200
_ENTRIES, _PARTS = 1000, 1 << 17
_PLACES, _LENGTHS = (273, 324), (279, 325)
"""Tags of a TIFF: where its strips or tiles lie, and how long they are."""
_WHOLE_NUMBERS = {3: "H", 4: "I", 16: "Q"}
_SIZES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value, by its type; 1 for all others."""
_IEND = b"IEND\xaeB`\x82"
_PNM = re.compile(rb"P([4-6])" + rb"(?:\s|#[^\r\n]*[\r\n])+([0-9]{1,9})" * 3 + rb"\s")
_PBM = re.compile(rb"P(4)" + rb"(?:\s|#[^\r\n]*[\r\n])+([0-9]{1,9})" * 2 + rb"\s")


@dataclass(frozen=True)
class Ending:
    """What can be said of the end of a file."""

    there: bool | None
    """Whether its format's end is there; None: the format doesn't tell."""
    zeros: bool
    """Its last bytes are nothing but zeros."""


def ending_of(path: Path) -> Ending:
    """Look at the end of a regular file; links are not followed.

    Raises:
        OSError: it can't be read.
    """
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        size = os.fstat(file).st_size

        def read(count: int, start: int) -> bytes:
            return os.pread(file, count, start)

        last = read(_NOTHING, max(0, size - _NOTHING))
        return Ending(_is_there(read, size), not last.strip(b"\0"))
    finally:
        os.close(file)


def _is_there(read: Read, size: int) -> bool | None:
    head = read(_HEAD, 0)
    if not head.strip(b"\0"):  # nothing at all, or a length that was set first
        return False
    for magic, check in _FORMATS.items():
        if head.startswith(magic):
            return check(read, size, head) if len(head) >= _SHORTEST else False
        if magic.startswith(head):
            return False
    return None


def _png(read: Read, size: int, _: bytes) -> bool:
    return _IEND in read(_TAIL, max(0, size - _TAIL))


def _jpeg(read: Read, size: int, _: bytes) -> bool | None:
    """Its end marker, behind the start of its scan: a thumbnail has one, too."""
    place = 2
    for _marker in range(_MARKERS):
        part = read(4, place)
        if len(part) < 4:
            return False
        if part[0] != 0xFF:
            return None  # damaged: the decoder says how
        if part[1] == 0xDA:
            tail = max(place, size - _TAIL)
            return b"\xff\xd9" in read(_TAIL, tail)
        place += 1 if part[1] == 0xFF else 2 + int.from_bytes(part[2:], "big")
    return None


def _bmp(_: Read, size: int, head: bytes) -> bool | None:
    said = int.from_bytes(head[2:6], "little")  # some writers leave it at 0
    return None if said < _SHORTEST else size >= said


def _webp(_: Read, size: int, head: bytes) -> bool | None:
    if head[8:12] != b"WEBP":
        return None
    return size >= 8 + int.from_bytes(head[4:8], "little")


def _tiff(read: Read, size: int, head: bytes) -> bool | None:
    """Its first directory, and the strips or tiles that this names (TIFF 6.0, sections 2, 15)."""
    order = "<" if head.startswith(b"II") else ">"
    big = head[2:4] in (b"+\0", b"\0+")
    place, entry, count = ("Q", "HHQQ", "Q") if big else ("I", "HHII", "H")
    (start,) = struct.unpack_from(order + place, head, 8 if big else 4)
    at = start + struct.calcsize(count)
    if at > size:
        return False
    (entries,) = struct.unpack(order + count, read(at - start, start))
    each = struct.calcsize(order + entry)
    if at + entries * each + struct.calcsize(order + place) > size:
        return False
    found = {}
    for tag, kind, number, value in struct.iter_unpack(
        order + entry, read(min(entries, _ENTRIES) * each, at)
    ):
        length = number * _SIZES.get(kind, 1)
        inline = struct.pack(order + place, value)
        if length > len(inline) and value + length > size:
            return False
        if tag in (*_PLACES, *_LENGTHS) and kind in _WHOLE_NUMBERS and number <= _PARTS:
            content = inline if length <= len(inline) else read(length, value)
            found[tag] = struct.unpack_from(f"{order}{number}{_WHOLE_NUMBERS[kind]}", content)
    ends = [
        where + length
        for places, lengths in zip(_PLACES, _LENGTHS, strict=True)
        for where, length in zip(found.get(places, ()), found.get(lengths, ()), strict=False)
    ]
    return max(ends) <= size if ends else None


def _pnm(_: Read, size: int, head: bytes) -> bool | None:
    found = _PBM.match(head) or _PNM.match(head)
    if not found:
        return None if len(head) == _HEAD else False  # a comment may be as long as it likes
    width, height = int(found[2]), int(found[3])
    if found[1] == b"4":
        return size >= found.end() + (width + 7) // 8 * height
    samples = width * height * (3 if found[1] == b"6" else 1)
    return size >= found.end() + samples * (2 if int(found[4]) > 255 else 1)


_SHORTEST = 16
_FORMATS: dict[bytes, Callable[[Read, int, bytes], bool | None]] = {
    b"\x89PNG\r\n\x1a\n": _png,
    b"\xff\xd8\xff": _jpeg,
    b"BM": _bmp,
    b"RIFF": _webp,
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), _tiff),
    **dict.fromkeys((b"P4", b"P5", b"P6"), _pnm),
}
