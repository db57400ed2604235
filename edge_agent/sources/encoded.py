"""What a payload is that is text: JSON, base64, a data URI. Linear in its size, and bounded by it.

Nothing is decoded beyond text: pixels are for a worker.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from pydantic_core import from_json

_BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_BLANKS = b" \t\r\n"
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_DATA_URI = re.compile(rb"data:[^,]{0,200},", re.IGNORECASE)
_VALUES = 100_000  # of a message's JSON, some 10 MB: as many as fit into it would be gigabytes
_LOOK = 512  # characters that are looked at to see whether something is base64
_BASE64 = re.compile(rb"[A-Za-z0-9+/]+=*")

SUFFIXES = (
    (b"\x89PNG", ".png"),
    (b"\xff\xd8\xff", ".jpg"),
    (b"BM", ".bmp"),
    (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
    (b"RIFF", ".webp"),
    (b"P5", ".pgm"),
    (b"P6", ".ppm"),
)
"""What images begin with, and what their files' names end in."""


def suffix_of(content: bytes) -> str:
    """What the name of a file with these bytes ends in; empty where they are no image."""
    return next((end for start, end in SUFFIXES if content.startswith(start)), "")


def as_text(payload: bytes) -> bytes:
    """Text as UTF-8, without a byte order mark, blanks around it, and NULs at its end.

    Raises:
        ValueError: it has the mark of UTF-16, and is none.
    """
    for mark, encoding in _BOMS:
        if payload.startswith(mark):
            payload = payload[len(mark) :]
            if encoding != "utf-8":
                payload = payload.decode(encoding).encode()
            break
    return payload.rstrip(b"\0" + _BLANKS).lstrip(_BLANKS)


def read_object(payload: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ValueError: it is none; the message says what is wrong.
    """
    try:
        text = as_text(payload)
        if sum(text.count(mark) for mark in (b",", b"[", b"{")) > _VALUES:
            raise ValueError(f"it has more than {_VALUES} values")
        found = from_json(text)
    except ValueError as error:
        what = what_it_is(payload).replace("JSON", "")
        raise ValueError(f"the message is {what or f'not JSON: {error}'}") from None
    if not isinstance(found, dict):
        what = f"the message is JSON, but not an object: it is {shown(found)}"
        raise ValueError(what)  # noqa: TRY004  of what was sent, not of the program
    return found


def text_field(message: dict[str, Any], name: str) -> str:
    """A field of text or a number, as text; empty where it is missing or null.

    Raises:
        ValueError: it is something else.
    """
    value = message.get(name)
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f'"{name}" in the message is {shown(value)}: it must be text or a number')


def decode_base64(text: bytes, limit: int) -> bytes:
    """The bytes of base64, or of a data URI: with either alphabet, line breaks, or no padding.

    Args:
        text: as `as_text` returns it.
        limit: bytes that may come of it; more are refused before anything is decoded.

    Raises:
        ValueError: it is no base64, or too large; the message says which.
    """
    what = what_it_is(text)
    if what == "JSON" or suffix_of(text):
        raise ValueError(f"the message is {what}")
    if head := _DATA_URI.match(text):
        if not head[0].lower().endswith(b";base64,"):
            raise ValueError("the image is a data URI without ;base64, which is not read")
        text = text[head.end() :]
    text = text.translate(_URL_SAFE, _BLANKS).rstrip(b"=")
    size = len(text) * 3 // 4
    if size > limit:
        raise ValueError(f"the image in the message has {size} bytes: the limit is {limit}")
    if not text:
        raise ValueError("the message holds no image: its text is empty")
    if len(text) % 4 == 1:
        raise ValueError("the image in the message is not whole: its base64 is cut short")
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise ValueError("the message is not base64") from None


def what_it_is(payload: bytes) -> str:
    """What a payload is that is not what was asked for, in words; empty: nothing that is known."""
    if suffix := suffix_of(payload):
        return f"an image as it is ({suffix})"
    head = payload[:_LOOK].removeprefix(b"\xef\xbb\xbf").lstrip(_BLANKS)
    if _DATA_URI.match(head):
        return "a data URI"
    if head[:1] in (b"{", b"["):
        return "JSON"
    text = head.lstrip(b'"').translate(_URL_SAFE, _BLANKS)
    text = text[: len(text) // 4 * 4]
    if _BASE64.fullmatch(text) and suffix_of(base64.b64decode(text)):
        return "an image as base64"
    return ""


def shown(value: object) -> str:
    """A JSON value as a person is shown it: by its kind, where it may be long."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    kinds: dict[type, str] = {str: "text", list: "a list", dict: "an object"}
    return kinds.get(type(value), "a number")
