"""The source of images over MQTT, against a broker that says what a test wants."""

from __future__ import annotations

import errno
import hashlib
import logging
import time
from contextlib import ExitStack, closing

import pytest

from edge_agent.mqtt import MqttOptions
from edge_agent.settings import MqttSourceSettings
from edge_agent.sources import mqtt
from edge_agent.sources.mqtt import MqttSource
from edge_agent.sources.session import KnownSession
from edge_agent.sources.spool import Spool
from edge_agent.types import Seen
from tests.rawbroker import RawBroker, publish

CLIENT = "camera"


class Disk(Spool):
    """A spool on a disk that has as much room as a test gives it."""

    def __init__(self, root):
        super().__init__(root / "work", root / "processed", root / "quarantine")
        self.free = 1 << 30
        self.quota = 1 << 30
        """What a single image may have, whatever is free."""
        self.tries = 0

    def receive(self, identity, name, content, note, mtime_ns=None):
        self.tries += len(content) > 1000
        if len(content) > self.free:
            raise OSError(errno.ENOSPC, "No space left on device")  # as write says it: no name
        if len(content) > self.quota:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
        return super().receive(identity, name, content, note, mtime_ns)

    def room(self):
        return self.free


@pytest.fixture
def raw():
    with closing(RawBroker()) as made:
        yield made


@pytest.fixture
def start(raw, tmp_path, monkeypatch):
    """``start(receive_maximum=...)``: a source that receives."""
    monkeypatch.setattr(mqtt, "TICK", 0.02)
    with ExitStack() as stack:

        def make(
            *,
            topic="cameras/{camera}/{id}",
            ack_timeout=60.0,
            patience=0.0,
            seen=lambda _: None,
            **settings,
        ):
            options = MqttOptions(
                CLIENT,
                "127.0.0.1",
                raw.port,
                ack_timeout=ack_timeout,
                reconnect_min=0.01,
                reconnect_max=0.02,
            )
            known = KnownSession(
                tmp_path / "session.json",
                broker=options.broker,
                client_id=options.client_id,
                topic=topic,
            )
            disk = Disk(tmp_path)
            source = MqttSource(
                MqttSourceSettings(topic=topic, **settings),
                options,
                disk,
                known,
                seen=seen,
                wake=lambda: None,
                patience=patience,
            )
            source.start()
            stack.callback(source.close)
            return source, disk

        yield make


def until(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.005)


def image(number, size=10, **changes):
    return publish(b"cameras/top/%d" % number, b"x" * size, number, **changes)


def claimed(source, count):
    found = []

    def enough():
        found.extend(source.claim(10))
        return len(found) >= count

    until(enough)
    return [claim.name for claim in found]


def test_what_does_not_fit_is_left_and_others_go_on(start, raw):
    source, disk = start()
    disk.free = 50_000
    raw.send(CLIENT, image(1, 60_000) + b"".join(image(n) for n in range(2, 12)))
    assert claimed(source, 10) == [f"top-{n}" for n in range(2, 12)]
    until(lambda: len(raw.acknowledged) == 10)
    (warning,) = source.warnings
    assert "top-1 (60000 bytes)" in warning
    assert "No space left on device" in warning
    assert source.trouble == ""
    # Without room it is not asked for, however long it is.
    tried = disk.tries
    raw.send(CLIENT, image(12))
    claimed(source, 1)
    assert (raw.connections[CLIENT], disk.tries) == (1, tried)

    disk.free = 1 << 30
    until(lambda: raw.connections[CLIENT] == 2)
    raw.send(CLIENT, image(1, 60_000))

    assert claimed(source, 1) == ["top-1"]
    until(lambda: 1 in raw.acknowledged)
    until(lambda: source.warnings == ())
    assert raw.connections[CLIENT] == 2
    assert source.ignored == {}


