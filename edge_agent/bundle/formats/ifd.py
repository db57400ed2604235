"""The directories of a TIFF, which are those of EXIF too. Every offset is taken for hostile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_agent.bundle.errors import DamagedError, TruncatedError

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

_HEADERS = {
    b"II*\0": ("<", False),
    b"MM\0*": (">", False),
    b"II+\0": ("<", True),
    b"MM\0+": (">", True),
}
MAGIC = tuple(_HEADERS)
# By the type's number; of two numbers for each value where it is a fraction.
_TYPES = {
    1: "u1",
    2: "u1",
    3: "u2",
    4: "u4",
    5: "u4",
    6: "i1",
    7: "u1",
    8: "i2",
    9: "i4",
    10: "i4",
    11: "f4",
    12: "f8",
    13: "u4",
    16: "u8",
    17: "i8",
    18: "u8",
}
_FRACTIONS = (5, 10)


@dataclass(frozen=True)
class Header:
    """The first bytes of a TIFF."""

    order: str
    """Of bytes: "<" or ">"."""
    big: bool
    first: int
    """Where the first directory is."""


@dataclass(frozen=True)
class Directory:
    """The tags of it that were asked for, and where the next one is (0: none is)."""

    tags: dict[int, NDArray[Any]]
    next: int

    def said(self, tag: int) -> int | None:
        """The first value of a tag; None: it is not there, or no whole number."""
        values = self.tags.get(tag)
        if values is None or not values.size or values.dtype.kind == "f":
            return None
        return int(values[0])

    def number(self, tag: int, default: int) -> int:
        """The first value of a tag, or what it means that it is not there."""
        found = self.said(tag)
        return default if found is None else found

    def numbers(self, tag: int) -> tuple[int, ...]:
        """A few values of a tag; none if it is not there."""
        values = self.tags.get(tag)
        return () if values is None else tuple(int(value) for value in values[:1024])


def read_header(data: bytes) -> Header:
    """Read the first bytes.

    Raises:
        DamagedError: they are not those of a TIFF.
        TruncatedError: the file ends in them.
    """
    if data[:4] not in _HEADERS:
        raise DamagedError("no TIFF header")
    order, big = _HEADERS[data[:4]]
    start, size = (8, 8) if big else (4, 4)
    if len(data) < start + size:
        raise TruncatedError("the TIFF ends in its header")
    return Header(order, big, _number(data, start, size, order))


def read_directory(data: bytes, header: Header, place: int, wanted: Collection[int]) -> Directory:
    """Read the ``wanted`` tags of the directory at ``place``; of a tag that is repeated the first.

    Raises:
        TruncatedError: it, or a value of it, lies behind the end of the file.
        DamagedError: a tag is of an unknown type.
    """
    order, big = header.order, header.big
    head, step, inline = (8, 20, 8) if big else (2, 12, 4)
    if place + head > len(data):
        raise TruncatedError("a directory of the TIFF lies behind the end of the file")
    count = _number(data, place, head, order)
    start = place + head
    end = start + count * step
    if end > len(data):
        raise TruncatedError("a directory of the TIFF lies behind the end of the file")
    entries = np.frombuffer(data, np.uint8, count * step, start).reshape(count, step)
    names = np.ascontiguousarray(entries[:, :2]).view(order + "u2")[:, 0]
    tags: dict[int, NDArray[Any]] = {}
    for index in np.flatnonzero(np.isin(names, list(wanted))).tolist():
        tag, entry = int(names[index]), start + index * step
        if tag in tags:
            continue
        kind = _number(data, entry + 2, 2, order)
        values = _number(data, entry + 4, inline, order)
        if kind not in _TYPES:
            raise DamagedError(f"tag {tag} of the TIFF is of the unknown type {kind}")
        dtype = np.dtype(order + _TYPES[kind])
        number = values * (2 if kind in _FRACTIONS else 1)
        size = number * dtype.itemsize
        where = entry + 4 + inline
        if size > inline:
            where = _number(data, where, inline, order)
        if where + size > len(data):
            raise TruncatedError(f"tag {tag} of the TIFF lies behind the end of the file")
        tags[tag] = np.frombuffer(data, dtype, number, where)
    following = _number(data, end, inline, order) if end + inline <= len(data) else 0
    return Directory(tags, following)


def _number(data: bytes, place: int, size: int, order: str) -> int:
    return int.from_bytes(data[place : place + size], "little" if order == "<" else "big")
