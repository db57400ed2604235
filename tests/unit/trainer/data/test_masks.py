"""A mask means the same in whatever way it was saved."""

from __future__ import annotations

import io
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image, ImageDraw

from edge_agent.bundle.preprocess import DecodeError
from tests import tiffs
from trainer.data import DatasetError, Sample, load_image, load_mask
from trainer.data.read import decode_mask

if TYPE_CHECKING:
    from pathlib import Path


def saved(image: Image.Image, kind: str) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


TRUE = np.zeros((48, 40), np.bool_)
TRUE[10:30, 12:25] = True


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
@pytest.mark.parametrize("white", [1, 3, 255])
def test_lossless(kind: str, white: int) -> None:
    grey = Image.fromarray(TRUE.astype(np.uint8) * white)
    np.testing.assert_array_equal(decode_mask(saved(grey, kind)), TRUE)
    np.testing.assert_array_equal(decode_mask(saved(grey.convert("RGB"), kind)), TRUE)


def test_one_bit_and_palette() -> None:
    np.testing.assert_array_equal(decode_mask(saved(Image.fromarray(TRUE), "PNG")), TRUE)
    palette = Image.fromarray(TRUE.astype(np.uint8))
    palette.putpalette([0, 0, 0, 128, 0, 0])
    np.testing.assert_array_equal(decode_mask(saved(palette, "PNG")), TRUE)


@pytest.mark.parametrize("white", [1, 255, 256, 65535])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits(kind: str, white: int) -> None:
    deep = Image.fromarray(TRUE.astype(np.uint16) * white)
    np.testing.assert_array_equal(decode_mask(saved(deep, kind)), TRUE)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("photometric", [tiffs.BLACK_IS_ZERO, tiffs.WHITE_IS_ZERO, tiffs.RGB])
@pytest.mark.parametrize("bits", [1, 4, 8, 12, 16, 32])
def test_a_tiff_of_any_bits_marks_what_is_not_black(
    bits: int, photometric: int, order: str
) -> None:
    for planar, white in product((1, 2), (1, (1 << bits) - 1)):
        kind = tiffs.Kind(bits=bits, photometric=photometric, planar=planar, order=order)
        channels = 3 if photometric == tiffs.RGB else 1
        values = np.zeros((*TRUE.shape, channels), np.uint64)
        values[TRUE, 0] = white
        if photometric == tiffs.WHITE_IS_ZERO:
            values = (1 << bits) - 1 - values
        np.testing.assert_array_equal(decode_mask(tiffs.write(kind, values)), TRUE)


@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize("photometric", [tiffs.BLACK_IS_ZERO, tiffs.WHITE_IS_ZERO, tiffs.RGB])
def test_what_is_transparent_in_a_tiff_is_not_marked(photometric: int, planar: int) -> None:
    kind = tiffs.Kind(bits=16, photometric=photometric, planar=planar, extra=(2,))
    channels = 3 if photometric == tiffs.RGB else 1
    values = np.full((*TRUE.shape, channels + 1), 7, np.uint64)
    values[:, :, -1] = TRUE

    np.testing.assert_array_equal(decode_mask(tiffs.write(kind, values)), TRUE)


@pytest.mark.parametrize("palette_bits", [8, 16])
def test_a_tiff_with_a_palette_marks_what_has_a_colour(palette_bits: int) -> None:
    kind = tiffs.Kind(photometric=tiffs.PALETTE, palette_bits=palette_bits)
    values = TRUE[:, :, None].astype(np.uint64) * 3
    black = tiffs.palette_of(8) * 0
    black[3] = (0, 0, 1)  # nearly black is not black
    tags = {320: ("H", black.T.ravel().tolist())}

    np.testing.assert_array_equal(decode_mask(tiffs.write(kind, values, tags)), TRUE)