def test_what_fails_though_there_is_room_is_tried_at_growing_intervals(start, raw, monkeypatch):
    """A quota, say: nobody tells how much of it is left."""
    source, disk = start()
    disk.quota = 50_000
    raw.send(CLIENT, image(1, 60_000))
    pauses = []
    for connection in (2, 3):
        until(lambda: source._left)
        (left,) = source._left.values()
        pauses.append(left.at - time.monotonic())
        until(lambda n=connection: raw.connections[CLIENT] == n)
        raw.send(CLIENT, image(1, 60_000))
    until(lambda: source._left)
    (left,) = source._left.values()
    pauses.append(left.at - time.monotonic())
    assert left.tries == 2
    assert pauses[0] <= 1
    assert 1 < pauses[2] <= 4
    assert "Disk quota exceeded" in source.warnings[0]


@pytest.mark.parametrize("known", [False, True])
def test_a_journal_that_can_not_be_read_leaves_it_at_the_broker(start, raw, known, caplog):
    failing = True

    def ask(_):
        if failing:
            raise OSError(errno.EIO, "the journal failed")
        return Seen(failed=False) if known else None

    source, _ = start(seen=ask)
    raw.send(CLIENT, image(1))
    until(lambda: source.warnings)
    assert "the journal failed" in source.warnings[0]
    failing = False
    until(lambda: raw.connections[CLIENT] == 2)
    raw.send(CLIENT, image(1))

    until(lambda: source.repeats if known else source.waiting())
    until(lambda: not source.warnings)
    assert "Traceback" not in caplog.text


def test_what_comes_again_before_there_is_room_is_not_written_in_vain(start, raw):
    source, disk = start()
    disk.free = 50_000
    raw.send(CLIENT, image(1, 60_000))
    until(lambda: source._left)
    raw._links[CLIENT].shutdown(2)  # for a reason of the network's own
    until(lambda: raw.connections[CLIENT] == 2)
    raw.send(CLIENT, image(1, 60_000) + image(2))
    assert claimed(source, 1) == ["top-2"]
    assert disk.tries == 1
    assert source._left


def test_what_has_no_room_is_tried_all_the_same_after_long(start, raw, monkeypatch):
    """A disk may count otherwise; and then again after long, not at each turn."""
    monkeypatch.setattr(mqtt, "LONGEST", 0.5)
    _, disk = start()
    disk.free = 50_000
    raw.send(CLIENT, image(1, 60_000))
    for connection in (2, 3):
        until(lambda n=connection: raw.connections[CLIENT] == n)
        raw.send(CLIENT, image(1, 60_000))
        until(lambda n=connection: disk.tries == n)
    assert raw.connections[CLIENT] == 3


def test_as_many_as_may_be_on_their_way_are_left_and_then_nothing_arrives(start, raw):
    source, disk = start(receive_maximum=3)
    disk.free = 50_000
    raw.send(CLIENT, image(1, 60_000) + image(2, 60_000))
    until(lambda: len(source._left) == 2)
    until(lambda: source.warnings)
    assert source.trouble == ""

    raw.send(CLIENT, image(3, 60_000))

    until(lambda: source.trouble)
    assert "top-3 (60000 bytes) and 2 others can't be taken" in source.trouble
    assert "3 images at most (receive_maximum): then no other arrives" in source.trouble
    assert source.warnings == ()


def test_a_place_that_takes_nothing_at_all_is_a_trouble_at_once(start, raw):
    source, disk = start()
    disk.free = 0
    raw.send(CLIENT, image(1))
    until(lambda: "top-1 (10 bytes)" in source.trouble)
    disk.free = 1 << 20
    until(lambda: raw.connections[CLIENT] == 2)
    raw.send(CLIENT, image(1))
    assert claimed(source, 1) == ["top-1"]
    until(lambda: source.trouble == "")


