"""Untrusted bytes become an upright 8-bit frame or a `DecodeError` that says why. Nothing else."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, PngImagePlugin

from edge_agent.bundle.formats import tiff
from edge_agent.bundle.formats.ifd import read_directory
from edge_agent.bundle.preprocess import FORMATS, DecodeError, decode
from tests.hostile import jpeg_of_scans, png_of, tiff_of_frames

NOISE = np.random.default_rng(7).integers(0, 256, (60, 40), np.uint8)
COLOURS = np.random.default_rng(8).integers(0, 256, (60, 40, 3), np.uint8)


def encode(pixels: np.ndarray | Image.Image, form: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(stream, form, **options)
    return stream.getvalue()


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF"])
def test_a_lossless_grey_image_comes_back_to_the_bit(form):
    frame = decode(encode(NOISE, form))

    assert frame.mode == "L"
    assert np.array_equal(np.asarray(frame), NOISE)


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF"])
def test_a_lossless_colour_image_comes_back_to_the_bit(form):
    frame = decode(encode(COLOURS, form))

    assert frame.mode == "RGB"
    assert np.array_equal(np.asarray(frame), COLOURS)


@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
def test_a_lossy_image_comes_back_nearly(form):
    smooth = np.tile(np.linspace(0, 255, 64, dtype=np.uint8), (64, 1))

    found = np.asarray(decode(encode(smooth, form, quality=95)).convert("L"), np.int16)

    assert np.abs(found - smooth).max() <= 8


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bit_grey_keeps_its_upper_8_bits(form):
    wide = (NOISE.astype(np.uint16) << 8) | 0x37

    frame = decode(encode(wide, form))

    assert frame.mode == "L"
    assert np.array_equal(np.asarray(frame), NOISE)


def test_alpha_is_dropped_and_never_shades_the_colours():
    seen = np.dstack([COLOURS, np.full(COLOURS.shape[:2], 3, np.uint8)])

    assert np.array_equal(np.asarray(decode(encode(seen))), COLOURS)
    assert np.array_equal(np.asarray(decode(encode(np.dstack([NOISE, NOISE])))), NOISE)


def test_a_palette_is_resolved():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 210, 220])
    image.putdata([0, 1])

    assert np.asarray(decode(encode(image))).tolist() == [[[10, 20, 30], [200, 210, 220]]]


def test_a_transparent_palette_raises_no_warning():
    image = Image.new("P", (4, 4))
    image.putpalette([10, 20, 30, 200, 210, 220])

    assert decode(encode(image, transparency=b"\x00\xff")).mode == "RGB"


def test_one_bit_becomes_black_and_white():
    image = Image.fromarray(NOISE > 127)

    found = np.asarray(decode(encode(image)))

    assert np.array_equal(found, np.where(NOISE > 127, 255, 0))


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb(form):
    white = Image.new("CMYK", (16, 16), (0, 0, 0, 0))

    frame = decode(encode(white, form))

    assert frame.mode == "RGB"
    assert np.asarray(frame).min() >= 250


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_turned_upright(orientation, form):
    upright = np.full((48, 32), 255, np.uint8)
    upright[:16, :16] = 0  # a black corner, at the upper left of what a person sees
    back = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = Image.fromarray(upright)
    stored = stored if back is None else stored.transpose(back)
    exif = Image.Exif()
    exif[0x0112] = orientation

    found = np.asarray(decode(encode(stored, form, exif=exif)).convert("L"), np.int16)

    assert np.abs(found - upright).max() <= (0 if form in ("PNG", "TIFF") else 2)


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_an_orientation_that_xmp_alone_says(orientation):
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>' % orientation
    turns = {1: 0, 3: 2, 6: -1}[orientation]

    for form in ("PNG", "JPEG", "WEBP"):
        if form == "PNG":
            info = PngImagePlugin.PngInfo()
            info.add_itxt("XML:com.adobe.xmp", xmp.decode(), zip=True)
            turned = encode(NOISE, form, pnginfo=info)
        else:
            turned = encode(NOISE, form, xmp=xmp)
        plain = np.asarray(decode(encode(NOISE, form)))
        assert np.array_equal(np.asarray(decode(turned)), np.rot90(plain, turns))


def test_an_orientation_that_does_not_exist_leaves_the_frame_as_it_is():
    exif = Image.Exif()
    exif[0x0112] = 42

    assert np.array_equal(np.asarray(decode(encode(NOISE, "PNG", exif=exif))), NOISE)


@pytest.mark.parametrize(
    ("mode", "named"), [("I", "signed 32-bit integers"), ("F", "32-bit floating point")]
)
def test_pixels_without_a_defined_range_are_refused(mode, named):
    with pytest.raises(DecodeError, match=f"a TIFF of {named} is not read"):
        decode(encode(Image.new(mode, (8, 8)), "TIFF"))


def test_an_empty_file():
    with pytest.raises(DecodeError, match="the file is empty"):
        decode(b"")


@pytest.mark.parametrize(
    "content", [b"these are words, not pixels", bytes(5000), b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"]
)
def test_what_is_no_image(content):
    with pytest.raises(DecodeError, match=r"not an image of an allowed format|damaged or trunc"):
        decode(content)


@pytest.mark.parametrize("form", ["GIF", "ICO", "TGA", "PCX"])
def test_a_format_that_is_never_allowed(form):
    with pytest.raises(DecodeError, match=r"not an image of an allowed format \(PNG, JPEG"):
        decode(encode(NOISE, form))


def test_a_format_that_this_station_does_not_allow():
    with pytest.raises(DecodeError, match=r"a JPEG file, not .* allowed format \(PNG\)"):
        decode(encode(NOISE, "JPEG"), formats=("PNG",))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_image(form, share):
    whole = encode(NOISE, form)

    with pytest.raises(DecodeError):
        decode(whole[: int(len(whole) * share)])


@pytest.mark.parametrize("form", FORMATS)
def test_every_cut_of_a_file_is_an_error(form):
    whole = encode(NOISE if form != "WEBP" else COLOURS, form)

    for end in range(1, len(whole) - 1, 61):
        with pytest.raises(DecodeError):
            decode(whole[:end])


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "WEBP", "PPM"])
def test_what_lies_behind_the_end_is_nobodys(form):
    whole = encode(COLOURS, form)

    expected = np.asarray(decode(whole))

    for trailer in (bytes(4096), b"camera 7, lens 3", bytes([255] * 99)):
        assert np.array_equal(np.asarray(decode(whole + trailer)), expected)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
def test_a_file_of_a_known_format_is_never_said_to_be_none(form):
    whole = encode(NOISE if form != "WEBP" else COLOURS, form)
    damaged = whole[:16] + bytes([255] * (len(whole) - 16))

    with pytest.raises(DecodeError) as refusal:
        decode(damaged)
    assert "allowed format" not in str(refusal.value)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.4, 0.7, 0.99])
def test_a_jpeg_given_its_length_before_its_content(progressive, share):
    # As a copy over SMB, rsync --inplace or fallocate do. The decoder takes the zeros for pixels.
    noise = np.random.default_rng(1).integers(0, 256, (400, 400), np.uint8)
    whole = encode(noise, "JPEG", quality=90, progressive=progressive)
    there = int(len(whole) * share)

    with pytest.raises(DecodeError, match="truncated"):
        decode(whole[:there] + bytes(len(whole) - there))


def test_a_jpeg_with_something_behind_its_end_marker_is_whole():
    whole = encode(NOISE, "JPEG")

    expected = np.asarray(decode(whole))

    assert np.array_equal(np.asarray(decode(whole + bytes(4096))), expected)
    assert np.array_equal(np.asarray(decode(whole + b"camera 7, lens 3")), expected)


def test_a_jpeg_whose_thumbnail_alone_is_whole_is_truncated():
    noise = np.random.default_rng(1).integers(0, 256, (400, 400), np.uint8)
    thumbnail = encode(NOISE, "JPEG")
    whole = encode(noise, "JPEG", quality=90)
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    carrying = whole[:2] + segment + whole[2:]
    half = len(carrying) // 2

    assert decode(carrying).size == (400, 400)
    with pytest.raises(DecodeError, match="truncated"):
        decode(carrying[:half] + bytes(half))


@pytest.mark.parametrize(
    "bomb",
    [
        png_of(30_000, 30_000, pixels=bytes(100_000)),
        png_of(12_000, 12_000, bits=1, pixels=bytes(100_000)),  # below Pillow's own limit
        png_of(0x7FFFFFFF, 0x7FFFFFFF),
        b"RIFF\x26\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff\x3f\0" * 2 + b"VP8L\0\0\0\0",
    ],
    ids=["900 million pixels", "144 million bits", "an impossible size", "a large canvas"],
)
def test_a_bomb_is_refused_before_a_pixel_of_it_is_decoded(bomb, monkeypatch):
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("it was decoded"))

    with pytest.raises(DecodeError):
        decode(bomb)


def test_a_limit_above_that_of_the_library_is_the_limit():
    with pytest.raises(DecodeError, match="truncated"):
        decode(png_of(20_000, 10_000, pixels=bytes(1000)), max_pixels=200_000_000)
    with pytest.raises(DecodeError, match="20000 x 10000 pixels is more than the limit"):
        decode(png_of(20_000, 10_000, pixels=bytes(1000)), max_pixels=199_999_999)


def test_the_pixel_limit_is_exact_and_named():
    assert decode(encode(NOISE), max_pixels=60 * 40).size == (40, 60)
    with pytest.raises(DecodeError, match="40 x 60 pixels is more than the limit of 2399"):
        decode(encode(NOISE), max_pixels=60 * 40 - 1)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
def test_several_frames_in_one_file(form):
    frames = [Image.fromarray(np.roll(COLOURS, step, axis=0)) for step in range(3)]
    several = encode(frames[0], form, save_all=True, append_images=frames[1:])

    with pytest.raises(
        DecodeError, match="the file holds several frames; one image a file is judged"
    ):
        decode(several)


def test_a_jpeg_of_endless_scans_is_refused_before_the_first_of_them(monkeypatch):
    assert decode(jpeg_of_scans(64, 64, 100)).size == (64, 64)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("it was decoded"))

    with pytest.raises(DecodeError, match="the JPEG has 101 scans, more than the limit of 100"):
        decode(jpeg_of_scans(64, 64, 101))


def test_a_tiff_of_endless_frames_is_refused_before_they_are_counted(monkeypatch):
    assert decode(tiff_of_frames(1)).size == (1, 1)
    looked = []
    monkeypatch.setattr(
        tiff, "read_directory", lambda *asked: looked.append(1) or read_directory(*asked)
    )

    with pytest.raises(DecodeError, match="several frames"):
        decode(tiff_of_frames(1000))
    assert len(looked) < 10


@pytest.mark.parametrize("shape", [(1, 1), (1, 4000), (4000, 1)])
def test_extreme_shapes_decode(shape):
    assert decode(encode(np.zeros(shape, np.uint8))).size == shape[::-1]


WHOLE = {form: encode(NOISE if form != "WEBP" else COLOURS, form) for form in FORMATS}


@settings(max_examples=400)
@given(
    form=st.sampled_from(FORMATS),
    edits=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=0, max_size=6)),
        min_size=1,
        max_size=8,
    ),
    cut=st.one_of(st.none(), st.floats(0, 1)),
)
def test_any_damage_gives_a_valid_frame_or_a_reason(form, edits, cut):
    content = bytearray(WHOLE[form])
    for place, new in edits:
        start = int(place * len(content))
        content[start : start + len(new)] = new
    if cut is not None:
        del content[int(cut * len(content)) :]

    assert_frame_or_reason(bytes(content))


@settings(max_examples=200)
@given(
    start=st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"II*\0", b"P5 "]),
    rest=st.binary(max_size=300),
)
def test_any_bytes_give_a_valid_frame_or_a_reason(start, rest):
    assert_frame_or_reason(start + rest)


def assert_frame_or_reason(content: bytes) -> None:
    try:
        frame = decode(content, max_pixels=1_000_000)
    except DecodeError as refusal:
        reason = str(refusal)
    else:
        assert frame.mode in ("L", "RGB")
        assert 0 < frame.width * frame.height <= 1_000_000
        assert np.asarray(frame).dtype == np.uint8
        return
    assert reason
