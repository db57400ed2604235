"""Payloads that are text: read where they should be, and named as what they are where not."""

from __future__ import annotations

import base64
import contextlib
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.sources.encoded import as_text, decode_base64, read_object, text_field, what_it_is

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8
BASE64 = base64.b64encode(PNG)


@pytest.mark.parametrize(
    "text",
    [
        BASE64,
        BASE64.rstrip(b"="),
        base64.urlsafe_b64encode(PNG),
        base64.encodebytes(PNG).replace(b"\n", b"\r\n"),
        b"data:image/png;base64," + BASE64,
        b"DATA:image/png;name=a;BASE64," + BASE64,
    ],
)
def test_base64_in_all_its_dresses(text):
    assert decode_base64(text, len(PNG)) == PNG


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "its text is empty"),
        (b"====", "its text is empty"),
        (b"data:image/png;base64,", "its text is empty"),
        (b"data:image/png,abc", "a data URI without ;base64, which is not read"),
        (b"abcde", "its base64 is cut short"),
        (b"ab=cdefg", "not base64"),
        (b"hello world! what?", "not base64"),
        (b"\xff\xd8\xff\xe0", "an image as it is (.jpg)"),
        (b'{"a": "' + BASE64 + b'"}', "JSON"),
    ],
)
def test_what_is_no_base64_is_said(text, why):
    with pytest.raises(ValueError, match=r".") as caught:
        decode_base64(text, 1 << 20)
    assert why in str(caught.value)


def test_too_much_is_refused_before_it_is_decoded(monkeypatch):
    looked = []
    decode = base64.b64decode
    monkeypatch.setattr(base64, "b64decode", lambda t, **k: looked.append(len(t)) or decode(t, **k))
    with pytest.raises(ValueError, match=f"has {len(PNG)} bytes: the limit is {len(PNG) - 1}"):
        decode_base64(BASE64, len(PNG) - 1)
    assert max(looked, default=0) <= 512  # enough to see that it is base64


@pytest.mark.parametrize("payload", [b"A" * (8 << 20), b"data:" * (1 << 20), b"=" * (8 << 20)])
def test_time_is_linear(payload):
    began = time.process_time()
    with contextlib.suppress(ValueError):
        decode_base64(payload, 1 << 30)
    what_it_is(payload)
    as_text(payload)
    assert time.process_time() - began < 5  # some hundredths of a second


@pytest.mark.parametrize(
    ("payload", "what"),
    [
        (PNG, "an image as it is (.png)"),
        (BASE64, "an image as base64"),
        (b'"' + BASE64 + b'"', "an image as base64"),
        (b"\xef\xbb\xbf \n" + base64.encodebytes(PNG), "an image as base64"),
        (b"data:image/png;base64," + BASE64, "a data URI"),
        (b' {"image": "x"}', "JSON"),
        (b"[" * 100, "JSON"),
        (b"words", ""),
        (b"P2\n2 2\n255\n0 1 2 3\n", ""),
        (b"", ""),
        (b"\0" * 100, ""),
    ],
)
def test_a_payload_is_named_as_what_it_is(payload, what):
    assert what_it_is(payload) == what


@given(st.binary(max_size=400) | st.text(max_size=100).map(str.encode))
def test_whatever_comes_is_read_or_refused_in_words(payload):
    what_it_is(payload)
    for read in (read_object, as_text, lambda text: decode_base64(text, 100)):
        with contextlib.suppress(ValueError):
            read(payload)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_mark_before_json_and_nuls_behind_it_are_passed_over(encoding):
    payload = (' {"file": "ß.png"}\n' + "\0" * 3).encode(encoding)
    assert read_object(payload) == {"file": "ß.png"}


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"part 1.png", "the message is not JSON: "),
        (b"[" * 60_000, "the message is not JSON: "),
        (b"[1]", "the message is JSON, but not an object: it is a list"),
        (b'"a"', "the message is JSON, but not an object: it is text"),
        (PNG, "the message is an image as it is (.png)"),
        (b"", "the message is not JSON: "),
        (b"\xff\xfe{", "truncated data"),
        (b"[" + b"[]," * 100_000 + b"0]", "it has more than 100000 values"),
    ],
)
def test_what_is_no_object_is_said(payload, why):
    with pytest.raises(ValueError, match=r".") as caught:
        read_object(payload)
    assert why in str(caught.value)


def test_numbers_become_text_and_what_else_there_is_does_not():
    message = json.loads('{"a": 7, "b": 12345678901234567890, "c": 1.5, "d": "x", "e": null}')
    assert [text_field(message, name) for name in "abcdef"] == [
        *("7", "12345678901234567890", "1.5", "x", "", "")
    ]
    for value, kind in ((True, "true"), ([1], "a list"), ({}, "an object")):
        with pytest.raises(ValueError, match=f'"id" in the message is {kind}: it must be text or'):
            text_field({"id": value}, "id")
    with pytest.raises(ValueError, match="number out of range"):
        text_field(read_object(b'{"id": ' + b"9" * 5000 + b"}"), "id")
