"""A TIFF's pixels are what the file says, or it is refused with the true reason."""

from __future__ import annotations

import io
import struct
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from edge_agent.bundle.preprocess import DecodeError, decode
from tests.tiffs import (
    BAYER,
    BLACK_IS_ZERO,
    CMYK,
    DEFLATE,
    FLOAT,
    JPEG,
    LAB,
    LZW,
    NONE,
    PACKBITS,
    PALETTE,
    RGB,
    SIGNED,
    WHITE_IS_ZERO,
    Kind,
    generated,
    meant,
    random_samples,
    refusal,
    write,
)

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def assert_right(kind: Kind, height: int = 23, width: int = 19) -> None:
    samples = random_samples(kind, height, width, 1)
    found = np.asarray(decode(write(kind, samples)), np.int64)
    expected = turned(meant(kind, samples), kind.orientation)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    image = Image.fromarray(pixels.astype(np.uint8))
    if orientation in TURNS:
        image = image.transpose(TURNS[orientation])
    return np.asarray(image, np.int64)


def assert_right_or_refused(seed: int, count: int) -> None:
    read = 0
    for kind, data, pixels in generated(seed, count):
        reason = refusal(kind)
        if reason is not None:
            with pytest.raises(DecodeError, match=reason):
                decode(data)
            continue
        found = np.asarray(decode(data), np.int64)
        expected = turned(pixels, kind.orientation)
        assert found.shape == expected.shape, str(kind)
        assert np.abs(found - expected).max() <= 1, str(kind)
        read += 1
    assert count / 3 < read < count


def test_some_generated_ones():
    assert_right_or_refused(seed=13, count=150)


@pytest.mark.faults
def test_two_thousand_generated_ones():
    assert_right_or_refused(seed=14, count=2000)


BITS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 24, 32, 64)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("photometric", [WHITE_IS_ZERO, BLACK_IS_ZERO, RGB])
@pytest.mark.parametrize("bits", BITS)
def test_the_upper_8_of_the_bits_that_it_says_it_has(bits, photometric, order):
    assert_right(Kind(bits=bits, photometric=photometric, order=order))


@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize("tile", [None, (16, 32)])
@pytest.mark.parametrize("compression", [NONE, LZW, DEFLATE, PACKBITS])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_planes_tiles_and_compressions(bits, compression, planar, tile):
    kind = Kind(bits=bits, photometric=RGB, compression=compression, planar=planar, tile=tile)

    assert_right(kind, 70, 50)
    assert_right(replace(kind, extra=(2,), rows_per_strip=1))
    assert_right(replace(kind, big=True, order=">"))
    if bits != 12 and compression in (LZW, DEFLATE):
        assert_right(replace(kind, predictor=2), 70, 50)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("palette_bits", [8, 16])
def test_a_palette_of_16_bits_or_wrongly_of_8(bits, palette_bits):
    assert_right(Kind(bits=bits, photometric=PALETTE, palette_bits=palette_bits))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation(orientation):
    assert_right(Kind(orientation=orientation))
    assert_right(Kind(orientation=orientation, bits=16, photometric=RGB, compression=LZW))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Kind(bits=8, sample_format=SIGNED), "a TIFF of signed 8-bit integers is not read"),
        (Kind(bits=16, sample_format=SIGNED), "a TIFF of signed 16-bit integers is not read"),
        (Kind(bits=32, sample_format=FLOAT), "a TIFF of 32-bit floating point is not read"),
        (Kind(bits=64, sample_format=FLOAT), "a TIFF of 64-bit floating point is not read"),
        (Kind(bits=8, sample_format=6), "a TIFF of sample format 6 is not read"),
        (Kind(photometric=LAB), "a TIFF of L*a*b* colours is not read"),
        (Kind(photometric=BAYER), "a TIFF of a colour filter array (Bayer) is not read"),
    ],
)
def test_what_is_not_read_is_named(kind, reason):
    with pytest.raises(DecodeError) as refused:
        decode(write(kind, random_samples(kind, 9, 9, 1)))
    assert str(refused.value) == reason


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({258: ("H", [8, 8, 16])}, r"different bits a sample \(8, 8, 16\)"),
        ({258: ("H", [48])}, "a TIFF of 48 bits a sample is not read"),
        ({259: ("H", [6])}, "a TIFF with old-style JPEG is not read"),
        ({259: ("H", [34712])}, "a TIFF with JPEG 2000 is not read"),
        ({259: ("H", [999])}, "a TIFF with compression 999 is not read"),
        ({284: ("H", [3])}, "a TIFF with planar configuration 3 is not read"),
        ({259: ("H", [5]), 317: ("H", [3])}, "a TIFF with predictor 3 is not read"),
        ({262: ("H", [999])}, "a TIFF of photometric interpretation 999 is not read"),
        ({262: ("H", [4])}, "a TIFF of a transparency mask is not read"),
        ({262: ("H", [6])}, "a TIFF of subsampled YCbCr is not read"),
        ({262: ("H", [5])}, "the TIFF has 3 samples a pixel: its colours take 4"),
        ({262: ("H", [3])}, r"palette \(ColorMap\) is missing"),
        ({273: ("I", [8])}, "does not say where all of its pixels are"),
        ({279: ("I", [1, 1])}, "is shorter than its rows"),
    ],
)
def test_what_contradicts_itself_or_is_not_read_is_named(tags, reason):
    kind = Kind(photometric=RGB, rows_per_strip=6)

    with pytest.raises(DecodeError, match=reason):
        decode(write(kind, random_samples(kind, 12, 9, 1), tags))


