"""What a message offers, whatever it holds: a name, an identity, bytes or a reason."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.mqtt import Arrived, Refused
from edge_agent.pattern import TopicPattern
from edge_agent.settings import MqttSourceSettings
from edge_agent.sources.inside import TooLargeError, read_inside
from edge_agent.sources.message import read_message, read_time
from edge_agent.types import ReplyTo

PNG = b"\x89PNG\r\n\x1a\n"


def offer(payload=PNG, *, topic="cameras/top/7", pattern="cameras/{camera}/{id}", **changes):
    fields = {"packet": 9, "repeated": False, "retained": False, **changes}
    folder = fields.pop("folder", None)
    settings = MqttSourceSettings(topic=pattern, folder=folder, max_bytes=1000)
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


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1795507200.25", 1795507200.25),
        ("2026-11-24T08:00:00Z", 1795507200.0),
        ("2026-11-24T08:00:00.250+00:00", 1795507200.25),
        ("2026-11-24T09:00:00+01:00", 1795507200.0),
        ("2026-11-24 08:00:00", 1795507200.0),
        ("", None),
        ("yesterday", None),
        ("nan", None),
        ("inf", None),
        ("-5", None),
        ("1e300", None),
        ("9999-12-31T23:59:59-23:59", None),
    ],
)
def test_times(text, seconds):
    found = read_time(text)
    assert found == seconds or (seconds is None and found is not None and found > 2.5e11)


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
    assert found.content == b""


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
