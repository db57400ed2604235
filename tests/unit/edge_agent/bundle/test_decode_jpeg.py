"""A JPEG is what lies between its first and its end marker, all of it, or it is refused."""

from __future__ import annotations

import io
import re
import struct

import numpy as np
import pytest
from PIL import Image

from edge_agent.bundle.manifest import Preprocess
from edge_agent.bundle.preprocess import DecodeError, decode, decode_for

GREY = np.random.default_rng(3).integers(0, 256, (120, 160), np.uint8)
COLOUR = np.random.default_rng(4).integers(0, 256, (120, 160, 3), np.uint8)
SMALL = Preprocess(width=32, height=32, colour="grey", fit="stretch", interpolation="bilinear")
END = b"\xff\xd9"


def saved(pixels: np.ndarray = GREY, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", **options)
    return stream.getvalue()


def with_segment(whole: bytes, marker: int, content: bytes) -> bytes:
    segment = struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content
    return whole[:2] + segment + whole[2:]


def same(one: bytes, other: bytes) -> bool:
    return np.array_equal(np.asarray(decode(one)), np.asarray(decode(other)))


@pytest.mark.parametrize(
    "trailer",
    [
        bytes(100),
        b"\xff\xda" * 400,
        b"\xff\xd9\xff\xda\x00\x0c",
        b"vendor block \xff\xda, 305 of them",
        saved(COLOUR),
        b"\xff" * 1000,
    ],
    ids=["zeros", "scans", "another end", "words", "another JPEG", "ones"],
)
def test_what_lies_behind_the_end_marker_is_nobodys(trailer):
    assert same(saved() + trailer, saved())


def test_the_second_picture_of_an_mpo_is_no_second_image():
    stream = io.BytesIO()
    first, second = Image.fromarray(COLOUR), Image.fromarray(COLOUR).resize((40, 30))
    first.save(stream, "MPO", save_all=True, append_images=[second], quality=90)

    assert decode(stream.getvalue()).size == (160, 120)


KINDS = {
    "grey": (GREY, {}),
    "colour": (COLOUR, {"subsampling": 2}),
    "full colour": (COLOUR, {"subsampling": 0, "quality": 95}),
    "restarts": (GREY, {"restart_marker_rows": 1}),
    "restarts of blocks": (COLOUR, {"restart_marker_blocks": 7}),
    "progressive": (GREY, {"progressive": True}),
    "progressive colour": (COLOUR, {"progressive": True}),
    "progressive restarts": (COLOUR, {"progressive": True, "restart_marker_rows": 1}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.97])
@pytest.mark.parametrize("scaled", [False, True])
def test_rows_are_missing_though_an_end_marker_closes_it(kind, share, scaled):
    pixels, options = KINDS[kind]
    whole = saved(pixels, **options)
    start = whole.index(b"\xff\xda") + 14
    cut = start + int((len(whole) - start) * share)
    while whole[cut - 1] == 0xFF:
        cut -= 1
    closed = whole[:cut] + END

    assert decode(whole).size == (160, 120)
    with pytest.raises(DecodeError, match="of the JPEG are missing, though an end marker closes"):
        decode_for(SMALL, closed) if scaled else decode(closed)


def test_every_cut_of_a_progressive_one_is_seen():
    whole = saved(COLOUR, progressive=True, quality=60)
    start = whole.index(b"\xff\xda") + 14

    for cut in range(start, len(whole) - 20, 97):
        with pytest.raises(DecodeError):
            decode(whole[:cut] + END)


def test_a_scan_that_ends_early_among_others_is_seen():
    whole = saved(COLOUR, progressive=True)
    scans = [found.start() for found in re.finditer(b"\xff\xda", whole)]
    headers = [
        found.start() for found in re.finditer(b"\xff\xc4", whole) if found.start() > scans[0]
    ]
    first_end = min(headers)

    with pytest.raises(DecodeError, match="rows of the JPEG are missing"):
        decode(whole[: first_end - 60] + whole[first_end:])


def test_a_marker_among_the_pixels_ends_them():
    whole = bytearray(saved())
    middle = len(whole) * 2 // 3
    whole[middle : middle + 4] = b"\xff\x3a\x00\x02"

    with pytest.raises(DecodeError, match="rows of the JPEG are missing"):
        decode(bytes(whole))


@pytest.mark.parametrize(("options", "pixels"), [({}, GREY), ({"progressive": True}, COLOUR)])
def test_bytes_between_the_last_pixel_and_the_end_marker_cost_nothing(options, pixels):
    whole = saved(pixels, **options)

    assert same(whole[:-2] + bytes(50) + END, whole)


@pytest.mark.parametrize("shape", [(1, 1), (7, 9), (8, 8), (17, 5), (3, 400), (400, 3)])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_whole_one_of_any_shape_is_whole(shape, progressive):
    for flat in (False, True):
        pixels = COLOUR[:1, :1].repeat(shape[0], 0).repeat(shape[1], 1)
        if not flat:
            pixels = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
        whole = saved(pixels, progressive=progressive)
        with Image.open(io.BytesIO(whole)) as image:
            assert np.array_equal(np.asarray(decode(whole)), np.asarray(image))


@pytest.mark.parametrize(
    ("marker", "said"),
    [
        (0xC3, "a JPEG with lossless coding is not read"),
        (0xC5, "a JPEG with hierarchical coding is not read"),
        (0xC9, "a JPEG with arithmetic coding is not read"),
        (0xCA, "a JPEG with arithmetic coding is not read"),
    ],
)
def test_a_coding_that_is_not_read_is_named(marker, said):
    whole = bytearray(saved())
    whole[whole.index(b"\xff\xc0") + 1] = marker

    with pytest.raises(DecodeError) as refusal:
        decode(bytes(whole))
    assert str(refusal.value) == said


@pytest.mark.parametrize(
    ("at", "value", "said"),
    [
        (4, 12, "a JPEG of 12 bits a sample is not read: 8 bits are"),
        (9, 2, "the frame header of the JPEG is too short"),
    ],
)
def test_a_frame_header_that_is_not_read_is_named(at, value, said):
    whole = bytearray(saved())
    whole[whole.index(b"\xff\xc0") + at] = value

    with pytest.raises(DecodeError, match=said):
        decode(bytes(whole))


METADATA = {
    "exif of words": (0xE1, b"Exif\0\0camera 7"),
    "exif cut off": (0xE1, b"Exif\0\0II*\0\xff\0\0\0"),
    "exif of one byte": (0xE1, b"Exif\0\0I"),
    "xmp": (0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta \xff\xfe"),
    "profile": (0xE2, b"ICC_PROFILE\0\1\1nothing"),
    "profile of 9 parts": (0xE2, b"ICC_PROFILE\0\7\11nothing"),
    "several pictures": (0xE2, b"MPF\0II*\0\xff\xff\xff\xff"),
    "photoshop": (0xED, b"Photoshop 3.0\x008BIM\4\4\0\0\xff\xff\xff\xff"),
    "comment": (0xFE, b"\xff\xd9\xff\xda" * 1000),
    "jfif cut off": (0xE0, b"JFIF\0"),
}


@pytest.mark.parametrize("kind", METADATA)
def test_metadata_never_costs_an_image(kind):
    marker, content = METADATA[kind]

    assert same(with_segment(saved(COLOUR), marker, content), saved(COLOUR))


def test_a_jpeg_of_endless_segments_is_refused():
    endless = saved()[:2] + b"\xff\xfe\x00\x02" * 200_000 + saved()[2:]

    with pytest.raises(DecodeError, match="the JPEG has more than 100000 segments"):
        decode(endless)
