"""What is obeyed, and what is answered to everything else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.mqtt import Arrived, Refused
from edge_agent.publish import Command, Nothing
from edge_agent.publish.commands import Commands, ReplayBody, ReplyMessage

BELOW = "inspection/s/l/n/command"


class Told:
    def __init__(self):
        self.bodies = []
        self.wakes = 0
        known = {
            "replay": Command(ReplayBody, self._obey),
            "pause": Command(Nothing, self._obey),
        }
        self.commands = Commands(known, self._wake)

    def _wake(self):
        self.wakes += 1

    def _obey(self, body, answer):
        self.bodies.append(body)
        answer.done(messages=3)

    def send(self, name, payload=b"", **changes):
        fields = {"packet": 1, "repeated": False, "retained": False, "correlation": b"c", **changes}
        self.commands.obey(Arrived(f"{BELOW}/{name}", payload, **fields), BELOW, {})
        reply = self.commands.reply()
        assert reply.correlation == fields["correlation"]
        return json.loads(reply.payload)


@pytest.fixture
def told():
    return Told()


def test_a_command_is_obeyed_and_answered(told):
    assert told.send("replay", b'{"from": 5, "to": 7}') == {
        "command": "replay",
        "ok": True,
        "reason": "",
        "detail": {"messages": 3},
    }
    assert told.bodies == [ReplayBody(**{"from": 5, "to": 7})]
    assert told.wakes == 1


@pytest.mark.parametrize("payload", [b"", b"{}"])
def test_what_needs_nothing_may_be_empty(told, payload):
    assert told.send("pause", payload, correlation=None)["ok"] is True


@pytest.mark.parametrize(
    ("name", "payload", "reason"),
    [
        ("replay", b"", "from: is missing"),
        ("replay", b'{"from": 0}', "from: Input should be greater than or equal to 1"),
        ("replay", b'{"from": "5"}', "from: Input should be a valid integer"),
        ("replay", b'{"from": true}', "from: Input should be a valid integer"),
        ("replay", b'{"from": 5, "until": 7}', "until: there is no such key"),
        ("replay", b"[5]", "object"),
        ("replay", b"from 5", "Invalid JSON"),
        ("replay", b"\xff\xfe", "Invalid JSON"),
        ("replay", b"[" * 60_000, "recursion limit"),
        ("pause", b'{"for": 5}', "for: there is no such key"),
        ("reboot", b"", "there is no such command: there are pause, replay"),
        ("replay/now", b'{"from": 5}', "there is no such command"),
        ("", b"", "there is no such command"),
    ],
)
def test_what_is_wrong_is_answered(told, name, payload, reason):
    answer = told.send(name, payload)
    assert answer["ok"] is False
    assert reason in answer["reason"]
    assert told.bodies == []


def test_retained_and_oversized_commands_are_not_obeyed(told):
    assert "without retain" in told.send("pause", retained=True)["reason"]
    large = told.send("pause", refused=Refused(70_000, "ab"))
    assert "70000 bytes" in large["reason"]
    assert told.bodies == []


@given(name=st.text(st.characters(exclude_categories=["Cs"])), payload=st.binary())
def test_whatever_arrives_is_answered_once(name, payload):
    ReplyMessage.model_validate(Told().send(name, payload))
