"""The publisher against a real mosquitto: nothing lost, whatever the broker does."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from edge_agent.journal import Journal, JournalError, Outbox
from edge_agent.publish import (
    Announcements,
    MqttOptions,
    Publisher,
    Station,
    birth_payload,
    offline_payload,
    topics_of,
    verdict_payload,
)
from edge_agent.types import ReplyTo, Verdict
from tests.inspections import MODEL, inspection

pytestmark = pytest.mark.broker

STATION = Station("plant", "line", "camera")
TOPICS = topics_of(STATION)
ANNOUNCEMENTS = Announcements(
    birth=lambda: birth_payload(STATION, MODEL, version="1", started=0),
    last_will=offline_payload(STATION, "connection lost", version="1", started=0),
    farewell=offline_payload(STATION, "stopped", version="1", started=0),
)


class Line:
    """A journal with a publisher on it."""

    def __init__(self, directory, stack):
        self.path = directory / "journal.db"
        self.journal = stack.enter_context(Journal(self.path))
        self._stack = stack
        self.messages = []

    def record(self, numbers, verdict=Verdict.OK, publisher=None, **changes):
        for n in numbers:
            self.messages += self.journal.record(
                [inspection(n, verdict, **changes)], lambda s, i: verdict_payload(STATION, s, i)
            )
            if publisher:
                publisher.notify()

    def publisher(self, port, commands=None, outbox=Outbox, **options):
        options = {"client_id": "camera", "reconnect_min": 0.1, "reconnect_max": 1.0, **options}
        publisher = Publisher(
            MqttOptions(host="127.0.0.1", port=port, **options),
            TOPICS,
            lambda: outbox(self.path),
            JournalError,
            commands=commands,
        )
        publisher.start(ANNOUNCEMENTS)
        self._stack.callback(publisher.stop, 1.0)
        return publisher

    def unacknowledged(self):
        outbox = Outbox(self.path)
        try:
            return outbox.unacknowledged()
        finally:
            outbox.close()


@pytest.fixture
def line(tmp_path):
    with ExitStack() as stack:
        yield Line(tmp_path, stack)


def until(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.005)


def payloads(received):
    return [r.payload for r in received]


def test_in_order_on_the_right_topics_and_done(broker, subscribe, line):
    subscriber = subscribe(broker.port)
    line.record(range(250))  # before the start: more than a window
    publisher = line.publisher(broker.port)
    line.record([1000], Verdict.DEFECT, publisher)
    line.record([1001], Verdict.REVIEW, publisher)
    line.record([1002], Verdict.ERROR, publisher)
    line.record(range(2000, 2050), publisher=publisher)
    subscriber.wait(lambda r: len(r) >= 1 + 303 + 3)
    assert payloads(subscriber.received("verdict")) == [m.payload for m in line.messages]
    assert payloads(subscriber.received("defect")) == [m.payload for m in line.messages if m.alarm]
    until(lambda: line.unacknowledged() == 0)
    state = publisher.state()
    assert (state.connected, state.reason, state.rejected) == (True, "", 0)
    until(lambda: publisher.state().backlog == 0)
    assert state.last_ack is not None


def test_birth_and_farewell_are_retained(broker, subscribe, line):
    publisher = line.publisher(broker.port)
    until(lambda: publisher.state().connected)
    subscriber = subscribe(broker.port, TOPICS.status)
    subscriber.wait(lambda r: len(r) == 1)
    (birth,) = subscriber.received()
    assert birth.retained
    assert birth.json()["online"] is True
    line.record(range(500))
    publisher.notify()
    assert publisher.stop(10)
    subscriber.wait(lambda r: len(r) == 2)
    assert subscriber.received()[1].payload == ANNOUNCEMENTS.farewell
    assert line.unacknowledged() == 0  # flushed before the farewell
    late = subscribe(broker.port, TOPICS.status, client_id="late")
    late.wait(lambda r: len(r) == 1)
    assert late.received()[0].payload == ANNOUNCEMENTS.farewell
    assert publisher.state().reason == "stopped"


def test_a_publisher_that_is_killed_leaves_its_last_will(broker, subscribe, tmp_path):
    subscriber = subscribe(broker.port, TOPICS.status)
    code = (
        "import sys, time; from contextlib import ExitStack; from pathlib import Path\n"
        "from tests.integration.test_publisher_mosquitto import Line\n"
        "line = Line(Path(sys.argv[1]), ExitStack())\n"
        "line.publisher(int(sys.argv[2]))\n"
        "time.sleep(60)\n"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), str(broker.port)], cwd=root
    ) as victim:
        subscriber.wait(lambda r: len(r) == 1)
        victim.kill()
    subscriber.wait(lambda r: len(r) == 2)
    assert subscriber.received()[1].payload == ANNOUNCEMENTS.last_will


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_the_broker_dies_in_the_middle(broker, subscribe, line, end):
    subscriber = subscribe(broker.port, TOPICS.verdict)
    publisher = line.publisher(broker.port, max_inflight=20)
    line.record(range(250), publisher=publisher)
    getattr(broker, end)()
    line.record(range(250, 350), publisher=publisher)
    until(lambda: not publisher.state().connected)
    assert "127.0.0.1" in publisher.state().reason
    broker.start()
    line.record(range(350, 500), publisher=publisher)
    wanted = {m.payload for m in line.messages}
    until(lambda: line.unacknowledged() == 0)
    subscriber.wait(lambda r: {x.payload for x in r} >= wanted)
    # every payload is one that the journal has, bit for bit: nothing else was ever sent
    assert set(payloads(subscriber.received())) == wanted
    assert len(wanted) == 500
    assert publisher.state().reason == ""


def test_a_broker_that_freezes_holds_up_nobody(broker, subscribe, line):
    subscriber = subscribe(broker.port, TOPICS.verdict)
    publisher = line.publisher(broker.port, keepalive=1)
    line.record([1], publisher=publisher)
    subscriber.wait(lambda r: len(r) == 1)
    broker.freeze()
    line.record(range(2, 50), publisher=publisher)
    until(lambda: not publisher.state().connected)
    assert "no longer answers" in publisher.state().reason or "no answer" in (
        publisher.state().reason
    )
    broker.thaw()
    subscriber.wait(lambda r: len({x.payload for x in r}) == 49)


# Pings pass, or are none: that is no sign of life to rely on.
@pytest.mark.parametrize(("fault", "keepalive"), [("unanswered", 2), ("crawl", 600)])
def test_a_connection_without_acknowledgements_is_left(
    broker, subscribe, line, wire, caplog, fault, keepalive
):
    subscriber = subscribe(broker.port)
    wire.fault = fault
    line.record(range(20))
    line.publisher(wire.port, keepalive=keepalive, ack_timeout=4.0)

    until(lambda: "has acknowledged nothing for 4 s" in caplog.text)
    wire.fault = ""

    until(lambda: line.unacknowledged() == 0, 60)
    subscriber.wait(lambda _: len(set(payloads(subscriber.received("verdict")))) == 20)


def test_a_broker_that_is_absent_at_the_start(make_broker, subscribe, line):
    broker = make_broker()
    line.record(range(20))
    publisher = line.publisher(broker.port)
    until(lambda: "nothing listens" in publisher.state().reason)
    until(lambda: publisher.state().backlog == 20)
    assert publisher.state().connected is False
    broker.start()
    subscriber = subscribe(broker.port, TOPICS.status)
    subscriber.wait(lambda r: len(r) == 1)
    until(lambda: line.unacknowledged() == 0)


def test_stopping_without_a_broker_is_quick_and_keeps_everything(line):
    line.record(range(5))
    publisher = line.publisher(1)
    until(lambda: "nothing listens" in publisher.state().reason)
    assert publisher.stop(5)
    assert line.unacknowledged() == 5


SECURED = """
allow_anonymous false
password_file {directory}/passwords
acl_file {directory}/acl
"""


def secured(make_broker, acl):
    broker = make_broker()
    directory = broker.directory
    broker.settings = SECURED.format(directory=directory)
    for user in ("camera", "reader"):
        flags = ["-b"] if user == "reader" else ["-b", "-c"]
        command = ["mosquitto_passwd", *flags, str(directory / "passwords"), user, "secret"]
        subprocess.run(command, check=True)
    (directory / "acl").write_text(acl + "\nuser reader\ntopic read #\n")
    (directory / "acl").chmod(0o600)
    return broker.start()


ALLOWED = f"user camera\ntopic write {TOPICS.status}\ntopic write {TOPICS.verdict}\n"


def test_what_the_access_list_denies_is_kept_and_delivered_once_mended(
    make_broker, subscribe, line
):
    broker = secured(make_broker, ALLOWED)
    subscriber = subscribe(broker.port, username="reader", password="secret")
    publisher = line.publisher(
        broker.port, username="camera", password=lambda: "secret", max_inflight=10
    )
    line.record([1], publisher=publisher)
    line.record([2], Verdict.DEFECT, publisher)
    line.record(range(3, 40), publisher=publisher)
    until(lambda: "not allowed" in publisher.state().reason)
    assert TOPICS.defect in publisher.state().reason
    refused = publisher.state().rejected
    assert refused >= 1
    assert publisher.state().connected
    until(lambda: publisher.state().rejected >= refused + 2)  # it tries again, and is refused
    assert line.unacknowledged() >= 1
    # one try at a time, with pauses between: not one a window, and no busy loop
    assert broker.log().count("Denied PUBLISH") < 20

    (broker.directory / "acl").write_text(
        ALLOWED + f"topic write {TOPICS.defect}\nuser reader\ntopic read #\n"
    )
    broker.reload()
    until(lambda: line.unacknowledged() == 0)
    subscriber.wait(lambda r: len(r) >= 41)
    assert payloads(subscriber.received("defect")) == [line.messages[1].payload]
    # in order, and the verdict that was taken while its defect was refused came once
    assert payloads(subscriber.received("verdict")) == [m.payload for m in line.messages]
    until(lambda: publisher.state().reason == "")


def test_a_status_that_was_denied_is_said_once_it_may_be(make_broker, subscribe, line):
    broker = secured(make_broker, f"user camera\ntopic write {TOPICS.verdict}\n")
    publisher = line.publisher(broker.port, username="camera", password=lambda: "secret")
    until(lambda: f"messages on {TOPICS.status}" in publisher.state().reason)
    line.record(range(50), publisher=publisher)
    until(lambda: line.unacknowledged() == 0)
    assert f"messages on {TOPICS.status}" in publisher.state().reason
    assert broker.log().count("Denied PUBLISH") < 40  # tried again, but not at every verdict

    (broker.directory / "acl").write_text(
        f"user camera\ntopic write {TOPICS.verdict}\ntopic write {TOPICS.status}\n"
        "user reader\ntopic read #\n"
    )
    broker.reload()
    until(lambda: publisher.state().reason == "")
    subscriber = subscribe(broker.port, TOPICS.status, username="reader", password="secret")
    subscriber.wait(lambda r: len(r) == 1)
    assert subscriber.received()[0].retained
    assert subscriber.received()[0].json()["online"] is True


def test_a_refusal_is_probed_with_one_message_at_a_time(make_broker, line):
    broker = secured(make_broker, f"user camera\ntopic write {TOPICS.status}\n")
    line.record(range(40))
    publisher = line.publisher(
        broker.port,
        username="camera",
        password=lambda: "secret",
        max_inflight=10,
        reconnect_min=0.5,
    )
    seen = set()

    def probed_four_times():
        seen.add(publisher.state().rejected)
        return len([n for n in seen if n >= 10]) >= 5

    until(probed_four_times)
    window, *probes = sorted(n for n in seen if n >= 10)
    assert window <= 11
    assert probes[:4] == [window + k for k in (1, 2, 3, 4)]
    assert TOPICS.verdict in publisher.state().reason
    assert line.unacknowledged() == 40


def test_a_wrong_password_is_said_and_nothing_is_lost(make_broker, subscribe, line):
    broker = secured(make_broker, ALLOWED)
    publisher = line.publisher(broker.port, username="camera", password=lambda: "wrong")
    line.record(range(3))
    until(lambda: "check user name, password" in publisher.state().reason)
    assert not publisher.state().connected
    assert line.unacknowledged() == 3
    command = ["mosquitto_passwd", "-b", str(broker.directory / "passwords"), "camera", "wrong"]
    subprocess.run(command, check=True)
    broker.reload()
    until(lambda: line.unacknowledged() == 0)
    assert subscribe  # a subscriber is not needed: 16 (nobody listens) is a success


def test_an_answer_that_the_broker_disconnects_for_holds_up_nothing(
    broker, subscribe, line, caplog
):
    subscriber = subscribe(broker.port)
    deep = ReplyTo("a/" * 210, b"part 1")  # of mosquitto's 200 levels
    line.record([0, 1], reply=ReplyTo("plc/answers", b"part 0"))
    line.record([2], Verdict.DEFECT, reply=deep)
    line.record([3], reply=ReplyTo("plc/answers", b"part 3"))
    publisher = line.publisher(broker.port)
    until(lambda: line.unacknowledged() == 0)
    subscriber.wait(
        lambda _: {m.json()["sequence"] for m in subscriber.received("verdict")} == {1, 2, 3, 4}
    )
    answered = {m.json()["sequence"] for m in subscriber.received("plc/answers")}
    assert answered == {1, 2, 4}
    assert "a reply is dropped: the broker ends the connection over what goes to a/" in caplog.text
    assert caplog.text.count("a reply is dropped") == 1
    line.record([4], publisher=publisher, reply=ReplyTo("plc/answers", b"part 4"))
    until(lambda: line.unacknowledged() == 0)


def test_two_clients_with_one_id_are_told_and_do_not_storm(broker, line, tmp_path):
    other_home = tmp_path / "other"
    other_home.mkdir()
    with ExitStack() as stack:
        first = line.publisher(broker.port, reconnect_max=2.0)
        until(lambda: first.state().connected)
        second = Line(other_home, stack).publisher(broker.port, reconnect_max=2.0)
        until(lambda: "same client id" in first.state().reason)
        until(lambda: "same client id" in second.state().reason)
        began = time.monotonic()
        before = broker.log().count("New client connected")
        until(lambda: time.monotonic() > began + 4)
        # each waits 1 to 2 s after it was thrown out
        assert broker.log().count("New client connected") - before <= 8
        assert "same client id" in first.state().reason  # also while it is connected
    line.record(range(10), publisher=first)
    until(lambda: line.unacknowledged() == 0)


def test_an_outbox_that_fails_is_said_and_got_over(broker, subscribe, line):
    subscriber = subscribe(broker.port, TOPICS.verdict)
    broken = True

    class Failing(Outbox):
        def acknowledge(self, sequences):
            if broken:
                raise JournalError("the disk is full", full=True)
            super().acknowledge(sequences)

    publisher = Publisher(
        MqttOptions(
            client_id="c", host="127.0.0.1", port=broker.port, reconnect_min=0.1, reconnect_max=0.2
        ),
        TOPICS,
        lambda: Failing(line.path),
        JournalError,
    )
    publisher.start(ANNOUNCEMENTS)
    line.record(range(10), publisher=publisher)
    until(lambda: publisher.state().reason == "the disk is full")
    assert publisher.state().connected
    assert line.unacknowledged() == 10
    broken = False
    until(lambda: line.unacknowledged() == 0)
    until(lambda: publisher.state().reason == "")
    assert publisher.stop(5)
    assert payloads(subscriber.received()) == [m.payload for m in line.messages]