def test_a_tiff_of_floating_point_is_refused_as_an_image_is() -> None:
    kind = tiffs.Kind(bits=32, sample_format=tiffs.FLOAT)
    with pytest.raises(DecodeError, match="a TIFF of 32-bit floating point is not read"):
        decode_mask(tiffs.write(kind, np.zeros((4, 4, 1), np.uint64)))


def test_ringing_in_a_tiff_that_holds_jpeg_is_not_a_defect() -> None:
    stream = io.BytesIO()
    drawn = Image.fromarray(TRUE.astype(np.uint8) * 255)
    drawn.save(stream, "TIFF", compression="jpeg")
    np.testing.assert_array_equal(decode_mask(stream.getvalue()), TRUE)


@pytest.mark.parametrize("white", [1, 255, 65535])
def test_a_pgm(white: int) -> None:
    header = b"P5 40 48 %d\n" % (255 if white < 256 else 65535)
    values = (TRUE * white).astype(np.uint8 if white < 256 else ">u2")
    np.testing.assert_array_equal(decode_mask(header + values.tobytes()), TRUE)


@pytest.mark.parametrize(
    ("kind", "colour"),
    [("PNG", (255, 0, 0)), ("PNG", (0, 0, 4)), ("JPEG", (255, 0, 0)), ("JPEG", (0, 0, 255))],
)
def test_a_colour_marks_as_well_as_white(kind: str, colour: tuple[int, int, int]) -> None:
    pixels = np.zeros((*TRUE.shape, 3), np.uint8)
    pixels[8:32, 8:32] = colour  # whole blocks: a JPEG smears colours over 16 pixels
    found = decode_mask(saved(Image.fromarray(pixels), kind))
    np.testing.assert_array_equal(found[16:32, 16:32], True)
    assert found.sum() < 1.5 * 24 * 24


@pytest.mark.parametrize("ground", [(0, 0, 0, 0), (255, 255, 255, 0), (0, 0, 0, 255)])
def test_what_is_transparent_is_not_marked(ground: tuple[int, int, int, int]) -> None:
    pixels = np.full((*TRUE.shape, 4), ground, np.uint8)
    pixels[TRUE] = (255, 0, 0, 128)
    np.testing.assert_array_equal(decode_mask(saved(Image.fromarray(pixels), "PNG")), TRUE)


def test_jpeg_ringing_is_not_a_defect() -> None:
    data = saved(Image.fromarray(TRUE.astype(np.uint8) * 255), "JPEG")
    assert (np.asarray(Image.open(io.BytesIO(data))) > 0).sum() > TRUE.sum()
    np.testing.assert_array_equal(decode_mask(data), TRUE)


def test_faint_grey_alone_in_a_jpeg_marks_nothing() -> None:
    """What is left of a neighbour's edge where a mask was cut out and saved again."""
    faint = np.random.default_rng(5).integers(0, 12, TRUE.shape, np.uint8)
    assert not decode_mask(saved(Image.fromarray(faint), "JPEG")).any()


def test_antialiased_edges_count() -> None:
    big = Image.new("L", (400, 480))
    ImageDraw.Draw(big).ellipse((60, 80, 300, 400), fill=255)
    small = big.resize((40, 48), Image.Resampling.BOX)
    mask = decode_mask(saved(small, "PNG"))
    solid = np.asarray(small) == 255
    assert mask[solid].all()
    assert mask.sum() < solid.sum() * 1.2


def test_what_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    image, mask = tmp_path / "1.png", tmp_path / "1_mask.png"
    sample = Sample("1.png", image, mask, defect=True, group="1.png")
    with pytest.raises(DatasetError, match=r"1\.png can't be read: No such file"):
        load_image(sample)
    mask.write_text("no image")
    with pytest.raises(DatasetError, match=r"1_mask\.png: not an image"):
        load_mask(sample)
    with pytest.raises(DatasetError, match=r"2\.png has no mask"):
        load_mask(Sample("2.png", image, None, defect=True, group="2.png"))
