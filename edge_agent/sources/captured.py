"""When an image was taken, as cameras write it."""

from __future__ import annotations

import re
from datetime import datetime, timezone

_SECONDS = 1e11  # in the year 5138; as milliseconds, in 1973
_UNITS = (1.0, 1e3, 1e6, 1e9)  # s, ms, us, ns
_FRACTION = re.compile(r"([.,]\d{6})\d+")  # .NET writes seven digits, others nine


def read_captured(text: str) -> tuple[float | None, str]:
    """Seconds since the epoch, and what there is to say of how they were read.

    A number is seconds, milliseconds, microseconds or nanoseconds since 1970, whichever lies
    between 1973 and 5138 (seconds also before). ISO 8601 without a zone is UTC.

    Returns:
        The time, or None where there is none or it is not understood; and a sentence for whoever
        set the camera up, empty where there is nothing to say.
    """
    text = text.strip()
    if not text:
        return None, ""
    try:
        found = _number(float(text))
    except ValueError:
        found = None
    else:
        return found, "" if found is not None else _not_understood(text)
    try:
        moment = datetime.fromisoformat(_FRACTION.sub(r"\1", text.replace("Z", "+00:00")))
        seconds = moment.replace(tzinfo=moment.tzinfo or timezone.utc).timestamp()
    except (ValueError, OverflowError):
        return None, _not_understood(text)
    if moment.tzinfo is None:
        return seconds, f"captured {text[:60]!r} names no time zone and is read as UTC"
    return seconds, ""


def _number(number: float) -> float | None:
    found = (number / unit for unit in _UNITS if 0 <= number / unit < _SECONDS)
    return next(found, None)


def _not_understood(text: str) -> str:
    return (
        f"captured {text[:60]!r} can't be parsed, so the time of receipt is used: send ISO "
        "8601 with a zone (2026-11-24T08:00:00Z), or s, ms, us or ns since 1970"
    )
