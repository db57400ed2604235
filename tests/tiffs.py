"""TIFFs in every kind that the format has, written by hand, with the pixels that they mean.

Nothing here reads or writes by the libraries that are under test, but JPEG's own coding.
"""

from __future__ import annotations

import io
import random
import struct
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, LAB, BAYER = 0, 1, 2, 3, 5, 8, 32803
NONE, LZW, JPEG, DEFLATE, OLD_DEFLATE, PACKBITS = 1, 5, 7, 8, 32946, 32773
UNSIGNED, SIGNED, FLOAT, UNDEFINED = 1, 2, 3, 4
CHANNELS = {RGB: 3, CMYK: 4, LAB: 3}


@dataclass(frozen=True)
class Kind:
    """What a TIFF says of its pixels."""

    bits: int = 8
    photometric: int = BLACK_IS_ZERO
    planar: int = 1
    sample_format: int = UNSIGNED
    compression: int = NONE
    order: str = "<"
    big: bool = False
    predictor: int = 1
    fill_order: int = 1
    tile: tuple[int, int] | None = None
    rows_per_strip: int = 7
    extra: tuple[int, ...] = ()
    """The type of each extra sample."""
    orientation: int = 1
    palette_bits: int = 16

    def __str__(self) -> str:
        return (
            f"{self.bits}bit-p{self.photometric}-planar{self.planar}-f{self.sample_format}"
            f"-c{self.compression}-{'II' if self.order == '<' else 'MM'}{'+' if self.big else ''}"
            f"-x{self.predictor}-o{self.fill_order}-t{self.tile}-e{self.extra}-r{self.orientation}"
        )


def write(kind: Kind, samples: NDArray[np.uint64], tags: dict[int, tuple] | None = None) -> bytes:
    """A TIFF of height x width x samples; ``tags`` are added to it, or replace its own."""
    height, width, number = samples.shape
    planes = [samples[:, :, [at]] for at in range(number)] if kind.planar == 2 else [samples]
    pieces = [_compressed(kind, part) for plane in planes for part in _pieces(kind, plane)]
    entries: dict[int, tuple[str, list[int]]] = {
        256: ("I", [width]),
        257: ("I", [height]),
        258: ("H", [kind.bits] * number),
        259: ("H", [kind.compression]),
        262: ("H", [kind.photometric]),
        277: ("H", [number]),
        284: ("H", [kind.planar]),
        339: ("H", [kind.sample_format] * number),
    }
    if kind.fill_order != 1:
        entries[266] = ("H", [kind.fill_order])
    if kind.predictor != 1:
        entries[317] = ("H", [kind.predictor])
    if kind.orientation != 1:
        entries[274] = ("H", [kind.orientation])
    if kind.extra:
        entries[338] = ("H", list(kind.extra))
    if kind.photometric == PALETTE:
        wide = palette_of(kind.bits) * (257 if kind.palette_bits == 16 else 1)
        entries[320] = ("H", wide.T.ravel().tolist())
    if kind.tile:
        entries |= {322: ("I", [kind.tile[0]]), 323: ("I", [kind.tile[1]])}
    else:
        entries[278] = ("I", [kind.rows_per_strip])
    start, places = (16 if kind.big else 8), []
    for piece in pieces:
        places.append(start)
        start += len(piece)
    entries[324 if kind.tile else 273] = ("I", places)
    entries[325 if kind.tile else 279] = ("I", [len(piece) for piece in pieces])
    entries |= tags or {}
    return _file(kind, b"".join(pieces), entries)


