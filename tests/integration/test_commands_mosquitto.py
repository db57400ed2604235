"""Commands to a publisher over a real mosquitto: replay while it publishes."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import ExitStack

import pytest

from edge_agent.journal import Outbox
from edge_agent.publish import Command, Nothing
from edge_agent.system.wake import Wake
from edge_agent.types import ReplyTo, Verdict
from tests.integration.test_publisher_mosquitto import TOPICS, Line, until

pytestmark = pytest.mark.broker


@pytest.fixture
def line(tmp_path):
    with ExitStack() as stack:
        yield Line(tmp_path, stack)


def verdicts(subscriber):
    return [r.payload for r in subscriber.received("/verdict")]


def test_a_replay_is_in_order_and_byte_identical(broker, subscribe, line):
    subscriber = subscribe(broker.port)
    line.record(range(300))
    line.record([300], Verdict.DEFECT)
    line.publisher(broker.port, commands={})
    until(lambda: line.unacknowledged() == 0)
    wanted = [m.payload for m in line.messages]
    subscriber.wait(lambda _: len(verdicts(subscriber)) == 301)
    answer = subscriber.ask(TOPICS.command + "/replay", '{"from": 51}')
    assert answer == {
        "command": "replay",
        "ok": True,
        "reason": "",
        "detail": {
            "messages": 251,
            "first": 51,
            "last": 301,
            "more": False,
            "oldest": 1,
            "newest": 301,
        },
    }
    subscriber.wait(lambda _: len(verdicts(subscriber)) == 301 + 251)
    topics = [message.topic for message in subscriber.received()]
    answered = len(topics) - 1 - topics[::-1].index(TOPICS.reply)
    assert topics[answered:].count(TOPICS.verdict) == 251  # the answer comes before them
    assert verdicts(subscriber) == wanted + wanted[50:]
    subscriber.wait(lambda _: len(subscriber.received("/defect")) == 2)
    until(lambda: line.unacknowledged() == 0)

    answer = subscriber.ask(TOPICS.command + "/replay", '{"from": 10, "to": 12}')
    assert answer["detail"]["messages"] == 3
    subscriber.wait(lambda _: len(verdicts(subscriber)) == 301 + 251 + 3)
    assert verdicts(subscriber)[-3:] == wanted[9:12]
    for beyond in ("9" * 30, "9" * 18):  # more than the journal has numbers for
        answer = subscriber.ask(TOPICS.command + "/replay", f'{{"from": 302, "to": {beyond}}}')
        assert answer["reason"] == "none of the requested messages is kept any more"
    answer = subscriber.ask(TOPICS.command + "/replay", '{"from": 302}')
    assert (answer["ok"], answer["detail"]) == (False, {"oldest": 1, "newest": 301})


def test_a_replay_has_a_limit_and_says_what_it_left_out(broker, subscribe, line, monkeypatch):
    monkeypatch.setattr("edge_agent.publish.replays._LIMIT", 20)
    subscriber = subscribe(broker.port)
    publisher = line.publisher(broker.port, commands={})
    line.record(range(50), publisher=publisher)
    until(lambda: line.unacknowledged() == 0)
    found = [
        subscriber.ask(TOPICS.command + "/replay", body)["detail"]
        for body in ('{"from": 5}', '{"from": 25}', '{"from": 45}', '{"from": 1, "to": 20}')
    ]
    assert [(d["messages"], d["last"], d["more"]) for d in found] == [
        (20, 24, True),
        (20, 44, True),
        (6, 50, False),
        (20, 20, False),
    ]
    subscriber.wait(lambda _: len(verdicts(subscriber)) == 50 + 66, 60)


def test_a_replay_in_the_middle_of_publishing_misses_nothing(broker, subscribe, line):
    subscriber = subscribe(broker.port)
    publisher = line.publisher(broker.port, commands={}, max_inflight=7)
    line.record(range(200), publisher=publisher)
    for start in (1, 120, 60):
        assert subscriber.ask(TOPICS.command + "/replay", f'{{"from": {start}}}')["ok"]
        line.record(range(200 + start, 260 + start), publisher=publisher)
    until(lambda: line.unacknowledged() == 0)
    wanted = [m.payload for m in line.messages]
    subscriber.wait(lambda _: set(verdicts(subscriber)) == set(wanted))
    assert list(dict.fromkeys(verdicts(subscriber))) == wanted  # what is new came in order
    # since the last replay, all that had come from there on came once more, and in order
    came = Counter(verdicts(subscriber))
    last = list(reversed(dict.fromkeys(reversed(verdicts(subscriber)))))
    repeated = [payload for payload in wanted[59:] if came[payload] > 1]
    assert [payload for payload in last if payload in repeated] == repeated


def test_commands_that_answer_late_and_wrong_ones(broker, subscribe, line):
    subscriber = subscribe(broker.port)
    asked = []
    commands = {"activate": Command(Nothing, lambda body, answer: asked.append(answer))}
    publisher = line.publisher(broker.port, commands=commands)
    assert (
        "unknown command; the commands are: activate, replay"
        in (subscriber.ask(TOPICS.command + "/reboot")["reason"])
    )
    assert "70000 bytes" in subscriber.ask(TOPICS.command + "/replay", b"x" * 70_000)["reason"]
    subscriber.send(TOPICS.command + "/activate", CorrelationData=b"later")
    until(lambda: asked)
    broker.kill()  # what is answered goes over the connection that there is then
    broker.start()
    until(lambda: not publisher.state().connected)
    until(lambda: publisher.state().connected)
    asked[0].done(version="2.0.0")

    def late():
        return [r.json() for r in subscriber.received("/reply") if r.correlation == b"later"]

    subscriber.wait(lambda _: late(), 60)
    assert late()[0]["detail"] == {"version": "2.0.0"}


def test_a_retained_command_is_not_obeyed_at_each_start(broker, subscribe, line):
    subscriber = subscribe(broker.port)
    subscriber.send(TOPICS.command + "/pause", retain=True)
    paused = []
    commands = {"pause": Command(Nothing, lambda body, answer: paused.append(answer.done()))}
    line.publisher(broker.port, commands=commands)
    assert subscriber.ask(TOPICS.command + "/pause")["ok"]
    assert len(paused) == 1


def test_a_producer_gets_its_reply_and_cannot_hold_up_the_rest(broker, subscribe, line):
    subscriber = subscribe(broker.port)
    line.record([1, 2], reply=ReplyTo("plc/answers", b"part 7"))
    line.record([3], Verdict.DEFECT)
    line.publisher(broker.port, commands={})
    until(lambda: line.unacknowledged() == 0)
    subscriber.wait(lambda _: len(subscriber.received("answers")) == 2)
    replies = subscriber.received("answers")
    assert [r.payload for r in replies] == [m.payload for m in line.messages[:2]]
    assert {r.correlation for r in replies} == {b"part 7"}


def test_a_reply_that_is_refused_is_dropped_and_said(make_broker, subscribe, line, caplog):
    broker = make_broker()
    acl = broker.directory / "acl"
    acl.write_text("topic readwrite inspection/#\n")
    acl.chmod(0o600)
    broker.settings = f"allow_anonymous true\nacl_file {acl}\n"
    broker.start()
    line.record([1], reply=ReplyTo("plc/answers", b""))
    line.record([2])
    publisher = line.publisher(broker.port, commands={})
    until(lambda: line.unacknowledged() == 0)
    assert "a reply is dropped: the broker refuses messages on plc/answers" in caplog.text
    assert publisher.state().reason == ""


def test_what_is_answered_in_the_moment_of_the_stop_is_sent(broker, subscribe, line, monkeypatch):
    """The stop comes while the publisher looks at the outbox: after it looked at the answers."""
    held, stops = [], []
    wanted, wake = threading.Event(), Wake.set

    def told(self):  # by the stop, once it is wanted
        wake(self)
        if threading.current_thread() in stops:
            wanted.set()

    monkeypatch.setattr(Wake, "set", told)

    class StopsWhileRead(Outbox):
        def pending(self, after, limit, *, again):
            rows = super().pending(after, limit, again=again)
            if held and not stops:
                held[0].refused("the station is stopping")
                stops.append(threading.Thread(target=publisher.stop, args=(10.0,)))
                stops[0].start()
                assert wanted.wait(30)
            return rows

    commands = {"hold": Command(Nothing, lambda _, answer: held.append(answer))}
    publisher = line.publisher(broker.port, commands, StopsWhileRead)
    subscriber = subscribe(broker.port)
    subscriber.wait(lambda _: subscriber.received("/status"))
    order = subscriber.order(TOPICS.command + "/hold", "{}")
    until(lambda: held)
    publisher.notify()

    subscriber.wait(lambda _: len(subscriber.received("/status")) == 2)
    stops[0].join()
    (answer,) = subscriber.answers(order)
    assert answer["reason"] == "the station is stopping"
