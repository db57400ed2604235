"""The doctor and the topic that images come from: it finds out, and takes nothing."""

from __future__ import annotations

import socket
import threading

import pytest

from edge_agent.doctor.source import apart, listen, look_at_answer, look_at_settings, look_at_source
from edge_agent.mqtt import MqttOptions
from edge_agent.mqtt.pattern import TopicPattern
from edge_agent.settings import MqttSourceSettings
from tests.line import wait_for

SHARED = "$share/inspectors/cameras/{camera}/{id}"


def wanted(topic="cameras/{camera}/{id}", **more):
    return MqttSourceSettings(topic=topic, **more)


def options(port):
    return MqttOptions(
        client_id="probe", host="127.0.0.1", port=port, keepalive=600, connect_timeout=20.0
    )


# -- a real broker -----------------------------------------------------------------------------


@pytest.mark.broker
@pytest.mark.parametrize("topic", ["cameras/{camera}/{id}", SHARED])
def test_a_topic_that_may_be_listened_to(broker, topic):
    (found,) = look_at_source(wanted(topic), options(broker.port), 20.0)

    assert found.level == "ok"
    assert "can be subscribed to" in found.what


@pytest.mark.broker
@pytest.mark.parametrize("topic", ["cameras/{camera}/{id}", SHARED])
def test_no_image_is_taken_from_the_stations(broker, wire, subscribe, topic):
    """The doctor is held where it listens: the broker has accepted that, and it does not know."""
    station = subscribe(broker.port, TopicPattern(topic).filter, client_id="station")
    camera = subscribe(broker.port, "nothing", client_id="camera")
    looks = []
    doctor = threading.Thread(
        target=lambda: looks.extend(look_at_source(wanted(topic), options(wire.port), 120.0))
    )
    wire.fault = "hold"
    doctor.start()
    try:
        wait_for(lambda: "Sending SUBACK to probe-source" in broker.log())
        for number in range(20):
            assert camera.send(f"cameras/top/{number}", b"image" * 600) == 0
        wait_for(lambda: "Sending PUBLISH to probe-source" in broker.log())
    finally:
        wire.fault = ""
        doctor.join()
    station.wait(lambda received: len(received) >= 20)

    assert [int(r.topic.rsplit("/", 1)[1]) for r in station.received()] == list(range(20))
    assert {found.level for found in looks} == {"ok"}
    # Nor does a copy go over the wire: the broker drops what it would send.
    assert b"imageimage" not in wire.heard


@pytest.mark.broker
def test_a_broker_that_takes_no_large_messages(make_broker):
    broker = make_broker("allow_anonymous true\nmax_packet_size 1000000\n").start()

    found = look_at_source(wanted(), options(broker.port), 20.0)
    enough = look_at_source(wanted(max_bytes=500_000), options(broker.port), 20.0)

    assert [one.level for one in found] == ["warning", "ok"]
    assert "messages of up to 1000000 bytes, this station up to 134217728" in found[0].what
    assert [one.level for one in enough] == ["ok"]


@pytest.mark.broker
def test_a_broker_that_repeats_nothing(make_broker):
    broker = make_broker("allow_anonymous true\nmax_qos 0\n").start()

    assert look_at_source(wanted(), options(broker.port), 20.0)[0].what.startswith(
        "the broker supports QoS 0 only"
    )


# -- what mosquitto never says -----------------------------------------------------------------


def answering(*answers: bytes):
    """What is found out where a broker sends these, each to one packet."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            link = server.accept()[0]
            with link:
                for answer in answers:
                    link.recv(4096)
                    link.sendall(answer)
                link.recv(4096)

        thread = threading.Thread(target=serve)
        thread.start()
        heard = listen(options(server.getsockname()[1]), "cameras/#", 20.0)
        thread.join()
    return heard


def test_a_subscription_that_is_refused():
    heard = answering(b"\x20\x03\x00\x00\x00", b"\x90\x04\x00\x01\x00\x87")

    (found,) = look_at_answer(wanted(), heard)

    assert found.level == "error"
    assert found.what.startswith("the broker refuses to send messages on cameras/#: this station")
    assert "access list" in found.mend


def test_a_broker_without_shared_subscriptions():
    none = b"\x20\x05\x00\x00\x02\x2a\x00"
    heard = answering(none, b"\xe0\x02\x9e\x00")

    (found,) = look_at_answer(wanted(SHARED), heard)

    assert found.level == "error"
    assert found.what.startswith("the broker does not support shared subscriptions")


def test_a_broker_that_lets_nobody_in():
    (found,) = look_at_answer(wanted(), answering(b"\x20\x03\x00\x87\x00"))

    assert found.level == "error"
    assert "refuses this client" in found.what


def test_a_broker_that_never_answers_the_subscription():
    with socket.create_server(("127.0.0.1", 0)) as server:
        heard = []
        thread = threading.Thread(
            target=lambda: heard.append(listen(options(server.getsockname()[1]), "a", 0.5))
        )
        thread.start()
        link = server.accept()[0]
        with link:
            link.recv(4096)
            link.sendall(b"\x20\x03\x00\x00\x00")
            thread.join()

    assert look_at_answer(wanted(), heard[0])[0].what == (
        "the broker does not say whether it sends cameras/+/+"
    )


# -- what needs no broker ----------------------------------------------------------------------


def test_a_shared_topic_is_looked_at_in_a_group_of_its_own():
    one, other = apart("$share/inspectors/cameras/#"), apart("$share/inspectors/cameras/#")

    assert one.startswith("$share/doctor-")
    assert one.endswith("/cameras/#")
    assert one != other
    assert apart("cameras/#") == "cameras/#"


def test_settings_that_lose_images_or_keep_them_from_the_others():
    short = wanted(session_expiry=60)
    greedy = wanted(SHARED, receive_maximum=1000)
    heard = answering(b"\x20\x03\x00\x00\x00", b"\x90\x04\x00\x01\x00\x01")

    assert [one.level for one in look_at_answer(short, heard)] == ["ok"]
    assert "after 60 s without this station" in look_at_settings(short)[0].what
    assert "1000 images may wait" in look_at_settings(greedy)[0].what
    assert look_at_settings(wanted(receive_maximum=1000)) == []
    assert look_at_settings(wanted(SHARED)) == []
