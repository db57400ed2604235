"""Text that leaves the station: times and names in a form that every reader accepts."""

from __future__ import annotations

import json
import re
import sys
from datetime import datetime, timezone
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterable

_FIRST, _LAST = -62135596800.0, 253402300799.0  # years 1 and 9999: what a date can be
# Control sequences, and strings such as a window's title (ECMA-48, 5.4 and 5.6), 7 and 8 bits.
_STEERING = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*"
    r"(?:\x07|\x1b\\|\x9c|$)|\x1b[ -/]*[0-~]"
)
_LIKE = 0.6  # from 0 to 1: what difflib takes for close
_LONGEST = 4000  # characters of a line that a person is shown
SHORT = 12
"""Hexadecimal digits of a digest that a person is shown."""


def iso_utc(seconds: float) -> str:
    """Seconds since the epoch as ISO 8601 UTC with milliseconds: ``2026-11-24T08:00:00.123Z``.

    A file's mtime can be any number: what no calendar holds becomes the nearest that one does.
    """
    bounded = min(max(seconds, _FIRST), _LAST)
    moment = datetime.fromtimestamp(bounded, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def titled(name: str, version: str, digest: str) -> str:
    """A bundle as people tell it from others: ``brackets 1.4.0 (3f2a91c07d5e)``.

    Args:
        name: of the bundle.
        version: of the bundle.
        digest: SHA-256 of its manifest, of which `SHORT` digits are shown; empty: not known.
    """
    return f"{name} {version} ({digest[:SHORT]})" if digest else f"{name} {version}"


def printable(text: str, limit: int = 500) -> str:
    """``text`` without control characters and lone surrogates, at most ``limit`` characters.

    Neither SQLite nor JSON takes a lone surrogate, which is what a file name that is not UTF-8
    becomes in Python, and the messages of decoders quote such names.
    """
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def plain(text: str, limit: int = 500) -> str:
    """What another program has said, without its colours; the rest as `printable`.

    Not for names: two that differ in such bytes alone must stay two.
    """
    return printable(_STEERING.sub("", text), limit)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean ...?`` with what a mistyped word is nearest to; empty: to nothing."""
    said = word[:100].lower()
    likeness = {name: SequenceMatcher(None, said, name.lower()).ratio() for name in known}
    near = max(likeness, key=lambda name: likeness[name], default="")
    return f"; did you mean {near}?" if near and likeness[near] >= _LIKE else ""


def printable_lines(text: str) -> str:
    """``text`` for a person's terminal: its lines stay, nothing in them can steer it."""
    return "\n".join(printable(line, _LONGEST) for line in text.split("\n"))


def say(text: str = "", *, stream: TextIO | None = None, flush: bool = False) -> None:
    """Print for a person, on stdout; the one way for whatever holds words of others."""
    print(printable_lines(text), file=stream or sys.stdout, flush=flush)


def say_json(value: object, indent: int | None = None) -> None:
    """Print for a machine: in ASCII, whatever the locale, and safe to look at."""
    text = json.dumps(value, indent=indent)
    print(text.replace("\x7f", "\\u007f"), flush=True)  # noqa: T201
