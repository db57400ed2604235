"""Images as they become when something goes wrong on their way, or somebody wants it to."""

from __future__ import annotations

import io
import random
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from tests import tiffs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SUFFIX = {"PNG": "png", "JPEG": "jpg", "BMP": "bmp", "TIFF": "tif", "WEBP": "webp", "PPM": "pgm"}
_TIFFS = (
    tiffs.Kind(bits=12),
    tiffs.Kind(bits=16, photometric=tiffs.RGB, planar=2, compression=tiffs.LZW, predictor=2),
    tiffs.Kind(bits=4, photometric=tiffs.PALETTE),
    tiffs.Kind(photometric=tiffs.RGB, tile=(16, 16), order=">", big=True, extra=(1,)),
)
_EXTREME = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def originals() -> dict[str, list[bytes]]:
    """Whole images by format, in every kind of it that a decoder has code of its own for."""
    noise = np.random.default_rng(3)
    grey = Image.fromarray(noise.integers(0, 256, (72, 56), np.uint8))
    colour = Image.fromarray(noise.integers(0, 256, (72, 56, 3), np.uint8))
    smooth = Image.linear_gradient("L").resize((160, 120))
    alpha = colour.copy()
    alpha.putalpha(128)
    wide = Image.fromarray(noise.integers(0, 65536, (72, 56), np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "a camera"

    def made(image: Image.Image, form: str, **options: object) -> bytes:
        stream = io.BytesIO()
        image.save(stream, form, **options)
        return stream.getvalue()

    return {
        "PNG": [
            *(made(image, "PNG") for image in (grey, colour, smooth, alpha, wide)),
            made(colour.quantize(16), "PNG"),
            made(smooth.point(lambda v: 255 * (v > 99)).convert("1"), "PNG"),
            made(grey, "PNG", exif=exif, dpi=(300, 300)),
        ],
        "JPEG": [
            *(made(image, "JPEG") for image in (grey, colour, smooth)),
            made(smooth, "JPEG", progressive=True),
            made(colour, "JPEG", progressive=True, exif=exif),
            made(colour.convert("CMYK"), "JPEG"),
            made(colour, "JPEG", subsampling=0, restart_marker_rows=1),
        ],
        "BMP": [made(image, "BMP") for image in (grey, colour, alpha, smooth.convert("1"))],
        "TIFF": [
            *(made(image, "TIFF") for image in (grey, colour, alpha, wide)),
            made(colour, "TIFF", compression="tiff_lzw"),
            made(colour, "TIFF", compression="tiff_adobe_deflate"),
            made(colour, "TIFF", compression="jpeg"),
            made(smooth.convert("1"), "TIFF", compression="group4"),
            made(smooth, "TIFF", compression="packbits"),
            made(colour, "TIFF", tiffinfo={278: 8}),
            *(tiffs.write(kind, tiffs.random_samples(kind, 30, 30, 3)) for kind in _TIFFS),
        ],
        "WEBP": [
            made(colour, "WEBP"),
            made(smooth, "WEBP", lossless=True),
            made(alpha, "WEBP"),
            made(colour, "WEBP", exif=exif),
        ],
        "PPM": [
            *(made(image, "PPM") for image in (grey, colour, wide, smooth.convert("1"))),
            b"P2 # a camera\n56 72 255\n" + b" ".join(b"%d" % value for value in grey.tobytes()),
        ],
    }


def mutated(seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """So many files, name and content; the same for the same seed."""
    chance = random.Random(seed)
    whole = originals()
    everything = [content for contents in whole.values() for content in contents]
    for number in range(count):
        form = chance.choice(list(whole))
        content = bytearray(chance.choice(whole[form]))
        names = []
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            change = chance.choice(_CHANGES)
            names.append(change.__name__.strip("_"))
            change(chance, content, everything)
        # Otherwise nearly every change to a PNG ends at a checksum, before the decoder.
        if form == "PNG" and chance.random() < 0.7:
            content = _checked(content)
        yield f"{number:05d}-{'-'.join(names)}.{SUFFIX[form]}", bytes(content)


def _flip(chance: random.Random, content: bytearray, _: list[bytes]) -> None:
    for _ in range(chance.choice((1, 4, 32))):
        if content:
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def _flip_head(chance: random.Random, content: bytearray, _: list[bytes]) -> None:
    for _ in range(chance.choice((1, 2, 4))):
        if content:
            content[chance.randrange(min(len(content), 128))] = chance.randrange(256)


def _number(chance: random.Random, content: bytearray, _: list[bytes]) -> None:
    """A length, a size or an offset at one of its limits: most stand at the begin or the end."""
    kind = chance.choice("BHI")
    size = struct.calcsize(kind)
    if len(content) <= size:
        return
    reach = min(len(content) - size, 256)
    place = chance.choice((chance.randrange(reach), len(content) - size - chance.randrange(reach)))
    value = chance.choice(_EXTREME) & ((1 << 8 * size) - 1)
    struct.pack_into(chance.choice("<>") + kind, content, place, value)


def _cut(chance: random.Random, content: bytearray, _: list[bytes]) -> None:
    del content[chance.randrange(len(content) + 1) :]


def _drop(chance: random.Random, content: bytearray, _: list[bytes]) -> None:
    start = chance.randrange(len(content) + 1)
    del content[start : start + chance.choice((1, 2, 16, 300))]


def _repeat(chance: random.Random, content: bytearray, _: list[bytes]) -> None:
    start = chance.randrange(len(content) + 1)
    piece = content[start : start + chance.choice((4, 64, 1000))]
    content[start:start] = piece * chance.choice((1, 1, 50, 1000))
    del content[1 << 20 :]


def _zero(chance: random.Random, content: bytearray, _: list[bytes]) -> None:
    start = chance.randrange(len(content) + 1)
    end = min(len(content), start + chance.choice((4, 100, 100_000)))
    content[start:end] = bytes(end - start)


def _splice(chance: random.Random, content: bytearray, everything: list[bytes]) -> None:
    other = chance.choice(everything)
    start, there = chance.randrange(len(content) + 1), chance.randrange(len(other))
    content[start:] = other[there:]


def _noise(chance: random.Random, content: bytearray, _: list[bytes]) -> None:
    start = chance.randrange(len(content) + 1)
    content[start:start] = chance.randbytes(chance.choice((1, 3, 50, 5000)))


_CHANGES: tuple[Callable[[random.Random, bytearray, list[bytes]], None], ...] = (
    *(_flip, _flip_head, _flip_head, _number, _number, _number),
    *(_cut, _drop, _repeat, _zero, _splice, _noise),
)


def _checked(content: bytearray) -> bytearray:
    """Put right every checksum of a PNG that still has its chunks."""
    place = 8
    while place + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, place)
        end = place + 8 + length
        if end + 4 > len(content):
            break
        struct.pack_into(">I", content, end, zlib.crc32(content[place + 4 : end]))
        place = end + 4
    return content
