"""What the write-ahead log says by itself, whatever SQLite has made of it.

SQLite ends recovery at the first frame whose checksum is wrong, and says nothing of those behind
it. Frames have a fixed size, so they can be read all the same.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_HEADER, _FRAME = 32, 24
# A record of the table `meta`: the size of its header, a text of 8 bytes, a whole number.
_SEQUENCE = re.compile(rb"\x03\x1d([\x01-\x06\x08\x09])sequence(.{0,8})", re.DOTALL)
_WIDTHS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 8: 0, 9: 0}


def numbers_in(wal: Path, page: int, page_size: int) -> set[int]:
    """Every last sequence number that a frame of the table ``meta`` holds, valid or not.

    Args:
        wal: the log.
        page: the root of the table.
        page_size: bytes.

    Raises:
        OSError: it can't be read.
    """
    found: set[int] = set()
    try:
        stream = wal.open("rb")
    except FileNotFoundError:
        return found
    with stream:
        stream.seek(_HEADER)
        while head := stream.read(_FRAME):
            if int.from_bytes(head[:4], "big") != page:
                stream.seek(page_size, 1)
                continue
            for match in _SEQUENCE.finditer(stream.read(page_size)):
                kind = match[1][0]
                number = int.from_bytes(match[2][: _WIDTHS[kind]], "big", signed=True)
                found.add(1 if kind == 9 else number)
    return found
