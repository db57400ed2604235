"""What a file says that it holds, one module a format.

A format's module reads its header, and refuses what is not whole or not read, before Pillow sees
it; metadata goes no further than that. Pillow and its libraries make the pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_agent.bundle.errors import DecodeError
from edge_agent.bundle.formats import bmp, ifd, jpeg, png, pnm
from edge_agent.bundle.formats.bmp import Bmp
from edge_agent.bundle.formats.jpeg import Jpeg
from edge_agent.bundle.formats.orientation import upright
from edge_agent.bundle.formats.picture import Picture
from edge_agent.bundle.formats.png import Png
from edge_agent.bundle.formats.pnm import Pnm
from edge_agent.bundle.formats.tiff import Tiff
from edge_agent.bundle.formats.webp import WebP

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM")

__all__ = ["FORMATS", "Picture", "format_of", "open_picture", "upright"]

_READERS: dict[str, Callable[[bytes], Picture]] = {
    "PNG": Png,
    "JPEG": Jpeg,
    "BMP": Bmp,
    "TIFF": Tiff,
    "WEBP": WebP,
    "PPM": Pnm,
}


def format_of(data: bytes) -> str | None:
    """One of `FORMATS`, by the first bytes; None: it is none of them."""
    if data.startswith(png.MAGIC):
        return "PNG"
    if data.startswith(jpeg.MAGIC):
        return "JPEG"
    if data.startswith(bmp.MAGIC):
        return "BMP"
    if data.startswith(ifd.MAGIC):
        return "TIFF"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    if pnm.MAGIC.match(data):
        return "PPM"
    return None


def open_picture(data: bytes, formats: Sequence[str] = FORMATS) -> Picture:
    """Read the header of an image, and no pixel.

    Raises:
        DecodeError: it is none of ``formats``, not whole, or of a kind that is not read.
    """
    allowed = f"not an image of an allowed format ({', '.join(formats)})"
    found = format_of(data)
    if found in formats and found is not None:
        return _READERS[found](data)
    if found is not None:
        raise DecodeError(f"a {found} file, {allowed}")
    for magic, reason in pnm.UNREAD.items():
        if magic.match(data):
            raise DecodeError(reason)
    raise DecodeError(allowed)
