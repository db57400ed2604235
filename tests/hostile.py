"""Files that no camera writes."""

from __future__ import annotations

import struct
import zlib


def png_of(width: int, height: int, *, bits: int = 8, pixels: bytes = b"") -> bytes:
    """A PNG by hand: its header may promise anything."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body
