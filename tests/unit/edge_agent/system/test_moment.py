"""Times as people write and read them, on a machine in Berlin."""

from __future__ import annotations

import argparse
import time
from datetime import datetime, timezone
from datetime import time as day_time

import pytest

from edge_agent.system import moment as module
from edge_agent.system.moment import iso_local, moment, periods, shifts


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()


NOW = utc("2026-11-24T09:30:00")  # 10:30 in Berlin, a Tuesday


@pytest.fixture(autouse=True)
def berlin(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        patch.setattr(module.time, "time", lambda: NOW)
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("22:00", "2026-11-23T21:00:00"),
        ("6:00", "2026-11-24T05:00:00"),
        ("10:30", "2026-11-24T09:30:00"),
        ("10:30:01", "2026-11-23T09:30:01"),
        ("today", "2026-11-23T23:00:00"),
        ("Yesterday", "2026-11-22T23:00:00"),
        ("8h", "2026-11-24T01:30:00"),
        ("90m", "2026-11-24T08:00:00"),
        ("1.5h", "2026-11-24T08:00:00"),
        ("30s", "2026-11-24T09:29:30"),
        ("2d", "2026-11-22T09:30:00"),
        ("1w", "2026-11-17T09:30:00"),
        ("2026-11-24", "2026-11-23T23:00:00"),
        ("2026-07-24T08:00", "2026-07-24T06:00:00"),
        ("2026-11-24T08:00:00Z", "2026-11-24T08:00:00"),
        ("2026-11-24T08:00:00+05:00", "2026-11-24T03:00:00"),
    ],
)
def test_what_since_takes(text, wanted):
    assert moment(text).at(NOW) == utc(wanted)


@pytest.mark.parametrize(
    ("since", "until", "hours"),
    [("22:00", "06:00", 8), ("06:00", "14:00", 8), ("today", "06:00", 6), ("22:00", "22:00", 24)],
)
def test_until_is_the_first_such_time_after_since(since, until, hours):
    begin = moment(since).at(NOW)
    assert moment(until).at(NOW, after=begin) - begin == hours * 3600


@pytest.mark.parametrize(
    "text", ["", "25:00", "8x", "soon", "12", "-1h", "2026-13-01", "22:00:61", "9" * 30 + "h"]
)
def test_what_is_no_time_is_said_with_examples(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is not a time: use 22:00"):
        moment(text)


def test_far_away_is_no_reason_to_fail():
    far = moment("999999999w").at(NOW)
    assert moment("06:00").at(NOW, after=far) > far


def test_times_are_printed_with_their_offset():
    assert iso_local(NOW + 0.25) == "2026-11-24T10:30:00.250+01:00"
    assert iso_local(utc("2026-07-24T06:00:00"), precise=False) == "2026-07-24T08:00+02:00"
    assert iso_local(1e300) == "9999-12-31T23:59:59.000Z"


def begins(kind, *times, **options):
    return [iso_local(periods(kind, **options)(utc(t)), precise=False) for t in times]


def test_hours_also_the_one_that_comes_twice():
    assert begins("hour", "2026-11-24T09:59:59") == ["2026-11-24T10:00+01:00"]
    assert begins("hour", "2026-10-25T00:30:00", "2026-10-25T01:30:00") == [
        *("2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00")
    ]


def test_days_and_shifts():
    assert begins("day", "2026-11-23T22:59:59", "2026-11-23T23:00:00") == [
        *("2026-11-23T00:00+01:00", "2026-11-24T00:00+01:00")
    ]
    found = begins("shift", "2026-11-24T04:59:59", "2026-11-24T05:00:00", "2026-11-24T21:00:00")
    assert found == [
        *("2026-11-23T22:00+01:00", "2026-11-24T06:00+01:00", "2026-11-24T22:00+01:00")
    ]
    assert begins("shift", "2026-11-24T04:00:00", begins=shifts("7:30, 19:30")) == [
        "2026-11-23T19:30+01:00"
    ]
    assert periods("shift")(1e300) == 1e300


def test_when_shifts_begin():
    assert shifts("22:00,6:00,14:00,6:00") == (day_time(6), day_time(14), day_time(22))
    for text in ("", "6", "06:00,", "25:00", "06:00;14:00"):
        with pytest.raises(argparse.ArgumentTypeError, match="use 06:00,14:00,22:00"):
            shifts(text)
