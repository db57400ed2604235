"""TIFF: what the file says of its pixels is read here, and decides; no decoder guesses.

Of each sample the upper 8 of the bits that the file says it has are kept. What is not read is
named. `tiff_pixels` takes the samples out of strips and tiles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from edge_agent.bundle.errors import DamagedError, DecodeError
from edge_agent.bundle.formats.ifd import Directory, Header, read_directory, read_header
from edge_agent.bundle.formats.orientation import TAG as ORIENTATION
from edge_agent.bundle.formats.orientation import orientation_of
from edge_agent.bundle.formats.picture import Picture, marks
from edge_agent.bundle.formats.tiff_pixels import JPEG, PREDICTED, READ, Storage, samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_agent.bundle.formats.tiff_pixels import Convert

_KIND_OF_PAGE, _OLD_KIND_OF_PAGE, _WIDTH, _HEIGHT = 254, 255, 256, 257
_BITS, _COMPRESSION = 258, 259
_COLOURS, _FILL, _STRIPS, _SAMPLES, _ROWS, _STRIP_SIZES = 262, 266, 273, 277, 278, 279
_PLANES, _FAX3, _FAX4, _PREDICTOR, _PALETTE = 284, 292, 293, 317, 320
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_SIZES = 322, 323, 324, 325
_INKS, _EXTRA, _FORMAT = 332, 338, 339
_JPEG_TABLES, _COEFFICIENTS, _SUBSAMPLING, _REFERENCE, _XMP = 347, 529, 530, 532, 700
_WANTED = frozenset(
    {
        *(_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _COLOURS, _FILL, _STRIPS, _SAMPLES, _ROWS),
        *(_STRIP_SIZES, _PLANES, _FAX3, _FAX4, _PREDICTOR, _PALETTE, _TILE_WIDTH, _TILE_HEIGHT),
        *(_TILES, _TILE_SIZES, _INKS, _EXTRA, _FORMAT, _JPEG_TABLES, _COEFFICIENTS),
        *(_SUBSAMPLING, _REFERENCE),
    }
)
_OF_METADATA = (ORIENTATION,)
_OF_PAGE = (_KIND_OF_PAGE, _OLD_KIND_OF_PAGE, _WIDTH, _HEIGHT)
_MAX_PAGES, _MAX_SAMPLES = 16, 16  # pages: a large image, and smaller ones of it

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _INDEXED, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_CHANNELS = {
    _WHITE_IS_ZERO: 1,
    _BLACK_IS_ZERO: 1,
    _RGB: 3,
    _INDEXED: 1,
    _CMYK: 4,
    _YCBCR: 3,
}
_UNREAD_COLOURS = {
    4: "a transparency mask",
    8: "L*a*b* colours",
    9: "L*a*b* colours",
    10: "L*a*b* colours",
    32803: "a colour filter array (Bayer)",
    32844: "LogL",
    32845: "LogLuv",
    34892: "linear raw pixels",
}
_UNREAD_COMPRESSIONS = {
    6: "old-style JPEG",
    34712: "JPEG 2000",
    50001: "WebP",
    50002: "JPEG XL",
    34887: "LERC",
    34892: "lossy JPEG",
}
_UNSIGNED, _SIGNED, _FLOAT, _UNDEFINED = 1, 2, 3, 4
_WORDS = (8, 16, 24, 32, 64)
_ASSOCIATED, _UNASSOCIATED = 1, 2
_REC_601 = (0.299, 0.587, 0.114)
_FULL_RANGE = (0, 255, 128, 255, 128, 255)


@dataclass(frozen=True)
class _Meaning:
    """What the samples mean."""

    colours: int
    bits: int
    channels: int
    alpha: int | None
    """Which kind of extra sample the first one is, if it is an alpha channel."""
    palette: NDArray[Any] | None
    """entries x 3, 16 bits."""


class Tiff(Picture):
    """A TIFF whose first page is its one large image."""

    def __init__(self, data: bytes) -> None:
        """Read the directories of ``data``.

        Raises:
            DecodeError: a part of it is missing, it holds several images, or is not read.
        """
        header = read_header(data)
        tags = read_directory(data, header, header.first, _WANTED)
        self.width, self.height = tags.number(_WIDTH, 0), tags.number(_HEIGHT, 0)
        if self.width <= 0 or self.height <= 0:
            raise DamagedError(f"the TIFF says that it has {self.width} x {self.height} pixels")
        self._meaning = _meaning_of(tags)
        self._storage = _storage_of(data, header, tags, self._meaning)
        self.lossy = self._storage.compression == JPEG
        self.orientation = _turn(data, header)
        _look_at_pages(data, header, tags.next, self.width, self.height)

    def load(self) -> Image.Image:
        meaning = self._meaning
        if meaning.colours == _INDEXED:
            found = self._samples(lambda values, _: values.astype(np.uint8, copy=False))
            self._refuse_shaded(found)
            return Image.fromarray(_entries(meaning)[found[:, :, 0]])
        found = self._samples(lambda values, _: _upper(values, meaning.bits))
        self._refuse_shaded(found)
        return _image_of(found[:, :, : meaning.channels], self._colours)

    def levels(self) -> Image.Image:
        meaning = self._meaning
        if self.lossy or meaning.colours in (_CMYK, _YCBCR):
            image = np.asarray(self.load())
            return Image.fromarray(image if image.ndim == 2 else image.max(axis=2))
        alpha = None
        if meaning.colours == _INDEXED:
            found = self._samples(lambda values, _: values.astype(np.uint8, copy=False))
            assert meaning.palette is not None  # noqa: S101  for mypy: an index needs one
            where = (meaning.palette.max(axis=1) > 0)[found[:, :, 0]]
            alpha = found[:, :, 1] if meaning.alpha else None
        else:
            zero = (1 << meaning.bits) - 1 if meaning.colours == _WHITE_IS_ZERO else 0
            channels = meaning.channels
            found = self._samples(lambda values, first: _not(values, first, zero, channels))
            where = found[:, :, :channels].any(axis=2)
            alpha = found[:, :, channels] if meaning.alpha else None
        return marks(where if alpha is None else where & (alpha > 0))

    @property
    def _colours(self) -> int:
        """JPEG makes RGB of YCbCr by itself."""
        if self._storage.compression == JPEG and self._meaning.colours == _YCBCR:
            return _RGB
        return self._meaning.colours

    def _samples(self, convert: Convert) -> NDArray[np.uint8]:
        """Height x width x channels, and one more if there is alpha."""
        channels = self._meaning.channels + (self._meaning.alpha is not None)
        return samples(self._storage, self.width, self.height, channels, convert)

    def _refuse_shaded(self, found: NDArray[np.uint8]) -> None:
        """Colours that were multiplied with their alpha are no longer those of the part."""
        if self._meaning.alpha == _ASSOCIATED and found[:, :, -1].min() < self._opaque:
            raise DecodeError(
                "a TIFF with associated (premultiplied) alpha that shades is not read"
            )

    @property
    def _opaque(self) -> int:
        return (1 << self._meaning.bits) - 1 if self._meaning.colours == _INDEXED else 255


def _meaning_of(tags: Directory) -> _Meaning:
    colours = tags.said(_COLOURS)
    if colours is None:
        raise DecodeError("a TIFF that does not say what 0 means (PhotometricInterpretation)")
    if colours not in _CHANNELS:
        what = _UNREAD_COLOURS.get(colours, f"photometric interpretation {colours}")
        raise DecodeError(f"a TIFF of {what} is not read")
    number = tags.number(_SAMPLES, 1)
    channels = _CHANNELS[colours]
    if number < channels:
        raise DamagedError(f"the TIFF has {number} samples a pixel: its colours take {channels}")
    if number > _MAX_SAMPLES:
        raise DecodeError(f"a TIFF of {number} samples a pixel is not read: {_MAX_SAMPLES} are")
    several = tags.numbers(_BITS) or (1,)
    if len(set(several)) > 1:
        raise DecodeError(f"a TIFF of different bits a sample {several} is not read")
    bits = several[0]
    kinds = set(tags.numbers(_FORMAT)) or {_UNSIGNED}
    if kinds - {_UNSIGNED, _UNDEFINED}:
        named = {_SIGNED: f"signed {bits}-bit integers", _FLOAT: f"{bits}-bit floating point"}
        kind = max(kinds)
        what = named.get(kind, f"sample format {kind}")
        raise DecodeError(f"a TIFF of {what} is not read")
    if not 1 <= bits <= 16 and bits not in _WORDS:
        raise DecodeError(f"a TIFF of {bits} bits a sample is not read")
    if colours == _CMYK and tags.number(_INKS, 1) != 1:
        raise DecodeError("a TIFF of other inks than CMYK is not read")
    alpha = _alpha_of(tags, colours, number - channels)
    palette = _palette_of(tags, bits) if colours == _INDEXED else None
    return _Meaning(colours, bits, channels, alpha, palette)


def _alpha_of(tags: Directory, colours: int, extra: int) -> int | None:
    if not extra:
        return None
    said = tags.numbers(_EXTRA)
    if not said:
        return _UNASSOCIATED if colours == _RGB and extra == 1 else None
    return said[0] if said[0] in (_ASSOCIATED, _UNASSOCIATED) else None


def _palette_of(tags: Directory, bits: int) -> NDArray[Any]:
    if bits > 8:
        raise DecodeError(f"a TIFF with a palette of {bits} bits is not read")
    said = tags.tags.get(_PALETTE)
    if said is None or said.size < 3 << bits:
        raise DamagedError("the TIFF's palette (ColorMap) is missing or too short")
    return said[: 3 << bits].astype(np.uint16).reshape(3, -1).T


def _storage_of(data: bytes, header: Header, tags: Directory, meaning: _Meaning) -> Storage:
    compression = tags.number(_COMPRESSION, 1)
    if compression not in READ:
        named = _UNREAD_COMPRESSIONS.get(compression, f"compression {compression}")
        raise DecodeError(f"a TIFF with {named} is not read")
    planes = tags.number(_PLANES, 1)
    if planes not in (1, 2):
        raise DecodeError(f"a TIFF with planar configuration {planes} is not read")
    predictor = tags.number(_PREDICTOR, 1)
    if compression not in PREDICTED:
        predictor = 1  # these have none, and readers pass over the tag
    if predictor not in (1, 2):
        raise DecodeError(f"a TIFF with predictor {predictor} is not read")
    if predictor == 2 and meaning.bits not in (8, 16, 32, 64):
        raise DecodeError(f"a TIFF of {meaning.bits} bits a sample with a predictor is not read")
    if meaning.colours == _YCBCR:
        _check_ycbcr(tags, compression, meaning.bits, planes)
    tiled = _TILE_WIDTH in tags.tags or _TILES in tags.tags
    places = tags.tags.get(_TILES if tiled else _STRIPS)
    sizes = tags.tags.get(_TILE_SIZES if tiled else _STRIP_SIZES)
    if places is None:
        raise DamagedError("the TIFF does not say where its pixels are")
    width, height = tags.number(_WIDTH, 0), tags.number(_HEIGHT, 0)
    across, down = width, min(tags.number(_ROWS, height) or height, height)
    if tiled:
        across, down = tags.number(_TILE_WIDTH, 0), tags.number(_TILE_HEIGHT, 0)
    tables = tags.tags.get(_JPEG_TABLES)
    return Storage(
        data=data,
        order=header.order,
        bits=meaning.bits,
        samples=tags.number(_SAMPLES, 1),
        planar=planes == 2,
        compression=compression,
        predicted=predictor == 2,
        reversed=tags.number(_FILL, 1) == 2,
        tiled=tiled,
        width=across,
        height=down,
        places=places,
        sizes=sizes,
        fax=tuple((tag, tags.number(tag, 0)) for tag in (_FAX3, _FAX4)),
        tables=b"" if tables is None else tables.tobytes(),
        ycbcr=meaning.colours == _YCBCR,
    )


def _check_ycbcr(tags: Directory, compression: int, bits: int, planes: int) -> None:
    if bits != 8 or planes != 1:
        raise DecodeError("a TIFF of YCbCr in planes or not of 8 bits is not read")
    if compression != JPEG and (tags.numbers(_SUBSAMPLING) or (2, 2)) != (1, 1):
        raise DecodeError("a TIFF of subsampled YCbCr is not read, but as JPEG")
    for tag, usual in ((_COEFFICIENTS, _REC_601), (_REFERENCE, _FULL_RANGE)):
        said = tags.tags.get(tag)
        if said is None:
            continue
        pairs = said.astype(np.float64).reshape(-1, 2)[: len(usual)]
        values = pairs[:, 0] / np.maximum(pairs[:, 1], 1)
        if len(values) < len(usual) or not np.allclose(values, usual, atol=0.001):
            raise DecodeError("a TIFF of YCbCr by other coefficients than usual is not read")


def _turn(data: bytes, header: Header) -> int:
    """By its own tag, else by XMP; metadata that can't be read turns nothing."""
    try:
        said = read_directory(data, header, header.first, _OF_METADATA).said(ORIENTATION)
        if said is not None:
            return said
        xmp = read_directory(data, header, header.first, (_XMP,)).tags.get(_XMP)
    except DecodeError:
        return 1
    return 1 if xmp is None else orientation_of(b"", xmp.tobytes())


