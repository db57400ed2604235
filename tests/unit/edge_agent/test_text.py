from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.text import iso_utc, printable


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
