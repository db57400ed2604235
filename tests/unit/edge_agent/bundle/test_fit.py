"""A frame in the graph's size, and the way back from there to the original's pixels."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edge_agent.bundle import Preprocess
from edge_agent.bundle.preprocess import decode, decode_for, fit

FITS = ("stretch", "letterbox", "crop")
COLOURS = ("rgb", "grey")
INTERPOLATIONS = ("box", "bilinear", "bicubic")
SIZES = st.tuples(st.integers(1, 400), st.integers(1, 400))
SPECS = st.builds(
    Preprocess,
    width=st.integers(16, 200),
    height=st.integers(16, 200),
    colour=st.sampled_from(COLOURS),
    fit=st.sampled_from(FITS),
    interpolation=st.sampled_from(INTERPOLATIONS),
)


def noise(size: tuple[int, int], seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size[::-1], np.uint8)


@settings(max_examples=300)
@given(size=SIZES, spec=SPECS, colour=st.booleans())
def test_whatever_the_frame_the_tensor_is_what_the_graph_takes(size, spec, colour):
    grey = noise(size)
    frame = Image.fromarray(np.dstack([grey, 255 - grey, grey]) if colour else grey)

    fitted = fit(frame, spec)

    assert fitted.tensor.shape == (spec.height, spec.width, 3)
    assert fitted.tensor.dtype == np.uint8
    assert fitted.scale_x > 0
    assert fitted.scale_y > 0


@settings(max_examples=100)
@given(size=SIZES, spec=SPECS)
def test_grey_stays_grey_and_gives_the_bytes_of_the_way_over_rgb(size, spec):
    grey = noise(size)

    short = fit(Image.fromarray(grey), spec).tensor
    long = fit(Image.fromarray(np.dstack([grey, grey, grey])), spec).tensor

    assert np.array_equal(short, long)


@pytest.mark.parametrize("fit_", FITS)
@pytest.mark.parametrize(
    "size", [(49, 150), (197, 333), (103, 61), (1, 1000), (1000, 1), (64, 96), (4096, 5)]
)
def test_no_rounding_error_of_a_crop_leaves_the_image(fit_, size):
    # 64 / (64 / 197) is more than 197.
    spec = Preprocess(width=64, height=96, fit=fit_)

    assert fit(Image.fromarray(noise(size)), spec).tensor.shape == (96, 64, 3)


def test_a_frame_of_the_right_size_is_not_touched():
    pixels = noise((64, 96))

    tensor = fit(Image.fromarray(pixels), Preprocess(width=64, height=96)).tensor

    assert all(np.array_equal(tensor[..., channel], pixels) for channel in range(3))


def test_channels_are_red_green_blue():
    frame = Image.new("RGB", (10, 10), (200, 100, 50))

    assert fit(frame, Preprocess(width=16, height=16)).tensor[5, 5].tolist() == [200, 100, 50]


def test_grey_weighs_the_colours_as_the_eye_does():
    frame = Image.new("RGB", (10, 10), (200, 100, 50))

    tensor = fit(frame, Preprocess(width=16, height=16, colour="grey")).tensor

    expected = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    assert tensor.reshape(-1, 3).min() == tensor.reshape(-1, 3).max() == expected


@pytest.mark.parametrize("colour", COLOURS)
def test_a_letterbox_has_margins_of_one_grey(colour):
    frame = Image.new("RGB", (100, 50), (255, 255, 255))
    spec = Preprocess(width=64, height=64, fit="letterbox", colour=colour)

    tensor = fit(frame, spec).tensor

    assert (tensor[:16] == 114).all()
    assert (tensor[16:48] == 255).all()
    assert (tensor[48:] == 114).all()


def test_a_crop_keeps_the_middle():
    pixels = np.zeros((50, 200), np.uint8)
    pixels[:, 75:125] = 255

    tensor = fit(Image.fromarray(pixels), Preprocess(width=50, height=50, fit="crop")).tensor

    assert tensor.min() == 255


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("fit_", FITS)
@pytest.mark.parametrize("size", [(500, 1250), (1250, 500), (300, 300), (40, 30)])
@pytest.mark.parametrize("place", [(0.3, 0.4), (0.62, 0.55), (0.5, 0.5)])
def test_a_mark_is_found_again_where_it_was(interpolation, fit_, size, place):
    width, height = size
    side = max(width, height) // 20
    centre_x, centre_y = width * place[0], height * place[1]
    if fit_ == "crop":  # only the middle square is seen
        short = min(size)
        centre_x = (width - short) / 2 + short * place[0]
        centre_y = (height - short) / 2 + short * place[1]
    left, top = round(centre_x - side / 2), round(centre_y - side / 2)
    pixels = np.zeros((height, width), np.uint8)
    pixels[top : top + side, left : left + side] = 255
    spec = Preprocess(width=256, height=256, fit=fit_, interpolation=interpolation)

    fitted = fit(Image.fromarray(pixels), spec)

    weight = fitted.tensor[..., 0].astype(float)
    if fit_ == "letterbox":
        weight[weight == 114] = 0  # the margin
    rows, columns = np.indices(weight.shape) + 0.5
    found_x = ((columns * weight).sum() / weight.sum() - fitted.offset_x) * fitted.scale_x
    found_y = ((rows * weight).sum() / weight.sum() - fitted.offset_y) * fitted.scale_y
    assert abs(found_x - (left + side / 2)) <= max(1.0, fitted.scale_x / 2)
    assert abs(found_y - (top + side / 2)) <= max(1.0, fitted.scale_y / 2)


# -- JPEGs decoded at a part of their size -----------------------------------------------------


def surface(width: int, height: int) -> Image.Image:
    """Something with texture, edges and a thin scratch, grey."""
    random = np.random.default_rng(5)
    coarse = Image.fromarray(random.integers(60, 200, (height // 20, width // 20), np.uint8))
    pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    pixels = pixels + random.integers(-12, 13, pixels.shape)
    pixels[:, width // 3 : width // 3 + 3] = 255
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def jpeg(image: Image.Image, orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=92, exif=exif)
    return stream.getvalue()


@pytest.mark.parametrize("fit_", FITS)
@pytest.mark.parametrize("size", [(2448, 2048), (1001, 2503), (1999, 801)])
def test_a_large_jpeg_is_decoded_small_and_looks_the_same(size, fit_):
    spec = Preprocess(width=160, height=224, fit=fit_)
    data = jpeg(surface(*size))

    frame = decode_for(spec, data)
    whole = decode(data)

    assert (frame.width, frame.height) == whole.size
    assert frame.reduced >= 2
    small, large = fit(frame, spec), fit(whole, spec)
    difference = np.abs(small.tensor.astype(int) - large.tensor)
    assert difference.mean() <= 1.5  # of 255: less than a JPEG's own noise
    assert np.percentile(difference, 99) <= 8
    for way in ("scale_x", "scale_y", "offset_x", "offset_y"):
        assert getattr(small, way) == pytest.approx(getattr(large, way), rel=1e-6, abs=1e-6)


@settings(max_examples=60)
@given(size=SIZES, spec=SPECS, orientation=st.integers(1, 8))
def test_no_jpeg_is_decoded_smaller_than_it_is_needed(size, spec, orientation):
    data = jpeg(Image.fromarray(noise(size)), orientation)

    frame = decode_for(spec, data)
    whole = decode(data)

    assert (frame.width, frame.height) == whole.size
    if frame.image.size != whole.size:
        shrunk = fit(frame, spec)
        assert orientation == 1
        assert frame.image.width >= whole.width / shrunk.scale_x - 1
        assert frame.image.height >= whole.height / shrunk.scale_y - 1


def test_what_is_no_jpeg_keeps_all_of_its_pixels():
    stream = io.BytesIO()
    Image.fromarray(noise((800, 600))).save(stream, "PNG")

    frame = decode_for(Preprocess(width=32, height=32), stream.getvalue())

    assert frame.image.size == (frame.width, frame.height) == (800, 600)
