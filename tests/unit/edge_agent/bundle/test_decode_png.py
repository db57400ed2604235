"""A PNG is its pixels, checked, and nothing that is written beside them."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from edge_agent.bundle.preprocess import DecodeError, decode

GREY = np.random.default_rng(3).integers(0, 256, (60, 70), np.uint8)
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, content: bytes = b"", *, check: int | None = None) -> bytes:
    check = zlib.crc32(kind + content) if check is None else check
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


HEADER = chunk(b"IHDR", struct.pack(">IIBBBBB", 70, 60, 8, 0, 0, 0, 0))
PIXELS = zlib.compress(b"".join(b"\0" + row.tobytes() for row in GREY))
END = chunk(b"IEND")
WHOLE = SIGNATURE + HEADER + chunk(b"IDAT", PIXELS) + END


def saved(image: Image.Image, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", **options)
    return stream.getvalue()


def assert_right(data: bytes) -> None:
    assert np.array_equal(np.asarray(decode(data)), GREY)


def test_pixels_in_many_pieces_some_of_them_empty():
    pieces = [PIXELS[at : at + 3] for at in range(0, len(PIXELS), 3)]

    assert_right(SIGNATURE + HEADER + b"".join(chunk(b"IDAT", one) for one in pieces) + END)
    empty = chunk(b"IDAT")
    assert_right(SIGNATURE + HEADER + empty + chunk(b"IDAT", PIXELS) + empty * 3 + END)
    assert_right(
        SIGNATURE + HEADER + chunk(b"IDAT", PIXELS[:-1]) + chunk(b"IDAT", PIXELS[-1:]) + END
    )


@pytest.mark.parametrize("trailer", [bytes(9), WHOLE, b"\xff" * 999])
def test_what_lies_behind_the_end_is_nobodys(trailer):
    assert_right(WHOLE + trailer)


@pytest.mark.parametrize("rows", [0, 1, 30, 59])
def test_pixels_that_end_early_though_all_is_closed(rows):
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in GREY[:rows]))
    closed = SIGNATURE + HEADER + chunk(b"IDAT", pixels) + END

    with pytest.raises(DecodeError, match="truncated"):
        decode(closed)


def test_pixels_that_end_early_in_an_interlaced_one():
    passes = 0
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 1))
    sizes = ((1, 1), (1, 1), (1, 2), (2, 2), (2, 4), (4, 4), (4, 8))  # rows, columns
    rows = [b"\0" + bytes([9] * across) for down, across in sizes for _ in range(down)]
    for passes in (rows, rows[:-1], rows[:-4]):
        data = SIGNATURE + header + chunk(b"IDAT", zlib.compress(b"".join(passes))) + END
        if passes is rows:
            assert set(np.asarray(decode(data)).ravel()) == {9}
        else:
            with pytest.raises(DecodeError, match="truncated"):
                decode(data)


@pytest.mark.parametrize("shape", [(1, 1), (1, 4000), (4000, 1), (300, 300)])
@pytest.mark.parametrize("level", [0, 1, 9])
def test_flat_pixels_which_compress_to_next_to_nothing_are_whole(shape, level):
    flat = np.zeros(shape, np.uint8)

    assert np.array_equal(
        np.asarray(decode(saved(Image.fromarray(flat), compress_level=level))), flat
    )


def test_every_cut_is_truncated():
    for end in range(len(SIGNATURE), len(WHOLE), 13):
        with pytest.raises(DecodeError, match="damaged or truncated: the PNG ends before its end"):
            decode(WHOLE[:end])


def test_a_tail_of_zeros_is_truncated():
    for share in (0.01, 0.3, 0.99):
        there = int(len(WHOLE) * share)
        with pytest.raises(DecodeError, match="damaged or truncated"):
            decode(WHOLE[:there] + bytes(len(WHOLE) - there))


@pytest.mark.parametrize("kind", ["IHDR", "PLTE", "tRNS", "IDAT", "IEND"])
def test_a_wrong_checksum_of_what_makes_pixels(kind):
    palette = Image.fromarray(GREY).quantize(16)
    whole = bytearray(saved(palette, transparency=0))
    place = whole.index(kind.encode())
    (length,) = struct.unpack_from(">I", whole, place - 4)
    whole[place + 4 + length] ^= 1

    with pytest.raises(DecodeError) as refusal:
        decode(bytes(whole))
    said = f"damaged or truncated: the checksum (CRC) of the PNG's {kind} chunk is wrong"
    assert str(refusal.value) == said


def test_a_flipped_bit_in_the_pixels_is_a_wrong_checksum():
    whole = bytearray(WHOLE)
    whole[len(WHOLE) // 2] ^= 4

    with pytest.raises(DecodeError, match=r"the checksum \(CRC\) of the PNG's IDAT chunk is wrong"):
        decode(bytes(whole))


BESIDE = {
    "text of 4 MB": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(4 << 20))),
    "text of 100 MB": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100 << 20), 1)),
    "plain text": chunk(b"tEXt", b"Comment\0" + b"x" * (2 << 20)),
    "international": chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(4 << 20))),
    "xmp": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0no zlib"),
    "xmp cut off": chunk(b"iTXt", b"XML:com.adobe.xmp\0"),
    "no keyword": chunk(b"tEXt", b""),
    "checksum": chunk(b"tEXt", b"Comment\0x", check=7),
    "exif of words": chunk(b"eXIf", b"camera 7"),
    "exif checksum": chunk(b"eXIf", b"II*\0", check=7),
    "profile": chunk(b"iCCP", b"profile\0\0no zlib"),
    "profile of 100 MB": chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(100 << 20), 1)),
    "profile of exif": chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"exif 3 zz")),
    "size": chunk(b"pHYs", b"1"),
    "gamma": chunk(b"gAMA", b""),
    "colours": chunk(b"cHRM", b"1234"),
    "time": chunk(b"tIME", b""),
    "unknown": chunk(b"prVt", b"anything"),
    "frames checksum": chunk(b"acTL", struct.pack(">II", 5, 0), check=7),
}


@pytest.mark.parametrize("what", BESIDE)
@pytest.mark.parametrize("behind", [False, True], ids=["before", "behind"])
def test_what_is_written_beside_the_pixels_never_costs_an_image(what, behind):
    place = len(WHOLE) - len(END) if behind else len(SIGNATURE) + len(HEADER)

    assert_right(WHOLE[:place] + BESIDE[what] + WHOLE[place:])


@settings(max_examples=200)
@given(
    start=st.sampled_from([b"", b"II*\0\x08\0\0\0\x01\0\x12\x01", b"MM\0+\0\x08\0\0"]),
    rest=st.binary(max_size=60),
)
@example(start=b"II*\0\x08\0\0\0\x01\0\x12\x01", rest=struct.pack("<HIf", 11, 1, float("nan")))
def test_no_exif_whatever_costs_an_image(start, rest):
    place = len(SIGNATURE) + len(HEADER)

    found = np.asarray(decode(WHOLE[:place] + chunk(b"eXIf", start + rest) + WHOLE[place:]))

    assert sorted(found.shape) == [60, 70]


def test_text_chunks_without_end_cost_no_memory_and_no_image():
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1 << 20)))
    place = len(SIGNATURE) + len(HEADER)

    assert_right(WHOLE[:place] + text * 500 + WHOLE[place:])


@pytest.mark.parametrize("name", [b"eXIf", b"zTXt", b"tEXt", b"iTXt"])
def test_the_orientation_is_read_wherever_it_is_said(name):
    exif = Image.Exif()
    exif[0x0112] = 6
    content = exif.tobytes()
    digits = b"\nexif\n%8d\n%s\n" % (len(content), content.hex().encode())
    said = {
        b"eXIf": content[6:],
        b"zTXt": b"Raw profile type exif\0\0" + zlib.compress(digits),
        b"tEXt": b"Raw profile type exif\0" + digits,
        b"iTXt": b'XML:com.adobe.xmp\0\0\0\0\0<rdf tiff:Orientation="6"/>',
    }[name]
    place = len(SIGNATURE) + len(HEADER)

    found = np.asarray(decode(WHOLE[:place] + chunk(name, said) + WHOLE[place:]))

    assert np.array_equal(found, np.rot90(GREY, -1))


def test_a_chunk_that_pixels_may_depend_on_is_named():
    place = len(SIGNATURE) + len(HEADER)

    with pytest.raises(DecodeError, match="a PNG with a chunk CgBI is not read"):
        decode(WHOLE[:place] + chunk(b"CgBI", b"1234") + WHOLE[place:])


def test_a_png_that_was_sent_as_text_is_named():
    with pytest.raises(DecodeError, match="was it sent as text"):
        decode(WHOLE.replace(b"\r\n", b"\n"))


def test_a_png_of_endless_chunks_is_refused():
    place = len(SIGNATURE) + len(HEADER)

    assert_right(WHOLE[:place] + chunk(b"juNk") * 50_000 + WHOLE[place:])
    with pytest.raises(DecodeError, match="the PNG has more than 100000 chunks"):
        decode(WHOLE[:place] + chunk(b"juNk") * 200_000 + WHOLE[place:])
