"""The socket that lets no large payload through, however its bytes come."""

from __future__ import annotations

import hashlib
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.mqtt.strainer import Strainer

LIMIT = 1000


def digits(value):
    found = bytearray()
    while True:
        value, low = divmod(value, 128)
        found.append(low | (128 if value else 0))
        if not value:
            return bytes(found)


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


small = st.binary(max_size=LIMIT)
large = st.integers(LIMIT + 1, 3 * LIMIT).map(lambda n: bytes([n % 256]) * n)
parts = st.fixed_dictionaries(
    {"topic": st.binary(max_size=300), "qos": st.sampled_from([0, 1]), "properties": small}
)


@given(
    st.lists(st.tuples(small | large, parts), max_size=6),
    st.lists(st.integers(1, 2000)),
)
def test_small_ones_pass_unchanged_and_large_ones_leave_their_size(messages, sizes):
    pings = b"\xd0\0"
    content = b"".join(publish(payload, **part) + pings for payload, part in messages)
    strainer = Strainer(Link(content, sizes), LIMIT)
    found = read(strainer)
    assert found[1::2] == [pings] * len(messages)
    for packet, (payload, part) in zip(found[::2], messages, strict=True):
        if len(payload) <= LIMIT:
            assert packet == publish(payload, **part)
            continue
        mark = packet[-56:]
        assert packet == publish(mark, **part)
        refused = strainer.refused(mark)
        assert refused.bytes == len(payload)
        assert refused.sha256 == hashlib.sha256(payload).hexdigest()


def test_nothing_large_is_asked_of_the_socket_at_once():
    link = Link(publish(b"x" * 5_000_000), [])
    (packet,) = read(Strainer(link, LIMIT))
    assert len(packet) < 100
    assert link.largest <= 1 << 16


def test_properties_without_measure_are_dropped_too():
    link = Link(publish(b"x" * 5000, properties=b"p" * 500_000), [])
    strainer = Strainer(link, LIMIT)
    (packet,) = read(strainer)
    assert strainer.refused(packet[-56:]).bytes == 5000
    assert packet == publish(packet[-56:])


@pytest.mark.parametrize(
    "content",
    [b"\x30\xff\xff\xff\xff\x01", b"\x32\xff\x7f\x00\x01tXX\xff\xff\xff\x7f" + b"x" * 100],
    ids=["a length of five bytes", "properties longer than the packet"],
)
def test_what_is_not_mqtt_ends_the_connection(content):
    with pytest.raises(OSError, match=r"length|shorter") as raised:
        read(Strainer(Link(content, []), LIMIT))
    assert not isinstance(raised.value, BlockingIOError)


def test_the_end_of_the_connection_is_told():
    here, there = socket.socketpair()
    with here, there:
        there.sendall(publish(b"x" * 5000)[:100])
        there.shutdown(socket.SHUT_WR)
        strainer = Strainer(here, LIMIT)
        assert strainer.recv(1) == b""
