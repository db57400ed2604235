"""Small files of which each stands for a kind that once was judged wrongly, or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_agent.bundle.preprocess import DecodeError, decode

CASES = Path(__file__).parents[3] / "cases"


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"), np.int16)


def expected(name: str) -> np.ndarray:
    with Image.open(CASES / name) as image:
        return pixels(image)


@pytest.mark.parametrize(
    ("name", "right", "within"),
    [
        ("tiff-16-rgb-planes.tif", "expected-rgb.png", 1),
        ("tiff-12-packed.tif", "expected-grey.png", 1),
        ("tiff-16-white-is-zero.tif", "expected-grey.png", 1),
        ("tiff-palette-of-bytes.tif", "expected-grey.png", 1),
        ("png-long-text.png", "expected-grey.png", 0),
        ("png-text-wrong-checksum.png", "expected-grey.png", 0),
        ("png-odd-exif.png", "expected-grey.png", 0),
        ("png-stalled-writer.png", "expected-grey.png", 0),
        ("jpeg-vendor-trailer.jpg", "expected-grey.png", 10),  # lossy
    ],
)
def test_it_is_the_picture_that_it_was_made_of(name, right, within):
    found = pixels(decode((CASES / name).read_bytes()))

    assert np.abs(found - expected(right)).max() <= within


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("tiff-float64.tif", "a TIFF of 64-bit floating point is not read"),
        (
            "jpeg-rows-missing-closed.jpg",
            "damaged or truncated: rows of the JPEG are missing, though an end marker closes it",
        ),
    ],
)
def test_it_is_refused_with_the_true_reason(name, reason):
    with pytest.raises(DecodeError) as refusal:
        decode((CASES / name).read_bytes())

    assert str(refusal.value) == reason


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_file_that_is_not_filled_yet_is_truncated(share):
    whole = (CASES / "png-stalled-writer.png").read_bytes()
    there = int(len(whole) * share)

    with pytest.raises(DecodeError, match="damaged or truncated"):
        decode(whole[:there] + bytes(len(whole) - there))
