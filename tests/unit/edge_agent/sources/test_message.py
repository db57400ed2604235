"""What a message offers, whatever it holds: a name, an identity, bytes or a reason."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.mqtt import Arrived, Refused
from edge_agent.mqtt.pattern import TopicPattern
from edge_agent.settings import MqttSourceSettings
from edge_agent.sources.inside import TooLargeError, read_inside
from edge_agent.sources.message import read_message
from edge_agent.types import Image, ReplyTo

PNG = b"\x89PNG\r\n\x1a\n"


def offer(payload=PNG, *, topic="cameras/top/7", pattern="cameras/{camera}/{id}", **changes):
    fields = {"packet": 9, "repeated": False, "retained": False, **changes}
    own = {key: fields.pop(key) for key in ("folder", "encoding", "field") if key in fields}
    settings = MqttSourceSettings(topic=pattern, max_bytes=1000, **own)
    return read_message(Arrived(topic, payload, **fields), TopicPattern(pattern), settings)


def test_the_topic_says_which_image_it_is():
    found = offer()
    assert (found.name, found.file) == ("top-7", "top-7.png")
    assert (found.certain, found.content, found.refused, found.reply) == (True, PNG, None, None)
    assert found.captured is None


def test_properties_say_it_better():
    user = (
        ("id", "8"),
        ("name", "Teil ß/8.PNG"),
        ("captured", "12.5"),
        ("id", "9"),
        ("camera", ""),
    )
    found = offer(user=user, response_topic="plc/a", correlation=b"\xff")
    assert found.name == "Teil ß/8.PNG"
    assert found.file == "Teil_8.PNG"
    assert found.captured == 12.5
    assert found.reply == ReplyTo("plc/a", b"\xff")
    assert found.identity == offer(user=(("id", "8"),)).identity
    assert found.identity != offer().identity


def test_an_image_is_known_by_its_cameras_id():
    first = offer(packet=1)
    assert offer(PNG + b"other", packet=2).identity == first.identity
    assert offer(topic="cameras/side/7").identity != first.identity
    assert re.fullmatch("[0-9a-f]{24}", first.identity)


def test_without_an_id_by_packet_and_bytes():
    first = offer(pattern="cameras/#")
    assert not first.certain
    assert offer(pattern="cameras/#", repeated=True).identity == first.identity
    assert offer(pattern="cameras/#", packet=10).identity != first.identity
    assert offer(PNG + b"x", pattern="cameras/#").identity != first.identity
    assert first.name == f"7-{first.identity}"


def test_what_was_too_large_is_known_by_its_hash():
    found = offer(b"", refused=Refused(5000, "ab" * 32))
    assert (found.refused.image.bytes, found.refused.image.sha256) == (5000, "ab" * 32)
    assert "5000 bytes is more than the limit of 1000" in found.refused.reason


@pytest.mark.parametrize("topic", ["", "a/+", "a/#", "#", "a\0b", "a/" * 100])
def test_a_reply_goes_nowhere_where_no_one_can_publish(topic):
    assert offer(response_topic=topic).reply is None


anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


@given(
    payload=st.binary(max_size=300),
    user=st.lists(
        st.tuples(st.sampled_from(["id", "name", "captured", "camera"]) | anything, anything)
    ),
    topic=anything,
    response=anything,
)
def test_whatever_arrives_has_a_safe_file_name(payload, user, topic, response):
    found = offer(payload, topic=topic, user=tuple(user), response_topic=response)
    assert re.fullmatch("[A-Za-z0-9][A-Za-z0-9._-]{0,130}", found.file)
    assert re.fullmatch("[0-9a-f]{24}", found.identity)
    assert found.name.isprintable()
    assert len(found.name) <= 500


@given(st.binary(max_size=300) | st.from_type(dict).map(lambda d: json.dumps(repr(d)).encode()))
def test_whatever_names_a_file_is_an_offer(tmp_path_factory, payload):
    found = offer(payload, folder=Path(tmp_path_factory.getbasetemp()))
    assert found.refused is not None
    assert found.content == payload


def test_a_named_file_tells_its_name_and_time(tmp_path):
    (tmp_path / "sub").mkdir()
    file = tmp_path / "sub" / "part 1.png"
    file.write_bytes(PNG)
    os.utime(file, (100.5, 100.5))
    found = offer(b'{"file": "sub/part 1.png", "more": 1}', folder=tmp_path, pattern="cameras/#")
    assert (found.name, found.content, found.captured) == ("part 1.png", PNG, 100.5)
    assert not found.certain
    named = offer(
        b'{"file": "sub/part 1.png", "id": "5", "captured": 7}', folder=tmp_path, pattern="c/#"
    )
    assert (named.certain, named.captured) == (True, 7.0)


def test_what_else_a_message_says_of_its_file_may_be_numbers(tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    payload = b'\xef\xbb\xbf{"file": "a.png", "id": 7, "camera": 3, "captured": 1795507200250}\0\0'
    found = offer(payload, folder=tmp_path, pattern="c/#")
    assert (found.refused, found.content, found.certain) == (None, PNG, True)
    assert (found.name, found.camera, found.captured) == ("a.png", "3", 1795507200.25)
    text = payload.replace(b"7", b'"7"', 1).removeprefix(b"\xef\xbb\xbf").rstrip(b"\0")
    assert offer(text, folder=tmp_path, pattern="c/#").identity == found.identity
    named = offer(b'{"file": "a.png", "name": 8}', folder=tmp_path, pattern="c/#")
    assert named.name == "8"


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b'{"path": "a.png"}', 'names no file: "file" is missing'),
        (b'{"file": 7}', 'names no file: "file" is a number, and must be text'),
        (b'{"file": ""}', 'names no file: "file" is empty, and must be text'),
        (b'{"file": "a.png", "id": [7]}', '"id" in the message is a list: it must be text or'),
        (b'{"file": "a.png", "name": {}}', '"name" in the message is an object: it must be'),
        (b'{"file": "a.png", "camera": true}', '"camera" in the message is true: it must be'),
        (b"a.png", "the message is not JSON: "),
        (PNG, "the message is an image as it is (.png)"),
    ],
)
def test_the_reason_says_which_field_is_wrong(tmp_path, payload, why):
    (tmp_path / "a.png").write_bytes(PNG)
    assert why in offer(payload, folder=tmp_path).refused.reason


def test_a_time_that_is_not_understood_costs_no_image(tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    os.utime(tmp_path / "a.png", (100.5, 100.5))
    found = offer(b'{"file": "a.png", "captured": ["now"]}', folder=tmp_path)
    assert (found.content, found.refused, found.captured) == (PNG, None, 100.5)
    assert found.doubt.startswith("captured 'a list' can't be parsed")


BASE64 = base64.b64encode(PNG)


@pytest.mark.parametrize(
    ("encoding", "payload"),
    [
        ("base64", BASE64),
        ("base64", b'\xef\xbb\xbf"' + BASE64 + b'"\0'),
        ("base64", b"data:image/png;base64," + BASE64),
        ("json", b'{"image": "' + BASE64 + b'", "other": 1}'),
        ("json", b'{"image": "data:image/png;base64,' + BASE64 + b'"}\0'),
    ],
)
def test_an_image_in_text_is_read_where_the_settings_say_so(encoding, payload):
    found = offer(payload, encoding=encoding)
    assert (found.content, found.refused, found.file) == (PNG, None, "top-7.png")
    plain = offer(payload)
    assert plain.content == payload
    assert f'set [source.mqtt] encoding = "{encoding}"' in plain.refused.reason
    assert plain.refused.image == Image(hashlib.sha256(payload).hexdigest(), len(payload))


def test_json_says_of_its_image_what_it_says_of_a_file():
    payload = json.dumps({"id": 9, "frame": BASE64.decode(), "captured": "2026-11-24 08:00:00"})
    found = offer(payload.encode(), encoding="json", field="frame", pattern="cameras/#")
    assert (found.content, found.certain, found.captured) == (PNG, True, 1795507200.0)
    assert "names no time zone and is read as UTC" in found.doubt


@pytest.mark.parametrize(
    ("encoding", "payload", "why"),
    [
        ("base64", PNG, "the message is an image as it is (.png)"),
        ("base64", b'{"image": "' + BASE64 + b'"}', "the message is JSON"),
        ("base64", b"A" * 2000, "has 1500 bytes: the limit is 1000"),
        ("json", PNG, "the message is an image as it is (.png)"),
        ("json", BASE64, "the message is an image as base64"),
        ("json", b'{"data": "x"}', '"image" in the message is missing'),
        ("json", b'{"image": 5}', '"image" in the message is a number'),
        ("json", b'{"image": "\\ud800"}', "the message is"),
        ("json", b'{"image": "no words!"}', "the message is not base64"),
    ],
)
def test_a_message_of_another_kind_is_named_as_what_it_is(encoding, payload, why):
    found = offer(payload, encoding=encoding)
    assert why in found.refused.reason
    assert f'([source.mqtt] encoding = "{encoding}")' in found.refused.reason
    assert found.content == payload


def test_a_message_may_be_as_large_as_its_image_makes_it():
    settings = MqttSourceSettings(topic="a", max_bytes=10_000, encoding="base64")
    assert len(base64.encodebytes(bytes(10_000)).replace(b"\n", b"\r\n")) <= settings.limit < 90_000
    with pytest.raises(ValueError, match="remove one of the two"):
        MqttSourceSettings(topic="a", encoding="json", folder=Path("/x"))


def test_a_file_that_grows_or_is_exchanged_stays_within(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_bytes(b"x" * 11)
    with pytest.raises(TooLargeError) as raised:
        read_inside(tmp_path / "in", "a", 10)
    assert raised.value.size == 11
    (tmp_path / "out").write_bytes(b"secret")
    (tmp_path / "in" / "up").symlink_to("..")
    for named in ("up/out", "../out", "in/../../out", str(tmp_path / "out"), "", ".", "/", "a\0"):
        with pytest.raises(OSError, match=r".") as refused:
            read_inside(tmp_path / "in", named, 100)
        assert refused.value.strerror
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(OSError, match="not a regular file"):
            read_inside(tmp_path, "in", 100)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
