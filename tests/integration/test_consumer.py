"""The example consumer, against a real broker that loses what it had acknowledged."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from edge_agent.journal import Outbox
from edge_agent.types import Verdict
from tests.integration.test_publisher_mosquitto import TOPICS, Line, until

pytestmark = pytest.mark.broker

EXAMPLE = Path(__file__).parents[2] / "examples" / "consumer.py"
STATION = TOPICS.status.removesuffix("/status")


class Consumer:
    """The example as a process that can be killed and started again."""

    def __init__(self, home, port, stack):
        self._home = home
        self._port = port
        self._running = None
        stack.callback(self.kill)

    def start(self):
        with (self._home / "alarms.log").open("ab") as log:
            self._running = subprocess.Popen(
                [sys.executable, str(EXAMPLE), "--port", str(self._port)],
                cwd=self._home,
                stdout=log,
                stderr=log,
            )
        return self

    def listens(self, broker):
        until(lambda: "Sending SUBACK to alarms" in broker.log(), 60)
        return self

    def kill(self):
        if self._running:
            self._running.kill()
            self._running.wait()

    def said(self):
        file = self._home / "alarms.log"
        return file.read_text() if file.exists() else ""

    def alarms(self):
        found = re.findall(r"^DEFECT \S+ #(\d+) ", self.said(), re.MULTILINE)
        return [int(number) for number in found]

    def book(self):
        file = self._home / "alarms.json"
        if not file.exists():
            return None
        book = json.loads(file.read_text()).get(STATION, {})
        return {key: book[key] for key in book if key != "latest"}

    def runs(self):
        return self._running.poll() is None


@pytest.fixture
def stack():
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def line(tmp_path, stack):
    return Line(tmp_path, stack)


def test_what_a_killed_broker_forgot_is_asked_for(broker, tmp_path, line, stack):
    broker.settings = "allow_anonymous true\nautosave_interval 1800\nautosave_on_changes false\n"
    broker.stop()
    broker.start()
    consumer = Consumer(tmp_path, broker.port, stack).start().listens(broker)
    publisher = line.publisher(broker.port, commands={})
    line.record(range(10), Verdict.DEFECT, publisher)
    until(lambda: consumer.book() == {"last": 10, "missing": []}, 60)  # else it may say one twice
    consumer.kill()  # the broker queues for it, in memory
    line.record(range(10, 40), Verdict.DEFECT, publisher)
    until(lambda: line.unacknowledged() == 0, 60)
    broker.kill()
    broker.start()
    consumer.start()
    # nothing came after what was lost: there is no gap to see, only an end
    until(lambda: consumer.book() == {"last": 40, "missing": []}, 60)
    assert sorted(consumer.alarms()) == [*range(1, 41)]


def test_what_did_not_fit_into_the_brokers_queue_is_a_gap_and_asked_for(
    make_broker, tmp_path, line, stack
):
    broker = make_broker("allow_anonymous true\nmax_queued_messages 10\n").start()
    consumer = Consumer(tmp_path, broker.port, stack).start().listens(broker)
    publisher = line.publisher(broker.port, commands={})
    line.record(range(5), Verdict.DEFECT, publisher)
    until(lambda: consumer.book() == {"last": 5, "missing": []}, 60)
    consumer.kill()
    line.record(range(5, 65), Verdict.DEFECT, publisher)
    until(lambda: line.unacknowledged() == 0, 60)
    consumer.start()
    line.record([200], Verdict.DEFECT, publisher)
    until(lambda: consumer.book() == {"last": 66, "missing": []}, 60)
    assert sorted(consumer.alarms()) == [*range(1, 67)]  # each once


def test_a_gap_is_seen_while_all_are_connected(broker, tmp_path, line, stack, monkeypatch):
    found, hidden = Outbox.pending, set()  # it may look at any time

    def pending(*args, **options):
        return [one for one in found(*args, **options) if one.sequence not in hidden]

    monkeypatch.setattr(Outbox, "pending", pending)
    consumer = Consumer(tmp_path, broker.port, stack).start().listens(broker)
    publisher = line.publisher(broker.port, commands={})
    line.record(range(5), Verdict.DEFECT, publisher)
    until(lambda: consumer.alarms() == [*range(1, 6)], 60)
    until(lambda: line.unacknowledged() == 0, 60)
    hidden.update(range(6, 10))
    line.record(range(5, 9), Verdict.DEFECT)
    with closing(Outbox(line.path)) as outbox:
        outbox.acknowledge(range(6, 10))  # by a broker that loses them
    line.record([9], Verdict.DEFECT, publisher)
    until(lambda: len(consumer.alarms()) == 6, 60)
    hidden.clear()
    until(lambda: consumer.book() == {"last": 10, "missing": []}, 60)
    assert f"GAP {STATION}: 6 to 9 did not come" in consumer.said()
    assert consumer.alarms() == [1, 2, 3, 4, 5, 10, 6, 7, 8, 9]


def test_what_the_station_no_longer_keeps_is_called_lost(broker, tmp_path, line, stack):
    book = {STATION: {"last": 20, "missing": [[3, 8], [12, 13]]}}
    (tmp_path / "alarms.json").write_text(json.dumps(book))
    line.record(range(20), Verdict.DEFECT)
    publisher = line.publisher(broker.port, commands={})
    until(lambda: line.unacknowledged() == 0, 60)
    line.journal._db.execute("DELETE FROM outbox WHERE sequence < 6")
    consumer = Consumer(tmp_path, broker.port, stack).start()
    until(lambda: consumer.book() == {"last": 20, "missing": []}, 60)
    assert f"LOST {STATION}: 3 messages from 3 to 8 are no longer kept" in consumer.said()
    assert sorted(consumer.alarms()) == [6, 7, 8, 12, 13]
    assert publisher.state().connected


@pytest.mark.parametrize("kept", ["none", "others"])
def test_what_lies_between_what_is_kept_is_called_lost_too(broker, tmp_path, line, stack, kept):
    book = {STATION: {"last": 10, "missing": [[3, 8]]}}
    (tmp_path / "alarms.json").write_text(json.dumps(book))
    line.record(range(20), Verdict.DEFECT)
    publisher = line.publisher(broker.port, commands={})
    until(lambda: line.unacknowledged() == 0)
    line.journal._db.execute(
        "DELETE FROM outbox" + (" WHERE sequence BETWEEN 5 AND 18" if kept == "others" else "")
    )
    consumer = Consumer(tmp_path, broker.port, stack).start()
    until(lambda: consumer.book() == {"last": 20, "missing": []}, 60)
    assert sorted(consumer.alarms()) == ([3, 4, 19, 20] if kept == "others" else [])
    assert f"LOST {STATION}: 8 messages from 11 to 20" in consumer.said() or kept == "none"
    assert publisher.state().connected


def test_a_station_that_counts_anew_is_no_repeat(broker, tmp_path, stack):
    consumer = Consumer(tmp_path, broker.port, stack).start().listens(broker)
    with ExitStack() as before:
        (tmp_path / "old").mkdir()
        line = Line(tmp_path / "old", before)
        line.record(range(20), Verdict.DEFECT)
        line.publisher(broker.port, commands={})
        until(lambda: consumer.alarms() == [*range(1, 21)], 60)
    (tmp_path / "new").mkdir()
    line = Line(tmp_path / "new", stack)
    line.record(range(100, 105), Verdict.DEFECT)
    line.publisher(broker.port, commands={})
    until(lambda: consumer.alarms() == [*range(1, 21), *range(1, 6)], 60)
    assert consumer.said().count(f"ANEW {STATION}") == 1
    assert consumer.book() == {"last": 5, "missing": []}


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("status", b""),  # somebody has deleted what was retained there
        ("verdict", b"words"),
        ("verdict", b"[]"),
        ("verdict", b'{"sequence": "1", "verdict": 1, "completed": 1, "reason": 1, "image": 1}'),
        ("reply", b'{"detail": {"newest": "x"}}'),
        ("status", b"\xff"),
    ],
)
def test_what_is_no_message_of_a_station_ends_nothing(
    broker, subscribe, tmp_path, line, stack, topic, payload
):
    (tmp_path / "alarms.json").write_text(json.dumps({STATION: {"last": 0}}))
    consumer = Consumer(tmp_path, broker.port, stack).start().listens(broker)
    anyone = subscribe(broker.port, "nothing", client_id="anyone")
    for station in (STATION, "inspection/no/such/station"):
        anyone.send(f"{station}/{topic}", payload, CorrelationData=b"alarms 1 0")
    line.record(range(3), Verdict.DEFECT, line.publisher(broker.port, commands={}))
    until(lambda: consumer.alarms() == [1, 2, 3], 60)
    assert consumer.runs()
    assert "Traceback" not in consumer.said()


def test_a_broker_that_comes_later(make_broker, tmp_path, line, stack):
    broker = make_broker()
    consumer = Consumer(tmp_path, broker.port, stack).start()
    until(lambda: "no connection: " in consumer.said())
    broker.start()
    consumer.listens(broker)
    line.record(range(3), Verdict.DEFECT, line.publisher(broker.port, commands={}))
    until(lambda: consumer.alarms() == [1, 2, 3], 60)