def test_what_comes_with_qos_0_and_does_not_fit_is_lost_and_named(start, raw):
    source, disk = start()
    disk.free = 50_000
    raw.send(CLIENT, image(1, 60_000, qos=0) + image(2))
    assert claimed(source, 1) == ["top-2"]
    until(lambda: source.ignored)
    assert "is lost: it was sent with QoS 0" in source.ignored["top-1"]
    assert source.warnings == ()


def test_what_the_broker_does_not_send_again_is_lost_and_named(start, raw, monkeypatch):
    """It had a time to live, say."""
    monkeypatch.setattr(mqtt, "RESENT", 0.3)
    source, disk = start()
    disk.free = 50_000
    raw.send(CLIENT, image(1, 60_000))
    until(lambda: source._left)
    disk.free = 1 << 30
    until(lambda: source.ignored)
    assert "did not send it again" in source.ignored["top-1"]
    until(lambda: source.warnings == ())


def test_what_comes_again_slowly_is_waited_for(start, raw, monkeypatch):
    monkeypatch.setattr(mqtt, "RESENT", 0.3)
    source, disk = start()
    disk.free = 50_000
    raw.send(CLIENT, image(1, 60_000))
    until(lambda: source._left)
    disk.free = 1 << 30
    until(lambda: raw.connections[CLIENT] == 2)
    whole = image(1, 60_000)
    for start_ in range(0, len(whole), 6000):
        raw.send(CLIENT, whole[start_ : start_ + 6000])
        time.sleep(0.1)
    assert claimed(source, 1) == ["top-1"]
    assert source.ignored == {}


def test_a_broker_that_does_not_say_whether_it_sends_images_is_left(start, raw):
    raw.suback = lambda _number: b""
    source, _ = start(ack_timeout=0.3)
    until(lambda: "has not answered the subscription for 0 s" in source.trouble)
    until(lambda: raw.connections[CLIENT] > 2)
    assert source.settled


def test_a_broker_that_comes_and_goes_is_told_once(start, raw, caplog):
    """Each time it was all well again, and a line in the log."""
    caplog.set_level(logging.INFO)
    source, _ = start()

    def drop():
        link = raw._links.pop(CLIENT, None)
        if link is not None:
            time.sleep(0.03)  # it is to be heard that it was granted
            link.shutdown(2)
        return raw.connections.get(CLIENT, 0) > 20

    until(drop)
    lines = [r.getMessage() for r in caplog.records if "images from MQTT" in r.getMessage()]
    assert len(lines) <= 4, lines
    assert source.trouble


# -- files that messages name --------------------------------------------------------------------


def test_a_file_that_is_not_there_holds_up_no_other_and_is_the_brokers_no_more(
    start, raw, tmp_path
):
    (tmp_path / "camera").mkdir()
    source, disk = start(folder=tmp_path / "camera", patience=600.0, receive_maximum=2)
    (tmp_path / "camera" / "here.png").write_bytes(b"here")
    names = [b"none1", b"none2", b"none3", b"here"]
    for number, name in enumerate(names, 1):
        payload = b'{"file": "%s.png"}' % name
        raw.send(CLIENT, publish(b"cameras/top/%d" % number, payload, number))
    assert claimed(source, 1) == ["here.png"]
    until(lambda: sorted(raw.acknowledged) == [1, 2, 3, 4])
    raw.send(CLIENT, publish(b"cameras/top/1", b'{"file": "none1.png"}', 5))
    until(lambda: source.repeats == 1)  # it is waited for already
    (tmp_path / "camera" / "none2.png").write_bytes(b"late")

    assert claimed(source, 1) == ["none2.png"]
    assert disk.depth() == 2