def test_a_tiff_that_does_not_say_what_0_means_is_refused():
    kind = Kind()
    whole = write(kind, random_samples(kind, 9, 9, 1))
    without = whole.replace(struct.pack("<HHI", 262, 3, 1), struct.pack("<HHI", 263, 3, 1))

    with pytest.raises(DecodeError, match="does not say what 0 means"):
        decode(without)


def test_12_bits_that_are_kept_in_16_are_refused():
    words = Kind(bits=16, rows_per_strip=100)
    data = write(words, random_samples(words, 9, 9, 1), {258: ("H", [12])})

    with pytest.raises(DecodeError, match="a TIFF that says 12 bits a sample and keeps 16"):
        decode(data)


@pytest.mark.parametrize("extra", [(0,), (1,), (2,), (2, 0), (0, 0, 0)])
@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("photometric", [BLACK_IS_ZERO, RGB])
def test_extra_samples_never_shade_the_colours(extra, planar, bits, photometric):
    kind = Kind(bits=bits, photometric=photometric, planar=planar, extra=extra)
    samples = random_samples(kind, 9, 9, 1)
    if extra[0] != 1:
        samples[:, :, -len(extra) :] = 3

    assert np.abs(np.asarray(decode(write(kind, samples)), int) - meant(kind, samples)).max() <= 1


def test_colours_that_were_multiplied_with_their_alpha_are_refused():
    kind = Kind(photometric=RGB, extra=(1,))
    samples = random_samples(kind, 9, 9, 1)
    samples[4, 4, 3] = 100

    with pytest.raises(DecodeError, match=r"associated \(premultiplied\) alpha that shades"):
        decode(write(kind, samples))


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("quality", [60, 95])
def test_jpeg_in_it_is_decoded_as_by_libtiff(mode, quality):
    noise = np.random.default_rng(5).integers(0, 256, (90, 70, 3), np.uint8)
    image = Image.fromarray(noise).convert(mode)
    stream = io.BytesIO()
    image.save(stream, "TIFF", compression="jpeg", quality=quality)
    with Image.open(stream) as opened:
        expected = np.asarray(opened, np.int64)

    assert np.abs(np.asarray(decode(stream.getvalue()), np.int64) - expected).max() <= 1


def test_jpeg_in_it_that_lacks_rows_is_truncated():
    kind = Kind(compression=JPEG, rows_per_strip=100)
    noise = np.random.default_rng(5).integers(0, 256, (64, 64, 1), np.uint64)
    whole = write(kind, noise)
    size = whole.index(b"\xff\xd9") + 2 - 8
    cut = size * 2 // 3
    shorter = whole[: 8 + cut] + b"\xff\xd9" + bytes(size - cut - 2) + whole[8 + size :]

    assert decode(whole).size == (64, 64)
    with pytest.raises(DecodeError, match="rows of the JPEG are missing"):
        decode(shorter)


