"""PNG: its chunks are walked and checked, then Pillow decodes those that pixels depend on.

Pillow checks no checksum of pixels, and takes rows for black that the compressed data ends without.
So it gets these data without their last byte, which is one of their own checksum: it has all of
its rows before it comes to that, or it asks for more.
"""

from __future__ import annotations

import io
import zlib
from typing import TYPE_CHECKING

from PIL import PngImagePlugin

from edge_agent.bundle.errors import DamagedError, DecodeError, TruncatedError
from edge_agent.bundle.formats.orientation import inflated, orientation_of
from edge_agent.bundle.formats.picture import PillowPicture

if TYPE_CHECKING:
    from PIL import Image

MAGIC = b"\x89PNG"

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_PIXELS = (*_CRITICAL, b"tRNS")  # transparency says pixels, though an image's are taken without it
_XMP = b"XML:com.adobe.xmp\0"
_PROFILE = b"Raw profile type exif\0"  # of ImageMagick
_MAX_CHUNKS = 100_000
_END = b"\0\0\0\0IEND\xaeB`\x82"


class Png(PillowPicture):
    """A PNG whose chunks were walked."""

    def __init__(self, data: bytes) -> None:
        """Walk the chunks of ``data``.

        Raises:
            DecodeError: it has no end, too many chunks, a wrong checksum, or several frames.
        """
        if not data.startswith(_SIGNATURE):
            raise DamagedError(
                "the PNG's signature is not whole: was it sent as text (FTP in ASCII mode)?"
            )
        self._data = data
        self._view = memoryview(data)
        self._kept: list[memoryview | bytes] = [_SIGNATURE]
        self._pixels: list[memoryview] = []
        self._check = 0
        self._exif: bytes | None = None
        self._xmp: bytes | None = None
        self._profile: bytes | None = None
        self._walk()
        if not self._pixels:
            raise DamagedError("the PNG has no pixels before its end")
        self.orientation = orientation_of(self._exif or self._profile or b"", self._xmp or b"")

    def decoded(self) -> Image.Image:
        *pixels, last = self._pixels
        shorter = (len(last) - 13).to_bytes(4, "big"), last[4:-5], self._check.to_bytes(4, "big")
        parts = [*self._kept, *pixels, *shorter, _END]
        image = PngImagePlugin.PngImageFile(io.BytesIO(b"".join(parts)))
        image.load()
        return image

    def _walk(self) -> None:
        data, place = self._data, len(_SIGNATURE)
        for _ in range(_MAX_CHUNKS):
            kind = data[place + 4 : place + 8]
            end = place + 12 + int.from_bytes(data[place : place + 4], "big")
            if end > len(data) or len(kind) < 4:
                raise TruncatedError("the PNG ends before its end chunk (IEND)")
            if not kind.isalpha():
                raise DamagedError("where a chunk of the PNG should begin is something else")
            if (place == len(_SIGNATURE)) != (kind == b"IHDR"):
                raise DamagedError("the PNG does not begin with its one header (IHDR)")
            if kind in _PIXELS:
                self._keep(kind, place, end)
            elif kind[0] < ord("a"):
                raise DecodeError(f"a PNG with a chunk {kind.decode()} is not read")
            else:
                self._note(kind, place, end)
            if kind == b"IEND":
                return
            place = end
        raise DecodeError(f"the PNG has more than {_MAX_CHUNKS} chunks")

    def _keep(self, kind: bytes, place: int, end: int) -> None:
        # Of the pixels' last chunk, `decoded` needs the checksum without its last byte too.
        check = zlib.crc32(self._view[place + 4 : end - 5])
        if zlib.crc32(self._view[end - 5 : end - 4], check) != self._said(end):
            raise DamagedError(f"the checksum (CRC) of the PNG's {kind.decode()} chunk is wrong")
        if kind == b"IDAT":
            if end - place > 12:  # an empty one is allowed
                self._pixels.append(self._view[place:end])
                self._check = check
        elif kind != b"IEND":
            self._kept.append(self._view[place:end])
        if kind == b"IHDR":
            if end - place != 25:
                raise DamagedError("the PNG's header (IHDR) has a wrong length")
            self.width = int.from_bytes(self._data[place + 8 : place + 12], "big")
            self.height = int.from_bytes(self._data[place + 12 : place + 16], "big")

    def _note(self, kind: bytes, place: int, end: int) -> None:
        """Look for how to turn the image, in the first chunk that says it, and for more frames."""
        data, start, stop = self._data, place + 8, end - 4
        if kind == b"acTL":
            frames = int.from_bytes(data[start : start + 4], "big")
            if frames > 1 and zlib.crc32(self._view[place + 4 : stop]) == self._said(end):
                raise DecodeError("the file holds several frames; one image a file is judged")
        elif kind == b"eXIf" and self._exif is None:
            self._exif = data[start:stop]
        elif kind == b"iTXt" and self._xmp is None and data.startswith(_XMP, start, stop):
            self._xmp = _international(data[start + len(_XMP) : stop])
        elif self._profile is None and data.startswith(_PROFILE, start, stop):
            text = data[start + len(_PROFILE) : stop]
            if kind in (b"tEXt", b"zTXt"):
                self._profile = _profile(inflated(text[1:]) if kind == b"zTXt" else text)

    def _said(self, end: int) -> int:
        """The checksum of the chunk that ends there."""
        return int.from_bytes(self._data[end - 4 : end], "big")


def _international(text: bytes) -> bytes:
    """What an iTXt chunk says, after its keyword."""
    compressed = text[:1] == b"\1"
    content = text[2:].split(b"\0", 2)[-1]
    return inflated(content) if compressed else content


def _profile(text: bytes) -> bytes:
    """EXIF in hexadecimal digits, after its name and length."""
    digits = b"".join(text.split()[2:])
    try:
        return bytes.fromhex(digits.decode("ascii"))
    except ValueError:
        return b""
