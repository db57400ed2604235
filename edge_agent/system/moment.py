"""Times as people write and read them: of this machine's zone, always with their offset."""

from __future__ import annotations

import argparse
import re
import time
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import time as day_time
from typing import TYPE_CHECKING

from edge_agent.system.text import iso_utc

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_UNITS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
_AGO = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([smhdw])")
_DAYS = {"today": 0, "yesterday": 1}
_CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2})?")

SHIFTS = (day_time(6), day_time(14), day_time(22))
"""When shifts begin where nobody says otherwise."""


@dataclass(frozen=True)
class Moment:
    """A point in time that may depend on when it is asked for."""

    seconds: float | None = None
    """Since the epoch."""
    clock: day_time | None = None
    """A time of the day instead."""

    def at(self, now: float, after: float | None = None) -> float:
        """Seconds since the epoch: of a time of the day, the last one, or the first one later.

        Args:
            now: the present.
            after: behind which it must lie.
        """
        if self.clock is None:
            return self.seconds or 0.0
        day = _local(now if after is None else max(after, 0.0)).date()
        turns = [on(day + timedelta(days), self.clock) for days in (-1, 0, 1)]
        if after is None:
            return max(turn for turn in turns if turn <= now)
        return min(turn for turn in turns if turn > after)


def moment(text: str) -> Moment:
    """What ``--since`` and ``--until`` take: see the message of the error.

    Raises:
        argparse.ArgumentTypeError: it is none of these.
    """
    words = text.strip().lower()
    now = time.time()
    if found := _AGO.fullmatch(words):
        return Moment(now - float(found[1]) * _UNITS[found[2]])
    if words in _DAYS:
        day = _local(now).date() - timedelta(_DAYS[words])
        return Moment(on(day, day_time()))
    try:
        if _CLOCK.fullmatch(words):
            return Moment(clock=clock(words))
        # Without a zone it is this machine's time.
        return Moment(datetime.fromisoformat(text.strip().replace("Z", "+00:00")).timestamp())
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time: use 22:00 (the last one), today, yesterday, 8h (ago; also s, "
            "m, d, w), 2026-01-31 or 2026-01-31T18:00, in this machine's time, or with Z or +01:00"
        ) from None


def clock(text: str) -> day_time:
    """A time of the day.

    Raises:
        ValueError: it is none.
    """
    return day_time.fromisoformat(text.strip().rjust(5, "0") if len(text.strip()) < 6 else text)


def shifts(text: str) -> tuple[day_time, ...]:
    """What ``--shifts`` takes: when shifts begin.

    Raises:
        argparse.ArgumentTypeError: these are no times of a day.
    """
    try:
        return tuple(sorted({clock(part) for part in text.split(",")}))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} are not times of day: use 06:00,14:00,22:00"
        ) from None


def iso_local(seconds: float, *, precise: bool = True) -> str:
    """Seconds since the epoch in this machine's zone: ``2026-11-24T09:00:00.123+01:00``.

    Not ``precise``: to the minute. What no calendar holds is UTC, as `iso_utc` bounds it.
    """
    try:
        local = _local(seconds)
    except (ValueError, OverflowError, OSError):
        return iso_utc(seconds)
    return local.isoformat(timespec="milliseconds" if precise else "minutes")


def periods(kind: str, begins: Sequence[day_time] = SHIFTS) -> Callable[[float], float]:
    """Gives the begin of the ``hour``, ``day`` or ``shift`` that a time lies in.

    Both are seconds since the epoch. An hour that the clock goes through twice is two.
    """
    starts = (day_time(),) if kind == "day" else sorted(begins)

    def begin(seconds: float) -> float:
        try:
            local = _local(seconds)
            if kind == "hour":
                return local.replace(minute=0, second=0, microsecond=0).timestamp()
            days = (local.date(), local.date() - timedelta(1))
            turns = (on(day, at) for day in days for at in reversed(starts))
            return next((turn for turn in turns if turn <= seconds), seconds)
        except (ValueError, OverflowError, OSError):  # in no calendar: a period of its own
            return seconds

    return begin


def on(day: date, at: day_time) -> float:
    """Seconds since the epoch of a time of a day, in this machine's zone."""
    return datetime.combine(day, at).timestamp()


def _local(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds).astimezone()
