"""PGM and PPM, as camera SDKs write them."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.bundle.preprocess import DecodeError, decode

NOISE = np.random.default_rng(3)


@pytest.mark.parametrize("most", [1, 15, 100, 255, 1023, 4095, 16383, 20000, 65535])
@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("text", [False, True])
def test_levels_up_to_what_it_says(most, colour, text):
    values = NOISE.integers(0, most + 1, (13, 11, 3) if colour else (13, 11))
    header = b"P%d\n# a camera\n11 13 # across, down\n%d\n"
    header %= ((2 if text else 5) + colour, most)
    if text:
        body = b"\n".join(b" ".join(b"%d" % value for value in row.ravel()) for row in values)
    else:
        body = values.astype(">u2" if most > 255 else np.uint8).tobytes()

    found = np.asarray(decode(header + body), np.float64)

    assert found.shape == values.shape
    assert np.abs(found - values * 255 / most).max() <= 1


def test_8_bits_come_back_to_the_bit():
    values = NOISE.integers(0, 256, (13, 11), np.uint8)

    assert np.array_equal(np.asarray(decode(b"P5 11 13 255\n" + values.tobytes())), values)


def test_bits():
    values = NOISE.integers(0, 2, (5, 11))
    rows = np.packbits(values.astype(bool), axis=1).tobytes()
    digits = b"\n".join(b"".join(b"%d" % value for value in row) for row in values)

    for data in (b"P4\n11 5\n" + rows, b"P1\n11 5\n# bits\n" + digits):
        assert np.array_equal(np.asarray(decode(data)), np.where(values, 0, 255))


@pytest.mark.parametrize(
    "whole",
    [
        b"P5 11 13 255\n" + bytes(143),
        b"P6 11 13 65535\n" + bytes(858),
        b"P2 11 13 255\n" + b"1 " * 143,
        b"P4 11 13\n" + bytes(26),
    ],
)
def test_every_cut_is_an_error(whole):
    assert decode(whole).size == (11, 13)
    for end in range(3, len(whole.rstrip())):
        with pytest.raises(DecodeError, match="damaged or truncated: the PNM"):
            decode(whole[:end])


def test_a_second_image_behind_the_first_is_refused():
    one = b"P5 2 2 255\n1234"

    assert decode(one + b"\n").size == (2, 2)
    with pytest.raises(DecodeError, match="several frames"):
        decode(one + one)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"P7\nWIDTH 2\n", "a PAM is not read: save it as PGM or PPM"),
        (b"Pf\n2 2\n-1.0\n", r"a PFM \(32-bit floating point\) is not read"),
        (b"P5 0 5 255\n", "says that it has 0 x 5 pixels"),
        (b"P5 2 2 70000\n" + bytes(9), "up to 70000"),
        (b"P5 two 2 255\n", "has no numbers there"),
        (b"P5 99999 99999 255\n", "truncated"),
        (b"P2 2 2 255\n1 2 x 4", "among the PNM's pixels|shorter than its header says"),
    ],
)
def test_what_is_not_read_is_named(data, reason):
    with pytest.raises(DecodeError, match=reason):
        decode(data)


def test_the_limit_comes_before_the_pixels():
    with pytest.raises(DecodeError, match="more than the limit"):
        decode(b"P2 99999 99999 255\n")


def test_a_comment_without_end_takes_no_time():
    with pytest.raises(DecodeError, match="ends in its header"):
        decode(b"P5 " + b"#\n" * 500_000 + b"#" * 500_000)
