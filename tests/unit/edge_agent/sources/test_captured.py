"""When an image was taken, as cameras write it."""

from __future__ import annotations

import pytest

from edge_agent.sources.captured import read_captured


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1795507200.25", 1795507200.25),
        ("1795507200250", 1795507200.25),
        ("1795507200250.0", 1795507200.25),
        ("1.79550720025e12", 1795507200.25),
        ("1795507200250000", 1795507200.25),
        ("1795507200250000000", 1795507200.25),
        ("2026-11-24T08:00:00Z", 1795507200.0),
        ("2026-11-24T08:00:00.250+00:00", 1795507200.25),
        ("2026-11-24T09:00:00.2500000+01:00", 1795507200.25),
        ("2026-11-24T08:00:00.250000000Z", 1795507200.25),
        (" 2026-11-24T09:00:00+01:00 ", 1795507200.0),
        ("", None),
    ],
)
def test_times_that_are_plain(text, seconds):
    found, said = read_captured(text)
    assert found == (None if seconds is None else pytest.approx(seconds, abs=1e-6))
    assert said == ""


@pytest.mark.parametrize("text", ["2026-11-24 08:00:00", "2026-11-24T08:00:00.000"])
def test_a_time_without_a_zone_is_said_to_be_taken_as_utc(text):
    seconds, said = read_captured(text)
    assert seconds == 1795507200.0
    assert said == f"captured {text!r} names no time zone and is read as UTC"


@pytest.mark.parametrize(
    "text",
    ["yesterday", "nan", "inf", "-5", "1e300", "9999-12-31T23:59:59-23:59", "[1]", "9" * 400],
)
def test_what_is_not_understood_is_said(text):
    seconds, said = read_captured(text)
    assert seconds is None or seconds > 2.5e11
    assert seconds is not None or "can't be parsed, so the time of receipt is used" in said
    assert len(said) < 300
