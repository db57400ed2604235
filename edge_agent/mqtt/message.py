"""What a message says beside its payload: read in one pass, and refused in words where it is wrong.

paho reads properties in quadratic time, and leaves the broker over a message that it can't read.
Such a message would be sent again at every connection, and nothing behind it would ever come. So
properties are read here, and paho is shown none.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_HEAD = 1 << 16
"""Bytes that a message's topic and properties may have together: beyond that nothing is read."""

# MQTT 5.0, 2.2.2.2: what a PUBLISH may have. First those of a fixed size in bytes, then those that
# are made of strings with their length before them.
_SIZES = {0x01: 1, 0x02: 4, 0x23: 2}
_STRINGS = {0x03: 1, 0x08: 1, 0x09: 1, 0x26: 2}
_CONTENT_TYPE, _RESPONSE_TOPIC, _CORRELATION, _SUBSCRIPTION, _USER = 0x03, 0x08, 0x09, 0x0B, 0x26


@dataclass(frozen=True)
class Refused:
    """The payload of a message that was too large."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Arrived:
    """A message for this client."""

    topic: str
    payload: bytes
    packet: int = 0
    """What to acknowledge; 0: the message was sent with QoS 0, and nothing is to be."""
    repeated: bool = False
    """The broker has sent it before, and has had no acknowledgement."""
    retained: bool = False
    user: tuple[tuple[str, str], ...] = ()
    response_topic: str = ""
    correlation: bytes | None = None
    refused: Refused | None = None
    """Set where the payload was too large; it is empty then."""
    malformed: str = ""
    """Why what stands beside the payload can't be used, in words; empty where it can."""


@dataclass(frozen=True)
class Said:
    """What the properties of a message say, as far as anyone here wants to know."""

    user: tuple[tuple[str, str], ...] = ()
    response_topic: str = ""
    correlation: bytes | None = None


def read_topic(content: bytes) -> str:
    """A topic.

    Raises:
        ValueError: it is none; the message says why.
    """
    return _text(content, "topic")


def read_properties(content: bytes) -> Said:
    """The properties of a PUBLISH, without the length that stands before them.

    Raises:
        ValueError: they can't be read; the message says why.
    """
    user: list[tuple[str, str]] = []
    response_topic, correlation = "", None
    place, end = 0, len(content)
    while place < end:
        kind = content[place]
        place += 1
        if kind == _SUBSCRIPTION:
            while place < end and content[place] & 128:
                place += 1
            place += 1
        elif kind in _SIZES:
            place += _SIZES[kind]
        elif kind in _STRINGS:
            strings = []
            for _ in range(_STRINGS[kind]):
                start = place + 2
                place = start + int.from_bytes(content[place:start], "big")
                strings.append(content[start:place])
            if place > end:
                break
            if kind == _USER:
                name, value = (_text(string, "user property") for string in strings)
                user.append((name, value))
            elif kind == _RESPONSE_TOPIC:
                response_topic = _text(strings[0], "response topic")
            elif kind == _CORRELATION:
                correlation = strings[0]
            else:
                _text(strings[0], "content type")
        else:
            raise ValueError(f"its property {kind} is none that a message has")
    if place > end:
        raise ValueError("its properties are cut short")
    return Said(tuple(user), response_topic, correlation)


def _text(content: bytes, what: str) -> str:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise ValueError(f"its {what} is not UTF-8") from None
    if "\0" in text:
        raise ValueError(f"its {what} holds a NUL character")
    return text