def _look_at_pages(data: bytes, header: Header, place: int, width: int, height: int) -> None:
    """Refuse a second image; a smaller picture of the first one, or its mask, is none.

    They are not counted: that alone can take minutes.
    """
    for _ in range(_MAX_PAGES):
        if not place:
            return
        page = read_directory(data, header, place, _OF_PAGE)
        reduced = page.number(_KIND_OF_PAGE, 0) & 5  # bit 0: smaller, bit 2: a mask
        reduced = reduced or page.said(_OLD_KIND_OF_PAGE) == 2
        small = 2 * page.number(_WIDTH, 0) <= width
        small = small and 2 * page.number(_HEIGHT, 0) <= height
        if not (reduced or small):
            break
        place = page.next
    else:
        if not place:
            return
    raise DecodeError("the file holds several frames; one image a file is judged")


def _upper(values: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """The upper 8 bits; of fewer bits the same brightness."""
    if bits == 8:
        found: NDArray[np.uint8] = values
    elif bits > 8:
        found = (values >> (bits - 8)).astype(np.uint8)
    else:
        most = (1 << bits) - 1
        found = ((np.arange(most + 1) * 510 + most) // (2 * most)).astype(np.uint8)[values]
    return found


def _not(values: NDArray[Any], first: int, zero: int, channels: int) -> NDArray[np.uint8]:
    """1 where a colour is another than ``zero``, and where alpha is not 0.

    The samples are those from the number ``first`` on.
    """
    numbers = first + np.arange(values.shape[2])
    nothing = np.where(numbers < channels, zero, 0).astype(values.dtype)
    found: NDArray[np.bool_] = values != nothing
    return found.view(np.uint8)


def _entries(meaning: _Meaning) -> NDArray[np.uint8]:
    """The colours of a palette; some writers make bytes of them, though they have 16 bits."""
    assert meaning.palette is not None  # noqa: S101  for mypy: an index needs one
    wide = meaning.palette
    return (wide if wide.max() < 256 else wide >> 8).astype(np.uint8)


def _image_of(found: NDArray[np.uint8], colours: int) -> Image.Image:
    if colours == _WHITE_IS_ZERO:
        return Image.fromarray(255 - found[:, :, 0])
    if colours == _BLACK_IS_ZERO:
        return Image.fromarray(np.ascontiguousarray(found[:, :, 0]))
    if colours == _RGB:
        return Image.fromarray(np.ascontiguousarray(found))
    mode, size = ("CMYK" if colours == _CMYK else "YCbCr"), (found.shape[1], found.shape[0])
    return Image.frombytes(mode, size, found.tobytes()).convert("RGB")
