"""The socket that lets nothing through that was not asked for, however its bytes come."""

from __future__ import annotations

import hashlib
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.mqtt.message import MAX_HEAD
from edge_agent.mqtt.strainer import Strainer
from tests.rawbroker import digits

LIMIT = 1000
EMPTY = b"\x26\0\0\0\0"
"""A user property without a name or a value."""


def publish(payload, *, topic=b"t", qos=1, properties=b""):
    body = len(topic).to_bytes(2, "big") + topic + (b"\0\7" if qos else b"")
    body += digits(len(properties)) + properties + payload
    return bytes([0x30 | qos << 1]) + digits(len(body)) + body


class Link:
    """A socket whose reads end where the test wants."""

    def __init__(self, content, sizes):
        self._content = bytearray(content)
        self._sizes = list(sizes)
        self.largest = 0

    def recv(self, size):
        if not self._content:
            raise BlockingIOError
        if self._sizes:
            size = min(size, max(1, self._sizes.pop()))
        self.largest = max(self.largest, size)
        came = bytes(self._content[:size])
        del self._content[:size]
        return came


def read(strainer):
    """Every packet, read in the way of paho: one byte, its length, its rest."""

    def exactly(count):
        found = b""
        for _ in range(100_000):
            if len(found) == count:
                return found
            strainer.begin_turn()
            try:
                found += strainer.recv(count - len(found))
            except BlockingIOError:
                if not strainer._link._content:
                    raise
        raise AssertionError("it does not end")

    packets = []
    while True:
        try:
            first = exactly(1)
        except BlockingIOError:
            return packets
        length = shift = 0
        while True:
            (digit,) = exactly(1)
            length |= (digit & 127) << shift
            shift += 7
            if not digit & 128:
                break
        packets.append(first + digits(length) + exactly(length))


def payloads(packets):
    """Of messages as paho gets them: all that is left beside it is a topic and the id."""
    found = []
    for packet in packets:
        qos = packet[0] >> 1 & 3
        _, rest = packet.split(b"\0\1-" + b"\0\7" * qos + b"\0", 1)
        found.append(rest)
    return found


small = st.binary(max_size=LIMIT)
large = st.integers(LIMIT + 1, 3 * LIMIT).map(lambda n: bytes([n % 256]) * n)
user = st.lists(st.integers(0, 300).map(lambda n: ("n" * n, "v" * (300 - n))), max_size=3)
parts = st.fixed_dictionaries(
    {"topic": st.text("abc/", max_size=300), "qos": st.sampled_from([0, 1]), "user": user}
)


def said(user):
    return b"".join(
        b"\x26" + len(n).to_bytes(2, "big") + n.encode() + len(v).to_bytes(2, "big") + v.encode()
        for n, v in user
    )


@given(
    st.lists(st.tuples(small | large, parts), max_size=6),
    st.lists(st.integers(1, 2000)),
)
def test_small_ones_pass_and_large_ones_leave_their_size(messages, sizes):
    pings = b"\xd0\0"
    content = b""
    for payload, part in messages:
        topic, properties = part["topic"].encode(), said(part["user"])
        content += publish(payload, topic=topic, qos=part["qos"], properties=properties) + pings
    strainer = Strainer(Link(content, sizes), LIMIT)
    found = read(strainer)
    assert found[1::2] == [pings] * len(messages)
    passed = payloads(found[::2])
    for got, arrived, (payload, part) in zip(passed, strainer.messages, messages, strict=True):
        assert arrived.topic == part["topic"]
        assert arrived.packet == (7 if part["qos"] else 0)
        assert list(arrived.user) == part["user"]
        assert arrived.malformed == ""
        if len(payload) <= LIMIT:
            assert (got, arrived.refused) == (payload, None)
        else:
            assert got == b""
            assert arrived.refused.bytes == len(payload)
            assert arrived.refused.sha256 == hashlib.sha256(payload).hexdigest()


def test_nothing_large_is_asked_of_the_socket_at_once():
    link = Link(publish(b"x" * 5_000_000), [])
    (packet,) = read(Strainer(link, LIMIT))
    assert len(packet) < 100
    assert link.largest <= 1 << 16


@pytest.mark.parametrize("payload", [b"x" * 5000, b"x" * 500])
def test_properties_without_measure_are_dropped_and_the_payload_is_not(payload):
    link = Link(publish(payload, properties=EMPTY * 400_000), [])
    strainer = Strainer(link, LIMIT)
    (packet,) = read(strainer)
    (arrived,) = strainer.messages
    assert f"topic and properties have {2_000_001} bytes: at most {MAX_HEAD}" in arrived.malformed
    assert (arrived.topic, arrived.packet, arrived.user) == ("t", 7, ())
    assert (arrived.refused is not None) is (len(payload) > LIMIT)
    assert payloads([packet]) == [b"" if arrived.refused else payload]
    assert link.largest <= 1 << 16


def test_as_many_properties_as_are_allowed_are_read():
    most = (MAX_HEAD - 1) // len(EMPTY)
    strainer = Strainer(Link(publish(b"", properties=EMPTY * most) * 3, []), LIMIT)
    assert payloads(read(strainer)) == [b""] * 3
    assert [len(arrived.user) for arrived in strainer.messages] == [most] * 3
    assert [arrived.malformed for arrived in strainer.messages] == [""] * 3


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (publish(b"image", topic=b"\xff"), "topic is not UTF-8"),
        (publish(b"image", topic=b"a\0"), "topic holds a NUL"),
        (publish(b"image", properties=b"\x7f"), "property 127"),
        (b"\x32\x0e\0\1t\0\7\xff\xff\xff\x7fimage", "properties are longer than what is left"),
    ],
)
def test_a_message_that_can_not_be_read_leaves_its_payload_and_what_comes_behind_it(content, why):
    strainer = Strainer(Link(content + publish(b"next"), []), LIMIT)
    found = payloads(read(strainer))
    first, second = strainer.messages
    assert why in first.malformed
    assert first.packet == 7
    assert found == [b"image", b"next"]
    assert second.malformed == ""


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\x30\xff\xff\xff\xff\x01", "a length of more than four bytes"),
        (b"\x32\4\xff\x7f\0\1" + b"x" * 100, "shorter than its topic"),
        (b"\x32\6\0\1t\0\7\x80\x80\x01" + b"x" * 100, "shorter than it says"),
        (publish(b"x", qos=2), "QoS 2"),
        (b"\x40" + digits(5000) + b"x" * 5000, "a packet of kind 4 with 5000 bytes"),
    ],
)
def test_what_is_not_mqtt_ends_the_connection(content, why):
    strainer = Strainer(Link(content, []), LIMIT)
    with pytest.raises(OSError, match=why) as raised:
        read(strainer)
    assert not isinstance(raised.value, BlockingIOError)
    assert why in strainer.broken


def test_a_flood_is_read_in_turns():
    one = publish(b"", properties=EMPTY * 10_000)
    strainer = Strainer(Link(one * 20, []), LIMIT)
    turns = 0
    while len(strainer.messages) < 20:
        strainer.begin_turn()
        turns += 1
        before = len(strainer.messages)
        try:
            while True:
                strainer.recv(1 << 16)
        except BlockingIOError:
            pass
        assert 1 <= len(strainer.messages) - before <= 3
    assert turns >= 7


def test_the_end_of_the_connection_is_told():
    here, there = socket.socketpair()
    with here, there:
        there.sendall(publish(b"x" * 5000)[:100])
        there.shutdown(socket.SHUT_WR)
        strainer = Strainer(here, LIMIT)
        assert strainer.recv(1) == b""
