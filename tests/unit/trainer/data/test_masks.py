"""A mask means the same in whatever way it was saved."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image, ImageDraw

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
