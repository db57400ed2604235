"""Forms that a text must have, each also in words: nobody should have to read a pattern."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
DIRECTORY = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
LOWER = r"^[a-z0-9][a-z0-9_-]*$"
VERSION = r"^[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}$"
"""Three numbers, each short enough to be compared as one."""
SHA256 = r"^[0-9a-f]{64}$"

IN_WORDS = {
    NAME: "must be 1 to 64 of the letters a to z and A to Z, digits and . _ -, the first a letter "
    "or digit",
    DIRECTORY: "must be of the letters a to z and A to Z, digits and . _ -, the first a letter or "
    "digit",
    LOWER: "must be of the letters a to z, digits and _ -, the first a letter or digit",
    VERSION: "must be three numbers with dots between, such as 1.2.0",
    SHA256: "must be a SHA-256: 64 of the digits 0 to 9 and a to f",
}


def version_key(version: str) -> tuple[int, ...]:
    """What versions of the form `VERSION` are compared by."""
    return tuple(int(part) for part in version.split("."))


def explained(detail: Mapping[str, Any]) -> str:
    """What pydantic says of a value (one of ``ValidationError.errors()``), as a person reads it."""
    if detail["type"] == "string_pattern_mismatch":
        return IN_WORDS.get(detail["ctx"]["pattern"], "is not of the form that is asked for")
    return str(detail["msg"]).removeprefix("Value error, ")
