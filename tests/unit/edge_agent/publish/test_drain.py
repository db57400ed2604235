"""The order of publishing, and when a row is done, without a network."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge_agent.publish import Station, topics_of
from edge_agent.publish.drain import Drain
from edge_agent.types import Message, ReplyTo

TOPICS = topics_of(Station("s", "l", "n"))


class Rows:
    """An outbox in memory."""

    def __init__(self, count, alarms=()):
        self.waiting = {
            n: Message(n, f"id{n}", n in alarms, b"%d" % n) for n in range(1, count + 1)
        }
        self.all = dict(self.waiting)
        self.wanted = set()
        self.reads = 0
        self.broken = False

    def pending(self, after, limit, *, again):
        self.reads += not again
        found = sorted((n, m) for n, m in self.waiting.items() if (n in self.wanted) is again)
        return [m for n, m in found if n > after][:limit]

    def acknowledge(self, sequences):
        if self.broken:
            raise OSError("broken")
        for sequence in sequences:
            del self.waiting[sequence]

    def replay(self, first, last, limit):
        self.wanted |= {n for n in self.all if first <= n <= last} - self.waiting.keys()
        self.waiting |= {n: m for n, m in self.all.items() if first <= n <= last}

    def unacknowledged(self):
        return len(self.waiting)

    def close(self):
        pass


def take_all(drain):
    return list(iter(drain.take, None))


def short(publishes):
    return [(p.sequence, p.topic.rsplit("/", 1)[1]) for p in publishes]


def test_rows_in_order_and_alarms_on_both_topics():
    drain = Drain(Rows(3, alarms={2}), TOPICS)
    found = take_all(drain)
    assert short(found) == [(1, "verdict"), (2, "verdict"), (2, "defect"), (3, "verdict")]
    assert [p.payload for p in found] == [b"1", b"2", b"2", b"3"]


def test_an_alarm_is_done_when_both_topics_are():
    rows = Rows(1, alarms={1})
    drain = Drain(rows, TOPICS)
    verdict, defect = take_all(drain)
    drain.taken(defect)
    drain.flush()
    assert rows.waiting
    drain.taken(verdict)
    drain.flush()
    assert not rows.waiting
    assert drain.done


def test_memory_is_bounded_and_idling_costs_no_reads():
    rows = Rows(250)
    drain = Drain(rows, TOPICS)
    drain.take()
    assert len(drain._queues[False]) == 99
    assert len(take_all(drain)) == 249
    before = rows.reads
    assert drain.take() is None
    assert rows.reads == before
    rows.waiting[251] = Message(251, "new", False, b"")
    assert drain.take() is None
    drain.look()
    assert drain.take().sequence == 251


def test_after_a_refusal_only_what_was_not_taken_is_sent_again():
    rows = Rows(4, alarms={2, 3})
    drain = Drain(rows, TOPICS)
    sent = take_all(drain)
    for publish in sent:
        if publish.topic == TOPICS.verdict:
            drain.taken(publish)
    drain.rewind()
    assert sorted(rows.waiting) == [2, 3]
    again = take_all(drain)
    assert short(again) == [(2, "defect"), (3, "defect")]
    for publish in again:
        drain.taken(publish)
    drain.flush()
    assert not rows.waiting
    assert not drain._taken


def test_a_replay_begins_again_with_what_was_taken_too():
    rows = Rows(4, alarms={2})
    drain = Drain(rows, TOPICS)
    for publish in take_all(drain):
        if publish.topic == TOPICS.verdict:
            drain.taken(publish)
    drain.replay(2, 3, 10)
    assert short(take_all(drain)) == [(2, "verdict"), (2, "defect"), (3, "verdict")]


def test_what_is_new_does_not_wait_for_a_replay():
    rows = Rows(1000)
    drain = Drain(rows, TOPICS)
    for publish in take_all(drain):
        drain.taken(publish)
    drain.replay(1, 1000, 10_000)
    before = [drain.take().sequence for _ in range(50)]
    for number in (1001, 1002):
        rows.waiting[number] = Message(number, f"id{number}", True, b"new")
    drain.look()
    after = [publish.sequence for publish in take_all(drain)]
    assert before == [*range(1, 51)]
    assert after.index(1001) == 0  # before what had been read already
    assert sorted(set(after)) == [*range(51, 1003)]
    assert [number for number in after if number <= 1000] == [*range(51, 1001)]

    restarted = [publish.sequence for publish in take_all(Drain(rows, TOPICS))]
    assert list(dict.fromkeys(restarted)) == [1001, 1002, *range(1, 1001)]


def test_a_reply_is_one_topic_more_and_never_the_same_twice():
    rows = Rows(2)
    for n, topic in ((1, "plc/answers"), (2, TOPICS.verdict)):
        rows.waiting[n] = replace(rows.waiting[n], reply=ReplyTo(topic, b"n%d" % n))
    drain = Drain(rows, TOPICS)
    found = take_all(drain)
    assert [(p.sequence, p.topic, p.reply) for p in found] == [
        (1, TOPICS.verdict, False),
        (1, "plc/answers", True),
        (2, TOPICS.verdict, False),
    ]
    assert [p.correlation for p in found] == [None, b"n1", None]
    assert {p.payload for p in found[:2]} == {b"1"}
    for publish in found:
        assert rows.waiting
        drain.taken(publish)
        drain.flush()
    assert not rows.waiting


@pytest.mark.parametrize(
    "topic",
    [TOPICS.status, TOPICS.defect, TOPICS.telemetry, TOPICS.reply, f"{TOPICS.command}/pause"],
)
def test_no_producer_has_the_station_say_something_on_a_topic_of_its_own(topic):
    rows = Rows(1)
    rows.waiting[1] = replace(rows.waiting[1], reply=ReplyTo(topic, b"alarms"))
    assert short(take_all(Drain(rows, TOPICS))) == [(1, "verdict")]


def test_acknowledgements_that_could_not_be_written_are_kept():
    rows = Rows(2)
    drain = Drain(rows, TOPICS)
    for publish in take_all(drain):
        drain.taken(publish)
    rows.broken = True
    with pytest.raises(OSError, match="broken"):
        drain.flush()
    assert drain.unflushed == 2
    rows.broken = False
    drain.flush()
    assert not rows.waiting
