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
        ("reboot", b"", "unknown command; the commands are: pause, replay"),
        ("replay/now", b'{"from": 5}', "unknown command; the commands are"),
        ("", b"", "unknown command; the commands are"),
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


# -- too many ----------------------------------------------------------------------------------


class Busy(Told):
    """With a clock that a test turns, and answers that nobody takes."""

    def __init__(self):
        super().__init__()
        self.now = 100.0
        known = {
            name: Command(Nothing, lambda _, answer: (self.bodies.append(1), answer.done()))
            for name in ("pause", "resume")
        }
        self.commands = Commands(known, self._wake, lambda: self.now)

    def flood(self, name, count):
        for number in range(count):
            self.commands.obey(
                Arrived(f"{BELOW}/{name}", b"", correlation=b"%d" % number), BELOW, {}
            )

    def answers(self):
        replies = iter(self.commands.reply, None)
        return [(reply.correlation, json.loads(reply.payload)) for reply in replies]


def test_of_one_kind_so_many_are_obeyed_and_one_of_the_others_is_answered(caplog):
    busy = Busy()
    busy.flood("pause", 1000)
    assert len(busy.bodies) == 20
    answers = busy.answers()
    assert len(answers) == 21
    assert [answer["ok"] for _, answer in answers] == [True] * 20 + [False]
    mark, refused = answers[-1]
    assert mark == b"20"
    assert "too many commands: 5 a second of one kind are accepted" in refused["reason"]
    assert busy.commands.refused == 980
    assert "more pause commands arrive than the 5 a second" in busy.commands.trouble
    assert len(caplog.records) <= 3

    # Others have an allowance of their own, and those that nobody knows have one together.
    busy.flood("resume", 1)
    busy.flood("reboot", 15)
    busy.flood("halt", 15)
    answers = busy.answers()
    assert answers[0][1]["ok"]
    assert len(answers) == 1 + 20 + 1

    # The next one that is answered says how many were not.
    busy.now += 0.1
    busy.flood("pause", 5)
    assert busy.answers() == []
    busy.now += 1.0
    busy.flood("pause", 5)
    assert [answer["ok"] for _, answer in busy.answers()] == [True] * 5
    busy.flood("pause", 1)
    ((_, refused),) = busy.answers()
    assert "so were 984 before it" in refused["reason"]


def test_it_is_over_when_they_come_as_seldom_as_they_should():
    busy = Busy()
    assert busy.commands.trouble == ""
    busy.flood("pause", 30)
    busy.now += 9
    assert busy.commands.trouble
    busy.flood("pause", 20)
    assert busy.commands.trouble
    busy.now += 11
    assert busy.commands.trouble == ""
    busy.flood("pause", 20)
    assert busy.commands.trouble == ""


def test_answers_that_nobody_takes_do_not_pile_up():
    busy = Busy()
    for _ in range(1000):
        busy.flood("pause", 10)
        busy.flood("reboot", 10)
        busy.now += 1
    assert len(busy.answers()) == 100
    assert busy.commands.refused > 10_000


def test_what_is_no_mqtt_is_refused_in_words(told):
    answer = told.send("pause", malformed="its topic and properties have 9 bytes")
    assert "not valid MQTT: its topic and properties have 9 bytes" in answer["reason"]
    assert told.bodies == []
