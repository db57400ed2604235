"""A picture of nothing, or of something else, is told from one of the part, in words."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from edge_agent.bundle import Preprocess
from edge_agent.bundle.appearance import appearance, darkest
from edge_agent.bundle.plausible import see, why_implausible
from edge_agent.bundle.preprocess import decode_for, fit
from tests.bundles import EXPECTS, HEIGHT, WIDTH, make_image

SPEC = Preprocess(width=WIDTH, height=HEIGHT)


def sight(image, spec=SPEC):
    if isinstance(image, Image.Image):
        stream = io.BytesIO()
        image.save(stream, "TIFF")
        image = stream.getvalue()
    frame = decode_for(spec, image)
    fitted = fit(frame, spec)
    return see(frame, fitted, appearance(fitted.tensor))


def part(seed=0):
    return Image.open(io.BytesIO(make_image(defect=False, seed=seed)))


def covered(side):
    pixels = np.rot90(np.array(part()), side).copy()
    pixels[: len(pixels) // 2] = 3
    return Image.fromarray(np.ascontiguousarray(np.rot90(pixels, -side)))


def grey(level):
    return Image.new("L", (WIDTH, HEIGHT), level)


def noise():
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH))
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.mark.parametrize("defect", [False, True])
def test_a_picture_of_the_part_is_one(defect):
    for seed in range(20):
        assert why_implausible(sight(make_image(defect=defect, seed=seed)), EXPECTS) == ""


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        (grey(0), "brightness 0 (expected 60 to 230)"),
        (grey(255), "brightness 255 (expected 60 to 230)"),
        (grey(128), "contrast 0 (expected 10 to 90); sharpness 0 (expected 1000 to 20000)"),
        (noise(), "sharpness"),
        *((covered(side), "brightness of the darkest part 3 (expected 10 to") for side in range(4)),
        (part().transpose(Image.Transpose.ROTATE_90), "96 x 64 pixels (expected 60 to 68 x 92 to"),
        (part().transpose(Image.Transpose.ROTATE_90), "width / height 1.5 (expected 0.6 to 0.7)"),
        (part().crop((0, 0, WIDTH // 2, HEIGHT // 2)), "32 x 48 pixels"),
        (part().resize((20, 20)), "20 x 20 pixels"),
        (Image.merge("RGB", (part(), grey(90), grey(20))), "colour 139 (expected 0 to 32)"),
    ],
)
def test_what_is_none_says_which_value_lies_outside_of_which_bounds(picture, said):
    why = why_implausible(sight(picture), EXPECTS)

    assert why.startswith("not a picture that the bundle was made for: ")
    assert said in why
    assert len(why) < 500  # what a verdict has room for


def test_a_bound_itself_is_inside():
    found = sight(part())
    exactly = {
        name: (getattr(found, name), getattr(found, name))
        for name in type(EXPECTS).model_fields
        if name != "images"
    }
    assert why_implausible(found, EXPECTS.model_copy(update=exactly)) == ""


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "CMYK", "P", "LA"])
def test_the_same_picture_in_another_encoding_is_the_same(mode):
    as_grey, other = sight(part()), sight(part().convert(mode))

    assert other.colour == as_grey.colour == 0.0
    assert other.brightness == pytest.approx(as_grey.brightness, abs=1)
    assert why_implausible(other, EXPECTS) == ""


def test_16_bits_of_grey_and_a_jpeg_in_colour_are_the_same_picture():
    wide = Image.fromarray(np.asarray(part()).astype(np.uint16) * 257)
    stream = io.BytesIO()
    part().convert("RGB").save(stream, "JPEG", quality=95)

    assert why_implausible(sight(wide), EXPECTS) == ""
    assert why_implausible(sight(stream.getvalue()), EXPECTS) == ""


def test_what_letterbox_puts_around_a_picture_is_not_looked_at():
    spec = Preprocess(width=200, height=HEIGHT, fit="letterbox")
    white = sight(grey(255), spec)

    assert (white.brightness, white.contrast, white.sharpness) == (255.0, 0.0, 0.0)
    assert white.darkest == 255.0
    assert sight(part(), spec).brightness == pytest.approx(sight(part()).brightness, abs=0.5)


@pytest.mark.parametrize("size", [(5000, 2), (2, 5000), (1, 1)])
@pytest.mark.parametrize("how", ["letterbox", "crop", "stretch"])
def test_a_line_of_pixels_can_be_looked_at(size, how):
    found = sight(Image.new("RGB", size, (1, 2, 3)), Preprocess(width=64, height=96, fit=how))
    assert (found.width, found.height) == size
    assert "pixels" in why_implausible(found, EXPECTS)


@pytest.mark.parametrize("height", [4, 5, 16, 63, 64, 65, 700])
@pytest.mark.parametrize("width", [4, 7, 64, 333])
def test_the_darkest_part_is_the_mean_of_the_darkest_of_sixteen(height, width):
    frame = np.full((height, width, 3), 200, np.uint8)
    assert darkest(frame) == 200.0
    if min(height, width) >= 16:
        frame[-(height // 4) :, -(width // 4) :] = 40  # a corner, or a little less than one
        assert 40.0 <= darkest(frame) < 100.0
    frame[height // 2 :] = 10
    assert darkest(frame) == pytest.approx(10.0, abs=1e-3)
