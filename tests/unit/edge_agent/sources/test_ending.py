"""A part of a file is never taken for the whole, as far as its format tells."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from edge_agent.sources.ending import ending_of

PIXELS = np.random.default_rng(3).integers(1, 256, (37, 53, 3), np.uint8)


def saved(form: str, mode: str = "RGB", **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(out, form, **options)
    return out.getvalue()


def with_thumbnail() -> bytes:
    """A JPEG with another one in its EXIF, which has an end marker of its own."""
    whole, inner = saved("JPEG"), saved("JPEG", quality=20)
    segment = b"Exif\0\0" + inner
    return whole[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(segment)) + segment + whole[2:]


TELLING = {
    "PNG": saved("PNG"),
    "PNG, a trailer": saved("PNG") + b"vendor" * 50,
    "JPEG": saved("JPEG"),
    "JPEG, progressive": saved("JPEG", progressive=True),
    "JPEG, a thumbnail": with_thumbnail(),
    "JPEG, a trailer": saved("JPEG") + b"vendor" * 50,
    "BMP": saved("BMP"),
    "WebP": saved("WEBP"),
    "WebP, lossless": saved("WEBP", lossless=True),
    "PGM": saved("PPM", "L"),
    "PPM": saved("PPM"),
    "PPM, a comment": saved("PPM").replace(b"P6\n", b"P6\n# a camera\n", 1),
    "PGM, 16 bits": b"P5 53 37 65535\n" + bytes(range(1, 54)) * 37 * 2,
    "PBM": saved("PPM", "1"),
    "TIFF": saved("TIFF"),
    "TIFF, LZW": saved("TIFF", compression="tiff_lzw"),
    "TIFF, tiles": saved("TIFF", tiffinfo={322: 16, 323: 16}),
}


@pytest.mark.parametrize("kind", TELLING)
def test_what_lacks_its_end_is_known(kind, tmp_path):
    path, whole = tmp_path / "a", TELLING[kind]
    path.write_bytes(whole)
    assert ending_of(path).there is not False
    trailer = 300 if "trailer" in kind else 0
    for length in (*range(60), *range(60, len(whole) - trailer, 17), len(whole) - trailer - 1):
        path.write_bytes(whole[:length])
        assert ending_of(path).there is False, length


@pytest.mark.parametrize("kind", [kind for kind in TELLING if kind != "BMP"])
def test_what_has_its_end_is_known(kind, tmp_path):
    (tmp_path / "a").write_bytes(TELLING[kind])
    assert ending_of(tmp_path / "a").there is True


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [False, True])
def test_a_tiff_without_a_word_of_its_pixels_tells_of_its_directory_alone(order, big, tmp_path):
    mark = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}H", 43 if big else 42)
    head = mark + struct.pack(f"{order}HHQ" if big else f"{order}I", *((8, 0, 16) if big else (8,)))
    directory = struct.pack(f"{order}Q" if big else f"{order}H", 3)
    directory += bytes(3 * (20 if big else 12) + (8 if big else 4))
    (tmp_path / "a").write_bytes(head + directory + b"pixels")
    assert ending_of(tmp_path / "a").there is None
    (tmp_path / "a").write_bytes(head + directory[:-1])
    assert ending_of(tmp_path / "a").there is False


@pytest.mark.parametrize(
    "content",
    [b"words, and no image at all", b"P2 2 2 255\n1 2 3 4", b"RIFF....AVI LIST........",
     b"\xff\xd8\xff\xe0\0\2notamarker", b"BM" + bytes(60) + b"1", b"\xff\xd8" + b"\xff" * 4000,
     b"II*\0\xff\xff\xff\xff" + b"x" * 20, b"II+\0\x08\0\0\0" + b"\xff" * 8 + b"x" * 20],
)  # fmt: skip
def test_odd_bytes_raise_nothing(content, tmp_path):
    (tmp_path / "a").write_bytes(content)
    assert ending_of(tmp_path / "a").there is not True


@pytest.mark.parametrize("content", [b"", bytes(5), bytes(5000)])
def test_nothing_at_all_is_not_whole(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    assert ending_of(tmp_path / "a").there is False


@pytest.mark.parametrize("kind", TELLING)
def test_what_was_made_so_long_and_is_filled_later_ends_in_zeros(kind, tmp_path):
    path, whole = tmp_path / "a", TELLING[kind]
    path.write_bytes(whole)
    assert not ending_of(path).zeros
    for missing in (16, 100, len(whole)):
        path.write_bytes(whole[: len(whole) - missing] + bytes(missing))
        assert ending_of(path).zeros
