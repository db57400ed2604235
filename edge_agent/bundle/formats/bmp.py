"""BMP: its header is read, then Pillow decodes it."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

from PIL import BmpImagePlugin

from edge_agent.bundle.errors import DamagedError, DecodeError, TruncatedError
from edge_agent.bundle.formats.picture import PillowPicture

if TYPE_CHECKING:
    from PIL import Image

MAGIC = b"BM"

_OLD_HEADER = 12  # of OS/2
_RLE, _PLAIN = (1, 2), (0, 3, 6)


class Bmp(PillowPicture):
    """A BMP that has all of the pixels that its header says."""

    def __init__(self, data: bytes) -> None:
        """Read the header of ``data``.

        Raises:
            DecodeError: pixels are missing, or it is of a kind that is not read.
        """
        if len(data) < 26:
            raise TruncatedError("the BMP ends in its header")
        start, size = struct.unpack_from("<II", data, 10)
        if size == _OLD_HEADER:
            width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
            compression = 0
        elif len(data) < 54:
            raise TruncatedError("the BMP ends in its header")
        else:
            width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
        self.width, self.height = width, abs(height)
        if width <= 0 or not height:
            raise DamagedError(f"the BMP says that it has {width} x {abs(height)} pixels")
        if compression not in (*_RLE, *_PLAIN):
            raise DecodeError(f"a BMP with compression {compression} is not read")
        row = (width * bits + 31) // 32 * 4
        last = (width * bits + 7) // 8  # may lack what fills it up
        if compression in _PLAIN and start + row * (abs(height) - 1) + last > len(data):
            raise TruncatedError("the BMP is shorter than its header says")
        self._data = data

    def decoded(self) -> Image.Image:
        image = BmpImagePlugin.BmpImageFile(io.BytesIO(self._data))
        image.load()
        return image
