from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.system.text import did_you_mean, iso_utc, plain, printable


def test_iso_utc():
    assert iso_utc(0) == "1970-01-01T00:00:00.000Z"
    assert iso_utc(1_790_000_000.9996) == "2026-09-21T14:13:20.999Z"
    assert iso_utc(1e300) == "9999-12-31T23:59:59.000Z"
    assert iso_utc(-1e300) == "0001-01-01T00:00:00.000Z"


@given(st.text(st.characters(exclude_categories=()), max_size=2000))
def test_printable_text_is_short_printable_and_encodable(text):
    shown = printable(text)
    assert len(shown) <= 500
    assert shown.isprintable()
    shown.encode()  # no lone surrogate is left


def test_printable_leaves_text_alone():
    assert printable("größer als 5 µm 漢字") == "größer als 5 µm 漢字"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("\x1b[1;31m2026 [E:onnxruntime]\x1b[m no device\x1b[0K", "2026 [E:onnxruntime] no device"),
        ("\x1b]0;a title\x07x \x1b]8;;http://a\x1b\\y \x1b(Bz", "x y z"),
        ("\x9b31mred \x9d0;title\x9c.", "red ."),
        ("no colour \x1b", "no colour \\x1b"),
        ("\x07größer\xff", "\\x07größerÿ"),
    ],
)
def test_another_programs_words_have_no_colours(said, shown):
    assert plain(said) == shown


@given(st.text(st.characters(exclude_categories=()), max_size=2000))
def test_plain_text_is_printable(text):
    assert plain(text).isprintable()


@pytest.mark.parametrize(
    ("word", "known", "said"),
    [
        ("tial", ["tail", "export"], "; did you mean tail?"),
        ("TAIL", ["tail", "export"], "; did you mean tail?"),
        ("a", ["tail"], ""),
        ("x" * 100_000, ["tail", "export"], ""),
        ("x", [], ""),
        ("", ["tail"], ""),
    ],
)
def test_what_was_meant(word, known, said):
    assert did_you_mean(word, known) == said
