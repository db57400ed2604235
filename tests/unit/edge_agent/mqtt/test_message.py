"""What stands beside a payload, right and wrong."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.mqtt.message import Said, read_properties, read_topic


def text(content: bytes) -> bytes:
    return len(content).to_bytes(2, "big") + content


def pair(name: str, value: str) -> bytes:
    return b"\x26" + text(name.encode()) + text(value.encode())


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=50)
OTHERS = (
    b"\x01\1" + b"\x02\0\0\0\5" + b"\x23\0\7" + b"\x0b\xff\xff\xff\x7f" + b"\x0b\1"
    b"\x03" + text(b"image/png")
)


@given(st.lists(st.tuples(words, words)), words, st.binary(max_size=50))
def test_what_is_said_is_read_and_the_rest_is_passed_over(user, topic, correlation):
    content = OTHERS + b"\x08" + text(topic.encode()) + b"\x09" + text(correlation)
    for name, value in user:
        content += pair(name, value) + OTHERS
    assert read_properties(content) == Said(tuple(user), topic, correlation)


def test_a_byte_order_mark_is_a_character_like_others():
    assert read_properties(pair("\ufeffname", "\ufeff")).user == (("\ufeffname", "\ufeff"),)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\x7f", "property 127 is none that a message has"),
        (b"\x11\0\0\0\0", "property 17 is none"),  # a session's, no message's
        (b"\x26", "cut short"),
        (b"\x26\0\1", "cut short"),
        (b"\x26\0\1n", "cut short"),
        (b"\x26\0\1n\0\5v", "cut short"),
        (b"\x02\0", "cut short"),
        (b"\x0b\x80", "cut short"),
        (b"\x08\xff\xff", "cut short"),
        (b"\x08\0\1\xff", "response topic is not UTF-8"),
        (b"\x03\0\1\xff", "content type is not UTF-8"),
        (b"\x26\0\1\xff\0\0", "user property is not UTF-8"),
        (b"\x26\0\0\0\1\0", "user property holds a NUL"),
        (b"\x26\0\3\xed\xa0\x80\0\0", "not UTF-8"),  # a surrogate
    ],
)
def test_what_is_wrong_is_said(content, why):
    with pytest.raises(ValueError, match=why):
        read_properties(OTHERS + content)


@given(st.binary(max_size=300))
def test_whatever_comes_is_read_or_refused(content):
    with contextlib.suppress(ValueError):
        read_properties(content)


@pytest.mark.parametrize("topic", [b"\xff", b"a\0b", b"\xed\xa0\x80"])
def test_a_topic_is_text(topic):
    with pytest.raises(ValueError, match="its topic"):
        read_topic(topic)