def palette_of(bits: int) -> NDArray[np.uint64]:
    """Colours for an index of so many bits: entries x 3, 8 bits."""
    index = np.arange(1 << bits, dtype=np.uint64)
    step = np.uint64(255 // ((1 << bits) - 1))
    return np.stack([index * step, 255 - index * step, index * step // 2], axis=1)


def meant(kind: Kind, samples: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The 8-bit grey or colours that these samples mean, not turned."""
    most = (1 << kind.bits) - 1
    if kind.photometric == PALETTE:
        return palette_of(kind.bits)[samples[:, :, 0]].astype(np.int64)
    colours = samples[:, :, : CHANNELS.get(kind.photometric, 1)]
    if kind.bits > 8:
        levels = (colours >> np.uint64(kind.bits - 8)).astype(np.int64)
    else:
        levels = np.rint(colours.astype(np.float64) * 255 / most).astype(np.int64)
    if kind.photometric == WHITE_IS_ZERO:
        levels = 255 - levels
    if kind.photometric == CMYK:  # as everywhere in Pillow
        levels = np.rint((255 - levels[:, :, :3]) * (255 - levels[:, :, 3:]) / 255).astype(np.int64)
    return levels[:, :, 0] if levels.shape[2] == 1 else levels


def refusal(kind: Kind) -> str | None:
    """What is said of a kind that is not read; None: it is read."""
    if kind.photometric == LAB:
        return r"a TIFF of L\*a\*b\* colours is not read"
    if kind.photometric == BAYER:
        return r"a TIFF of a colour filter array \(Bayer\) is not read"
    if kind.sample_format == SIGNED:
        return f"a TIFF of signed {kind.bits}-bit integers is not read"
    if kind.sample_format == FLOAT:
        return f"a TIFF of {kind.bits}-bit floating point is not read"
    return None


def random_samples(kind: Kind, height: int, width: int, seed: int) -> NDArray[np.uint64]:
    """Noise in all of the bits; alpha is opaque. For JPEG, squares that it keeps as they are."""
    noise = np.random.default_rng(seed)
    number = CHANNELS.get(kind.photometric, 1)
    samples = noise.integers(0, 1 << kind.bits, (height, width, number), np.uint64)
    if kind.compression == JPEG:
        squares = noise.integers(0, 256, (height // 8 + 1, width // 8 + 1), np.uint64)
        samples = np.kron(squares, np.ones((8, 8), np.uint64))[:height, :width, None]
    opaque = np.full((height, width, len(kind.extra)), (1 << kind.bits) - 1, np.uint64)
    return np.concatenate([samples, opaque], axis=2)


def generated(seed: int, count: int) -> Iterator[tuple[Kind, bytes, NDArray[np.int64]]]:
    """So many TIFFs of all kinds mixed: what each is, its bytes, and the pixels it means."""
    chance = random.Random(seed)
    for number in range(count):
        kind = _random_kind(chance)
        height, width = chance.randrange(1, 40), chance.randrange(1, 40)
        samples = random_samples(kind, height, width, seed * 10_000 + number)
        pixels = meant(kind, samples) if refusal(kind) is None else np.zeros(0, np.int64)
        yield kind, write(kind, samples), pixels


def _random_kind(chance: random.Random) -> Kind:
    bits = chance.choice((1, 2, 3, 4, 6, 8, 8, 10, 12, 12, 14, 16, 16, 16, 24, 32, 64))
    photometric = chance.choice((0, 0, 1, 1, 1, 2, 2, 2, 3, 5, LAB, BAYER))
    if photometric == PALETTE:
        bits = chance.choice((1, 2, 4, 8))
    compression = chance.choice((NONE, NONE, LZW, DEFLATE, OLD_DEFLATE, PACKBITS, JPEG))
    sample_format = chance.choice((1, 1, 1, 1, 1, 1, UNDEFINED, SIGNED, FLOAT))
    if sample_format == FLOAT:
        bits = chance.choice((16, 24, 32, 64))
        photometric = chance.choice((WHITE_IS_ZERO, BLACK_IS_ZERO, RGB))
    predictor = chance.choice((1, 1, 2))
    kind = Kind(
        bits=bits,
        photometric=photometric,
        planar=chance.choice((1, 2)),
        sample_format=sample_format,
        compression=compression,
        order=chance.choice("<>"),
        big=chance.random() < 0.2,
        predictor=predictor,
        fill_order=chance.choice((1, 1, 1, 2)),
        tile=chance.choice((None, None, (16, 16), (32, 16))),
        rows_per_strip=chance.choice((1, 3, 8, 100)),
        extra=chance.choice(((), (), (), (0,), (1,), (2,), (2, 0))),
        orientation=chance.choice((1, 1, 1, 2, 3, 4, 5, 6, 7, 8)),
        palette_bits=chance.choice((8, 16, 16)),
    )
    if bits not in (8, 16, 32, 64) or compression not in (LZW, DEFLATE, OLD_DEFLATE):
        kind = replace(kind, predictor=1)
    if compression == JPEG:
        kind = replace(kind, bits=8, photometric=1, sample_format=1, extra=(), fill_order=1)
        kind = replace(kind, rows_per_strip=8)
    return kind


def _pieces(kind: Kind, plane: NDArray[np.uint64]) -> list[NDArray[np.uint64]]:
    height, width, _ = plane.shape
    if kind.tile is None:
        step = kind.rows_per_strip
        return [plane[top : top + step] for top in range(0, height, step)]
    across, down = kind.tile
    filled = ((0, -height % down), (0, -width % across), (0, 0))
    full = np.pad(plane, filled, mode="edge")
    return [
        full[top : top + down, left : left + across]
        for top in range(0, full.shape[0], down)
        for left in range(0, full.shape[1], across)
    ]


def _compressed(kind: Kind, part: NDArray[np.uint64]) -> bytes:
    if kind.compression == JPEG:
        stream = io.BytesIO()
        Image.fromarray(part[:, :, 0].astype(np.uint8)).save(stream, "JPEG", quality=100)
        return stream.getvalue()
    if kind.predictor == 2:
        before = np.concatenate([np.zeros_like(part[:, :1]), part[:, :-1]], axis=1)
        part = (part - before) & np.uint64((1 << kind.bits) - 1)
    rows = [_packed(kind, row.ravel()) for row in part]
    coded = {
        NONE: b"".join,
        LZW: lambda rows: _lzw(b"".join(rows)),
        DEFLATE: lambda rows: zlib.compress(b"".join(rows)),
        OLD_DEFLATE: lambda rows: zlib.compress(b"".join(rows), 1),
        PACKBITS: lambda rows: b"".join(map(_packbits, rows)),
    }[kind.compression](rows)
    return coded if kind.fill_order == 1 else _turned_around(coded)


def _packed(kind: Kind, row: NDArray[np.uint64]) -> bytes:
    if kind.bits in (8, 16, 24, 32, 64):  # words, in the order of the file
        size = kind.bits // 8
        order = "little" if kind.order == "<" else "big"
        return b"".join(int(value).to_bytes(size, order) for value in row)
    bits = "".join(f"{int(value):0{kind.bits}b}" for value in row)
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def _packbits(row: bytes) -> bytes:
    """In turn a run of equal bytes, and up to 20 others."""
    coded, place = bytearray(), 0
    while place < len(row):
        run = 1
        while run < 128 and row[place : place + 1] == row[place + run : place + run + 1]:
            run += 1
        if run > 1:
            coded += bytes([257 - run, row[place]])
        else:
            run = min(20, len(row) - place)
            coded += bytes([run - 1]) + row[place : place + run]
        place += run
    return bytes(coded)


def _lzw(content: bytes) -> bytes:
    """Every byte as itself, in 9 bits, and the table thrown away before it needs 10."""
    codes = [256]
    for at, value in enumerate(content):
        if at and at % 200 == 0:
            codes.append(256)
        codes.append(value)
    bits = "".join(f"{code:09b}" for code in [*codes, 257])
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def _turned_around(content: bytes) -> bytes:
    return bytes(int(f"{value:08b}"[::-1], 2) for value in content)


def _file(kind: Kind, pixels: bytes, entries: dict[int, tuple[str, list[int]]]) -> bytes:
    order, big = kind.order, kind.big
    number = {"B": 1, "H": 3, "I": 4}
    room, head = (8, "Q") if big else (4, "I")
    place = (16 if big else 8) + len(pixels)
    gap = bytes(place & 1)
    place += len(gap)
    behind = place + (8 if big else 2) + len(entries) * (20 if big else 12) + room
    directory, values = struct.pack(order + ("Q" if big else "H"), len(entries)), b""
    for tag, (code, said) in sorted(entries.items()):
        content = struct.pack(f"{order}{len(said)}{code}", *said)
        if len(content) > room:
            values, content = values + content, struct.pack(order + head, behind + len(values))
        directory += struct.pack(f"{order}HH{head}", tag, number[code], len(said))
        directory += content.ljust(room, b"\0")
    directory += bytes(room)
    magic = b"II" if order == "<" else b"MM"
    header = magic + (
        struct.pack(order + "HHHQ", 43, 8, 0, place)
        if big
        else struct.pack(order + "HI", 42, place)
    )
    return header + pixels + gap + directory + values
