"""Every way in which a broker can be out of reach is said in words."""

from __future__ import annotations

import socket
import ssl

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.mqtt.backoff import Backoff
from edge_agent.mqtt.reasons import (
    closed_by_broker,
    refused_connection,
    refused_publish,
    unreachable,
)


def codes_of(packet):
    return [
        code
        for code, names in ReasonCode.names.items()
        if code >= 128 and any(packet in packets for packets in names.values())
    ]


@pytest.mark.parametrize("code", codes_of(PacketTypes.CONNACK))
def test_every_refusal_of_a_connection_has_words(code):
    assert "reason code" not in refused_connection("b:1", code)


def test_what_an_operator_reads():
    assert "user name or password" in refused_connection("b:1", 134)
    assert "fix the broker's access list" in refused_publish("a/b", 135)
    assert "same client id" in closed_by_broker("b:1", 142)
    assert "reason code 200" in refused_publish("a/b", 200)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(111, "refused"), "nothing listens at b:1"),
        (socket.gaierror(-2, "unknown"), "can't be resolved"),
        (TimeoutError("timed out"), "no answer from b:1"),
        (PermissionError(1, "Operation not permitted"), "IPAddressAllow="),
        (PermissionError(13, "Permission denied", "/x/ca.pem"), "/x/ca.pem can't be used"),
        (FileNotFoundError(2, "No such file", "/x/ca.pem"), "/x/ca.pem can't be used"),
        (ssl.SSLError(1, "wrong version number"), "no TLS with b:1"),
        (OSError(113, "No route to host"), "No route to host"),
    ],
)
def test_network_errors(error, words):
    assert words in unreachable("b:1", error)


def test_backoff_doubles_to_its_longest_and_begins_again():
    backoff = Backoff(1.0, 30.0, chance=lambda: 1.0)
    assert [backoff.next() for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    backoff.reset()
    assert backoff.next() == 1
    assert backoff.next(longest=True) == 30
    for _ in range(5000):
        assert backoff.next() <= 30


def test_backoff_is_spread():
    assert Backoff(2.0, 30.0, chance=lambda: 0.0).next() == 1.0
    assert len({Backoff(1.0, 30.0).next() for _ in range(20)}) > 1
