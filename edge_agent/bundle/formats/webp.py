"""WebP: its chunks are walked, then Pillow decodes it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from PIL import WebPImagePlugin

from edge_agent.bundle.errors import DamagedError, DecodeError, TruncatedError
from edge_agent.bundle.formats.orientation import orientation_of
from edge_agent.bundle.formats.picture import PillowPicture

if TYPE_CHECKING:
    from PIL import Image

_HEAD = 12
_MAX_CHUNKS = 100_000


class WebP(PillowPicture):
    """A WebP that is as long as it says."""

    def __init__(self, data: bytes) -> None:
        """Walk the chunks of ``data``; what lies behind the last one is nobody's.

        Raises:
            DecodeError: it is shorter than it says, has too many chunks, or several frames.
        """
        end = 8 + int.from_bytes(data[4:8], "little")
        if end > len(data):
            raise TruncatedError("the WebP is shorter than its header says")
        self._data = data[:end]
        self.width = self.height = 0
        self.lossy = True
        exif, xmp, frames = b"", b"", 0
        place = _HEAD
        for _ in range(_MAX_CHUNKS):
            if place + 8 > end:
                break
            kind, size = (
                data[place : place + 4],
                int.from_bytes(data[place + 4 : place + 8], "little"),
            )
            start, stop = place + 8, place + 8 + size
            if stop > end:
                raise TruncatedError("a chunk of the WebP is longer than the file")
            if kind in (b"VP8X", b"VP8 ", b"VP8L"):
                self._measure(kind, data[start : min(stop, start + 10)])
            elif kind == b"EXIF":
                exif = exif or data[start:stop]
            elif kind == b"XMP ":
                xmp = xmp or data[start:stop]
            frames += kind == b"ANMF"
            place = stop + (size & 1)
        else:
            raise DecodeError(f"the WebP has more than {_MAX_CHUNKS} chunks")
        if frames > 1:
            raise DecodeError("the file holds several frames; one image a file is judged")
        if not self.width:
            raise DamagedError("the WebP has no pixels")
        self.orientation = orientation_of(exif, xmp)

    def _measure(self, kind: bytes, said: bytes) -> None:
        self.lossy = self.lossy and kind != b"VP8L"
        if self.width or len(said) < (5 if kind == b"VP8L" else 10):
            return  # VP8X, which comes first, has said it
        if kind == b"VP8X":
            self.width = int.from_bytes(said[4:7], "little") + 1
            self.height = int.from_bytes(said[7:10], "little") + 1
        elif kind == b"VP8 ":
            self.width = int.from_bytes(said[6:8], "little") & 0x3FFF
            self.height = int.from_bytes(said[8:10], "little") & 0x3FFF
        else:
            both = int.from_bytes(said[1:5], "little")
            self.width, self.height = (both & 0x3FFF) + 1, (both >> 14 & 0x3FFF) + 1

    def decoded(self) -> Image.Image:
        image = WebPImagePlugin.WebPImageFile(io.BytesIO(self._data))
        if image.size != (self.width, self.height):
            raise DamagedError("the WebP contradicts itself about its size")
        image.load()
        return image
