"""How an image is to be turned, which is all that metadata decides about.

What can't be read says nothing: it never costs an image.
"""

from __future__ import annotations

import re
import zlib

from PIL import Image

from edge_agent.bundle.errors import DecodeError
from edge_agent.bundle.formats.ifd import read_directory, read_header

TAG = 274
_XMP = re.compile(rb'tiff:Orientation(?:\s*=\s*["\']|>)\s*([1-8])')
_EXIF = b"Exif\0\0"
_LIMIT = 1 << 20  # of what text may become when it is inflated

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turn an image as its orientation says."""
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def orientation_of(exif: bytes, xmp: bytes) -> int:
    """What EXIF says, else XMP, else 1; empty where there is none."""
    said = _of_exif(exif)
    if said is None and (found := _XMP.search(xmp)):
        said = int(found[1])
    return said if said in _TURNS else 1


def inflated(data: bytes) -> bytes:
    """The begin of compressed text; nothing of what can't be read."""
    try:
        return zlib.decompressobj().decompress(data, _LIMIT)
    except zlib.error:
        return b""


def _of_exif(exif: bytes) -> int | None:
    exif = exif.removeprefix(_EXIF)
    try:
        header = read_header(exif)
        return read_directory(exif, header, header.first, (TAG,)).said(TAG)
    except DecodeError:
        return None
