"""The samples of a TIFF, out of its strips or tiles.

libtiff undoes the compression and nothing else: to it, a row of samples is a row of bytes. What
the bytes mean is read here, from what the file says.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import TiffImagePlugin

from edge_agent.bundle.errors import DamagedError, DecodeError, TruncatedError
from edge_agent.bundle.formats.jpeg import Jpeg

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Convert = Callable[[NDArray[Any], int], NDArray[np.uint8]]

JPEG = 7
_NONE, _FAX = 1, (2, 3, 4)
PREDICTED = (5, 8, 32946, 34925, 50000)  # LZW, Deflate (two numbers), LZMA, Zstandard
READ = (_NONE, *_FAX, JPEG, *PREDICTED, 32773)
_MAX_PIECES = 1_000_000
_BATCH = 32 << 20  # bytes that are decoded at once
_REVERSED = np.packbits(np.unpackbits(np.arange(256, dtype=np.uint8), bitorder="little"))
# Then it can't be known which of the two is true.
_WORDS = (
    "a TIFF that says {} bits a sample and keeps 16 is not read: "
    "save it with 16 bits, from the upper ones down, or as PNG"
)
# Says which colours a JPEG holds, where the TIFF says it: Adobe's marker, by its last byte.
_ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"


@dataclass(frozen=True)
class Storage:
    """How the samples are kept in the file."""

    data: bytes
    order: str
    bits: int
    samples: int
    """A pixel."""
    planar: bool
    compression: int
    predicted: bool
    """Whether a sample is kept as the difference from its neighbour."""
    reversed: bool
    """Whether the bits of each byte are kept from the last to the first."""
    tiled: bool
    width: int
    """Of a strip or tile, pixels."""
    height: int
    places: NDArray[Any]
    sizes: NDArray[Any] | None
    fax: tuple[tuple[int, int], ...]
    """Tags that say how one-bit pixels are compressed."""
    tables: bytes
    """What all JPEGs in it share."""
    ycbcr: bool


@dataclass(frozen=True)
class _Piece:
    """A strip or tile: where its bytes are, and where its pixels go."""

    start: int
    end: int
    rows: int
    top: int
    left: int
    plane: int


def samples(
    storage: Storage,
    width: int,
    height: int,
    channels: int,
    convert: Convert,
) -> NDArray[np.uint8]:
    """The first ``channels`` samples of each pixel: height x width x channels.

    ``convert`` makes 8 bits of some of them (rows x columns x samples), and is told the number of
    the first.

    Raises:
        DecodeError: pixels are missing, or damaged.
    """
    found = np.zeros((height, width, channels), np.uint8)
    each = 1 if storage.planar else storage.samples
    for batch in _batches(storage, _pieces(storage, width, height, channels)):
        values = _values(storage, batch, each)
        for piece in batch if storage.tiled else [_joined(batch)]:
            columns = min(storage.width, width - piece.left)
            rows = min(piece.rows, height - piece.top)
            part = convert(values[:rows, :columns, :channels], piece.plane)
            first = piece.plane  # 0, where a pixel's samples stand together
            place = found[piece.top : piece.top + rows, piece.left : piece.left + columns]
            place[:, :, first : first + part.shape[2]] = part
            values = values[piece.rows :]
    return found


def _joined(strips: list[_Piece]) -> _Piece:
    """Strips that follow each other, as one."""
    first, last = strips[0], strips[-1]
    rows = sum(strip.rows for strip in strips)
    return _Piece(first.start, last.end, rows, first.top, 0, first.plane)


def _pieces(storage: Storage, width: int, height: int, channels: int) -> list[_Piece]:
    """All of the pieces that are needed, each within the file."""
    across, down = storage.width, storage.height
    if across <= 0 or down <= 0 or across * down > width * height + (1 << 24):
        raise DamagedError(f"the TIFF says that its tiles have {across} x {down} pixels")
    columns, rows = -(-width // across), -(-height // down)
    number = columns * rows * (channels if storage.planar else 1)
    if number > _MAX_PIECES:
        raise DecodeError(f"a TIFF of more than {_MAX_PIECES} strips or tiles is not read")
    if storage.places.size < number:
        raise DamagedError("the TIFF does not say where all of its pixels are")
    each = 1 if storage.planar else storage.samples
    whole, words = _row_bytes(storage, each), 2 * storage.width * each
    places, sizes = _places(storage, number, whole)
    end = len(storage.data)
    pieces = []
    for index in range(number):
        plane, inside = divmod(index, columns * rows)
        row, column = divmod(inside, columns)
        high = down if storage.tiled else min(down, height - row * down)
        start, size = places[index], sizes[index]
        if storage.compression == _NONE:
            if size < high * whole:
                raise DamagedError("a strip of the TIFF is shorter than its rows")
            if 8 < storage.bits < 16 and high * whole < high * words <= size:
                raise DecodeError(_WORDS.format(storage.bits))
            size = high * whole
        if start < 8 or start + size > end:
            raise TruncatedError("pixels of the TIFF lie behind the end of the file")
        pieces.append(_Piece(start, start + size, high, row * down, column * across, plane))
    return pieces


def _places(storage: Storage, number: int, whole: int) -> tuple[list[int], list[int]]:
    """Where so many pieces begin, and how long they are; not all old files say the second."""
    places: list[int] = storage.places[:number].tolist()
    if storage.sizes is not None and storage.sizes.size >= number:
        return places, storage.sizes[:number].tolist()
    if storage.compression == _NONE:
        return places, [whole * storage.height] * number
    if number == 1:
        return places, [max(0, len(storage.data) - places[0])]
    raise DamagedError("the TIFF does not say how long its strips are")


def _row_bytes(storage: Storage, each: int) -> int:
    return (storage.width * each * storage.bits + 7) // 8


def _batches(storage: Storage, pieces: list[_Piece]) -> Iterator[list[_Piece]]:
    """Pieces that follow each other in one plane, as many as fit."""
    each = _row_bytes(storage, 1 if storage.planar else storage.samples) * storage.height
    most = 1 if storage.compression == JPEG else max(1, _BATCH // max(each, 1))
    batch: list[_Piece] = []
    for piece in pieces:
        if len(batch) == most or (batch and batch[-1].plane != piece.plane):
            yield batch
            batch = []
        batch.append(piece)
    if batch:
        yield batch


def _values(storage: Storage, batch: list[_Piece], each: int) -> NDArray[Any]:
    """The samples of a batch, one piece below the other: rows x columns x samples."""
    if storage.compression == JPEG:
        return _of_jpeg(storage, batch[0], each)
    rows = sum(piece.rows for piece in batch)
    if storage.compression == _NONE:
        packed = _plain(storage, batch)
    else:
        packed = _decompressed(storage, batch, rows, _row_bytes(storage, each))
    values = _unpacked(packed.reshape(rows, -1), storage.width * each, storage.bits, storage.order)
    values = values.reshape(rows, storage.width, each)
    if storage.predicted:
        values = np.cumsum(values, axis=1, dtype=values.dtype)
    return values


def _plain(storage: Storage, batch: list[_Piece]) -> NDArray[np.uint8]:
    start, end = batch[0].start, batch[-1].end
    if all(first.end == then.start for first, then in pairwise(batch)):
        found = np.frombuffer(storage.data, np.uint8, end - start, start)
    else:
        view = memoryview(storage.data)
        found = np.frombuffer(b"".join(view[one.start : one.end] for one in batch), np.uint8)
    return _REVERSED[found] if storage.reversed else found


def _decompressed(
    storage: Storage, batch: list[_Piece], rows: int, row_bytes: int
) -> NDArray[np.uint8]:
    """Have libtiff undo the compression of an image of bytes (of bits, where it knows no bytes)."""
    fax = storage.compression in _FAX
    if fax and (storage.bits, storage.samples) != (1, 1):
        raise DecodeError(f"a TIFF of {storage.bits} bits in fax compression is not read")
    view = memoryview(storage.data)
    strips = [view[piece.start : piece.end] for piece in batch]
    places = [8]
    for strip in strips[:-1]:
        places.append(places[-1] + len(strip))
    tags = {
        256: [storage.width if fax else row_bytes],
        257: [rows],
        258: [1 if fax else 8],
        259: [storage.compression],
        262: [1],
        266: [2 if storage.reversed else 1],
        273: places,
        277: [1],
        278: [storage.height],
        279: [len(strip) for strip in strips],
        **({tag: [value] for tag, value in storage.fax} if fax else {}),
    }
    image = TiffImagePlugin.TiffImageFile(io.BytesIO(_tiff(strips, tags)))
    try:
        image.load()
    except OSError:  # a number, that says nothing
        raise DamagedError("compressed pixels of the TIFF end too early, or are no code") from None
    found = np.asarray(image)
    return np.packbits(found, axis=1) if fax else found


def _tiff(strips: list[memoryview], tags: dict[int, list[int]]) -> bytes:
    """A TIFF with these strips right behind its header; all values are 32-bit integers."""
    end = 8 + sum(len(strip) for strip in strips)
    behind = end + 2 + 12 * len(tags) + 4
    entries, values = [len(tags).to_bytes(2, "little")], []
    for tag, numbers in sorted(tags.items()):
        content = np.array(numbers, "<u4").tobytes()
        if len(numbers) > 1:
            values.append(content)
            content, behind = behind.to_bytes(4, "little"), behind + len(content)
        entries.append(np.array([tag, 4], "<u2").tobytes())
        entries.append(len(numbers).to_bytes(4, "little") + content)
    header = b"II*\0" + end.to_bytes(4, "little")
    return b"".join([header, *strips, *entries, bytes(4), *values])


def _of_jpeg(storage: Storage, piece: _Piece, each: int) -> NDArray[np.uint8]:
    """A piece is a JPEG by itself, but for the tables that all of them share."""
    if storage.bits != 8:
        raise DecodeError(f"a TIFF of {storage.bits} bits a sample in JPEG is not read")
    if each not in (1, 3):
        raise DecodeError(f"a TIFF of {each} samples a pixel in JPEG is not read")
    data = storage.data[piece.start : piece.end]
    if not data.startswith(b"\xff\xd8"):
        raise DamagedError("a strip of the TIFF is no JPEG")
    tables = storage.tables.removesuffix(b"\xff\xd9")[2:]
    adobe = _ADOBE + bytes([1 if storage.ycbcr else 0]) if each == 3 else b""
    jpeg = Jpeg(b"\xff\xd8" + adobe + tables + data[2:])
    if jpeg.components != each or jpeg.width != storage.width or jpeg.height < piece.rows:
        raise DamagedError("a JPEG in the TIFF is of another kind than the TIFF says")
    if jpeg.height > piece.rows + 64:
        raise DamagedError("a JPEG in the TIFF is larger than its strip")
    found = np.asarray(jpeg.load())
    return found.reshape(*found.shape[:2], each)


def _unpacked(rows: NDArray[np.uint8], count: int, bits: int, order: str) -> NDArray[Any]:
    """The samples of rows of bytes: rows x ``count``."""
    if bits == 8:
        return rows[:, :count]
    if bits in (16, 32, 64):
        words = np.ascontiguousarray(rows).view(f"{order}u{bits // 8}")[:, :count]
        return words.astype(words.dtype.newbyteorder("="), copy=False)
    if bits == 24:
        three = rows[:, : 3 * count].reshape(-1, count, 3).astype(np.uint32)
        first, second, third = (
            three[:, :, at] for at in ((0, 1, 2) if order == ">" else (2, 1, 0))
        )
        return first << 16 | second << 8 | third
    if bits == 1:
        return np.unpackbits(rows, axis=1, count=count)
    begin = np.arange(count) * bits
    at, shift = begin >> 3, (24 - bits - (begin & 7)).astype(np.uint32)
    padded = np.pad(rows, ((0, 0), (0, 2)))
    found = np.empty((len(rows), count), np.uint16)
    step = max(1, (1 << 22) // count)
    for top in range(0, len(rows), step):  # four bytes for each of two would be much at once
        some = padded[top : top + step]
        window = some[:, at].astype(np.uint32) << 16
        window |= some[:, at + 1].astype(np.uint32) << 8
        window |= some[:, at + 2]
        found[top : top + step] = window >> shift & ((1 << bits) - 1)
    return found