@pytest.mark.parametrize("compression", ["group3", "group4"])
def test_fax(compression):
    bits = np.kron(np.random.default_rng(5).integers(0, 2, (12, 10)), np.ones((5, 5))) > 0
    stream = io.BytesIO()
    Image.fromarray(bits).save(stream, "TIFF", compression=compression)

    assert np.array_equal(np.asarray(decode(stream.getvalue())), np.where(bits, 255, 0))


@pytest.mark.parametrize("compression", [NONE, LZW, DEFLATE, PACKBITS, JPEG])
def test_every_cut_is_an_error(compression):
    whole = write(Kind(compression=compression), random_samples(Kind(), 40, 40, 1))

    assert decode(whole).size == (40, 40)
    for end in range(8, len(whole), 37):
        with pytest.raises(DecodeError, match="damaged or truncated"):
            decode(whole[:end])


@pytest.mark.parametrize("compression", [LZW, DEFLATE, PACKBITS])
def test_compressed_pixels_that_end_early_are_an_error(compression):
    kind = Kind(compression=compression, rows_per_strip=100)
    samples = random_samples(kind, 40, 40, 1)
    half = write(kind, samples[:20], {257: ("I", [40])})

    with pytest.raises(DecodeError, match="compressed pixels of the TIFF end too early"):
        decode(half)


def pages(*sizes: tuple[int, int], reduced: tuple[int, ...] = ()) -> bytes:
    """A TIFF of so many pages, by width and height; some say that they are smaller pictures."""
    stream = io.BytesIO()
    images = [Image.effect_noise(size, 50) for size in sizes]
    for number, image in enumerate(images):
        info = TiffImagePlugin.ImageFileDirectory_v2()
        if number in reduced:
            info[254] = 1
        image.encoderinfo = {"tiffinfo": info}
    with TiffImagePlugin.AppendingTiffWriter(stream, new=True) as writer:
        for image in images:
            image.save(writer, "TIFF", tiffinfo=image.encoderinfo["tiffinfo"])
            writer.newFrame()
    return stream.getvalue()


def test_a_small_second_page_is_no_second_image():
    assert decode(pages((200, 100), (50, 25))).size == (200, 100)
    assert decode(pages((200, 100), (100, 50), (50, 25), (25, 12))).size == (200, 100)
    assert decode(pages((200, 100), (150, 75), reduced=(1,))).size == (200, 100)


@pytest.mark.parametrize(
    "sizes", [((200, 100), (200, 100)), ((200, 100), (150, 75)), ((50, 25), (200, 100))]
)
def test_a_second_image_is_refused(sizes):
    with pytest.raises(DecodeError, match="the file holds several frames"):
        decode(pages(*sizes))


@pytest.mark.parametrize("tag", [274, 700, 34665, 34675, 33723, 34377, 270, 305, 306, 282, 283])
def test_metadata_never_costs_an_image(tag):
    kind = Kind()
    samples = random_samples(kind, 9, 9, 1)
    whole = write(kind, samples, {tag: ("I", [0x7FFFFFF0, 5, 6])})
    place = whole.index(struct.pack("<HHI", tag, 4, 3))
    outside = whole[: place + 8] + struct.pack("<I", 0x7FFFFFF0) + whole[place + 12 :]

    for data in (whole, outside):
        assert np.array_equal(np.asarray(decode(data)), meant(kind, samples))


def test_an_orientation_that_is_no_number_turns_nothing():
    kind = Kind()
    samples = random_samples(kind, 9, 9, 1)
    whole = write(kind, samples, {274: ("I", [0x7FC00000])})
    no_number = whole.replace(struct.pack("<HHI", 274, 4, 1), struct.pack("<HHI", 274, 11, 1))

    assert np.array_equal(np.asarray(decode(no_number)), meant(kind, samples))


def test_cmyk_of_8_and_16_bits():
    for bits in (8, 16):
        assert_right(Kind(bits=bits, photometric=CMYK))


def test_tiles_that_are_far_larger_than_the_image_cost_no_memory():
    kind = Kind(tile=(16, 16), compression=DEFLATE)
    tags = {322: ("I", [1 << 30]), 323: ("I", [1 << 30])}

    with pytest.raises(DecodeError, match="says that its tiles have"):
        decode(write(kind, random_samples(kind, 9, 9, 1), tags))