def test_an_id_whose_file_could_not_be_read_is_read_when_it_is_named_again(start, raw, tmp_path):
    journal = {}
    (tmp_path / "camera").mkdir()
    source, _ = start(folder=tmp_path / "camera", seen=journal.get)

    def send(number):
        raw.send(CLIENT, publish(b"cameras/top/1", b'{"file": "a.png"}', number))

    send(1)
    found = []
    until(lambda: found.extend(source.claim(1)) or found)
    first = found.pop()
    assert "No such file" in first.refused.reason
    journal[first.id] = Seen(failed=True)
    source._spool.quarantine(first, "why")
    (tmp_path / "camera" / "a.png").write_bytes(b"image")
    send(2)
    until(lambda: found.extend(source.claim(1)) or found)
    again = found.pop()
    assert (again.id != first.id, again.path.read_bytes()) == (True, b"image")
    journal[again.id] = Seen(failed=False, sha256=hashlib.sha256(b"image").hexdigest(), bytes=5)
    source._spool.keep(again)
    send(3)
    until(lambda: source.repeats == 1)
    assert source.ignored == {}


def test_times_that_are_not_plain_are_spoken_of_once_a_camera(start, raw, caplog):
    source, _ = start()
    said = [b"2026-11-24 08:00:00", b"yesterday", b"tomorrow"]
    for number, text in enumerate(said * 2, 1):
        properties = b"\x26\0\x08captured" + len(text).to_bytes(2, "big") + text
        topic = b"cameras/%s/%d" % (b"top" if text.startswith(b"2") else b"side", number)
        raw.send(CLIENT, publish(topic, b"x", number, properties=properties))
    claimed(source, 6)
    lines = [r.getMessage() for r in caplog.records if "captured" in r.getMessage()]
    assert len(lines) == 2
    assert lines[0].startswith("top: captured '2026-11-24 08:00:00' names no time zone")
    assert lines[1].startswith("side: captured 'yesterday' can't be parsed")


# -- the session -------------------------------------------------------------------------------


def test_a_session_that_begins_is_none_that_was_lost(start, raw):
    source, _ = start()
    until(lambda: source.settled)
    assert (source.forgotten, source.warnings) == (0, ())


def test_a_session_that_is_gone_is_told_for_a_while(start, raw, monkeypatch, caplog):
    monkeypatch.setattr(mqtt, "FORGOTTEN", 0.5)
    source, disk = start()
    until(lambda: source.settled)
    disk.free = 50_000
    raw.send(CLIENT, image(1, 60_000))  # it is gone with the session
    until(lambda: source._left)
    raw.connack = lambda _client: b"\0\0\0"
    raw._links[CLIENT].shutdown(2)
    until(lambda: source.forgotten == 1)
    assert "had no session of camera" in caplog.text
    assert any("images that waited there may be lost" in told for told in source.warnings)
    until(lambda: source.warnings == ())
    assert source.forgotten == 1
    raw.connack = lambda _client: b"\1\0\0"
    raw._links[CLIENT].shutdown(2)
    until(lambda: raw.connections[CLIENT] == 3)
    raw.send(CLIENT, image(2))
    claimed(source, 1)
    assert source.forgotten == 1


def known(file, **changes):
    own = {"broker": "b:1883", "client_id": "c", "topic": "t", **changes}
    return KnownSession(file, **own)


def test_a_session_is_known_by_broker_client_and_topic_over_restarts(tmp_path):
    file = tmp_path / "session.json"
    assert not known(file).expected
    known(file).begun()
    assert known(file).expected
    assert not known(file, broker="other:1883").expected
    assert not known(file, client_id="d").expected
    assert not known(file, topic="u").expected
    known(file, topic="u").begun()
    assert known(file, topic="u").expected
    assert not known(file).expected


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"])
def test_a_file_that_a_disk_has_lost_expects_nothing(tmp_path, content):
    file = tmp_path / "session.json"
    file.write_bytes(content)
    session = known(file)
    assert not session.expected
    session.begun()
    assert known(file).expected


def test_what_can_not_be_noted_is_known_until_the_end(tmp_path, caplog):
    session = known(tmp_path / "none" / "session.json")
    session.begun()
    assert session.expected
    assert "can't be written" in caplog.text
    session.begun()
    assert caplog.text.count("can't be written") == 1
