"""Files that no camera writes."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image


def png_of(width: int, height: int, *, bits: int = 8, pixels: bytes = b"") -> bytes:
    """A PNG by hand: its header may promise anything."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def jpeg_of_scans(width: int, height: int, scans: int) -> bytes:
    """A progressive JPEG that says nothing, again and again: each scan is a walk over all of it."""
    stream = io.BytesIO()
    Image.new("L", (width, height), 128).save(stream, "JPEG", progressive=True)
    whole = stream.getvalue()
    last = whole.rfind(b"\xff\xda")
    return whole[:-2] + whole[last:-2] * (scans - whole.count(b"\xff\xda")) + whole[-2:]


def tiff_of_frames(frames: int) -> bytes:
    """A grey TIFF of one pixel, and so many directories that all claim it."""
    pixel, first = 8, 10
    tags = ((256, 1), (257, 1), (258, 8), (259, 1), (262, 1), (273, pixel), (277, 1), (279, 1))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    directory = struct.pack("<H", len(tags)) + entries
    step = len(directory) + 4
    following = [*(first + step * number for number in range(1, frames)), 0]
    parts = [directory + struct.pack("<I", place) for place in following]
    return b"II*\0" + struct.pack("<I", first) + b"\x80\0" + b"".join(parts)


def png_of_chunks(chunks: int) -> bytes:
    """A PNG whose one pixel comes after so many empty chunks: slow to read."""
    whole = png_of(1, 1, pixels=b"\0\x80")
    after = whole.index(b"IDAT") - 4
    empty = struct.pack(">I", 0) + b"juNk" + struct.pack(">I", zlib.crc32(b"juNk"))
    return whole[:after] + empty * chunks + whole[after:]
