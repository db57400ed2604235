"""What waits for the broker: in order, until acknowledged, kept for a replay."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest

from edge_agent.journal import Journal, JournalError, Outbox, Replayed
from edge_agent.types import ReplyTo
from tests.inspections import inspection, plain


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "journal.db"
    with Journal(path) as journal:
        journal.record([inspection(n) for n in range(1, 2001)], plain)
    return path


@pytest.fixture
def outbox(path):
    outbox = Outbox(path, clock=lambda: 100.0)
    yield outbox
    outbox.close()


def test_pending_pages_in_order(outbox):
    assert [m.sequence for m in outbox.pending(0, 3)] == [1, 2, 3]
    assert [m.sequence for m in outbox.pending(3, 2)] == [4, 5]
    assert outbox.pending(2000, 10) == []


def test_acknowledged_rows_wait_no_longer_but_are_kept(outbox):
    first = outbox.pending(0, 1)[0]
    outbox.acknowledge([1, 2, 5])
    assert [m.sequence for m in outbox.pending(0, 4)] == [3, 4, 6, 7]
    assert outbox.unacknowledged() == 1997
    assert outbox.replay(1, 2000, 5000).messages == 2000
    assert outbox.pending(0, 1, again=True) == [first]


def test_replay_begins_where_it_is_asked_to(outbox):
    outbox.acknowledge(range(1, 2001))
    assert outbox.replay(1990, 9999, 5000) == Replayed(11, 1990, 2000, 1, 2000)
    assert outbox.unacknowledged() == 11
    assert [m.sequence for m in outbox.pending(0, 2, again=True)] == [1990, 1991]


def test_replay_ends_where_it_is_asked_to_and_at_its_limit(outbox):
    outbox.acknowledge(range(1, 2001))
    assert outbox.replay(10, 12, 5000) == Replayed(3, 10, 12, 1, 2000)
    assert outbox.replay(100, 2000, 700) == Replayed(700, 100, 799, 1, 2000)
    assert outbox.unacknowledged() == 703
    assert outbox.replay(2001, 9999, 10) == Replayed(0, 0, 0, 1, 2000)


def test_a_replay_of_what_was_never_sent_leaves_it_to_be_sent(outbox):
    outbox.acknowledge(range(1, 1001))
    assert outbox.replay(999, 1002, 10).messages == 4
    assert [m.sequence for m in outbox.pending(0, 2)] == [1001, 1002]
    assert [m.sequence for m in outbox.pending(0, 3, again=True)] == [999, 1000]


def test_a_reply_is_wanted_until_it_is_acknowledged_and_never_replayed(path, outbox):
    wanted = ReplyTo("plc/verdicts", b"\x00\xff")
    with Journal(path) as journal:
        (recorded,) = journal.record([inspection(3000, reply=wanted)], plain)
    assert recorded.reply == wanted
    assert outbox.pending(2000, 1) == [recorded]
    outbox.acknowledge([2001])
    outbox.replay(2001, 2001, 1)
    (again,) = outbox.pending(2000, 1, again=True)
    assert (again.payload, again.reply) == (recorded.payload, None)


def test_a_clock_that_ran_ahead_does_not_keep_messages_for_ever(path):
    for at, sequences in ((1e9, range(1, 1001)), (200.0, range(1001, 2001))):
        with closing(Outbox(path, clock=lambda at=at: at)) as outbox:
            outbox.acknowledge(sequences)
    with closing(Outbox(path)) as outbox:
        assert outbox.prune(keep_seconds=500, now=300) == 0

        assert outbox.prune(keep_seconds=500, now=801) == 1000 + 1000


def test_what_is_new_and_what_is_wanted_again_are_told_apart(path, outbox):
    outbox.acknowledge(range(1, 1999))
    outbox.replay(1990, 2000, 100)

    def numbers(again):
        return [message.sequence for message in outbox.pending(0, 100, again=again)]

    assert numbers(again=False) == [1999, 2000]
    assert numbers(again=True) == [*range(1990, 1999)]
    outbox.acknowledge(range(1990, 2001))
    assert (numbers(again=False), numbers(again=True)) == ([], [])


def test_who_asks_for_all_of_them_every_day_does_not_keep_messages_for_ever(path):
    day = 86_400.0
    with closing(Outbox(path, clock=lambda: 0.0)) as outbox:
        outbox.acknowledge(range(1, 2001))
    for today in range(1, 8):
        with closing(Outbox(path, clock=lambda today=today: today * day)) as outbox:
            assert outbox.prune(keep_seconds=7 * day, now=today * day) == 0
            outbox.replay(1, 9999, 700)
            outbox.acknowledge(range(1, 701))

    with closing(Outbox(path)) as outbox:
        outbox.replay(1, 1, 1)  # and one is on its way right now
        assert outbox.prune(keep_seconds=7 * day, now=7 * day + 1) == 1999
        assert outbox.unacknowledged() == 1


def test_where_nothing_is_kept_any_more_that_is_what_is_said(path, outbox):
    outbox.acknowledge(range(1, 2001))
    outbox.prune(keep_seconds=1, now=200)

    assert outbox.replay(5, 10, 10) == Replayed(0, 0, 0, oldest=2001, newest=2000)


def test_prune_takes_only_what_is_acknowledged_and_old(path, outbox):
    outbox.acknowledge(range(2, 1501))  # at 100 s; 1 still waits
    late = Outbox(path, clock=lambda: 900.0)
    late.acknowledge(range(1501, 1901))
    late.close()
    assert outbox.prune(keep_seconds=500, now=599) == 0
    assert outbox.prune(keep_seconds=500, now=700) == 1499
    assert outbox.unacknowledged() == 101
    assert outbox.replay(1, 9999, 9999).messages == 501  # what is left to replay
    assert [m.sequence for m in outbox.pending(0, 2)] == [1, 1901]
    assert [m.sequence for m in outbox.pending(0, 1, again=True)] == [1501]


@pytest.mark.parametrize(
    "call",
    [
        lambda o: o.pending(0, 100),
        lambda o: o.pending(0, 100, again=True),
        lambda o: o.unacknowledged(),
    ],
)
def test_a_long_history_costs_the_publisher_nothing(outbox, call):
    def steps():
        count = 0

        def step():
            nonlocal count
            count += 1

        outbox._db.set_progress_handler(step, 1)
        call(outbox)
        outbox._db.set_progress_handler(None, 0)
        return count

    outbox.acknowledge(range(1, 2000))
    with_history = steps()
    outbox._db.execute("DELETE FROM outbox WHERE acknowledged IS NOT NULL")
    assert with_history == steps()


def test_a_reader_that_holds_on_does_not_stop_the_writer(path, outbox):
    outbox._db.execute("BEGIN")
    assert outbox.pending(0, 1)
    with Journal(path) as journal:
        journal.record([inspection(3000)], plain)
    assert outbox.pending(2000, 1) == []  # its snapshot
    outbox._db.execute("COMMIT")
    assert [m.id for m in outbox.pending(2000, 1)] == [inspection(3000).id]


def test_writer_and_publisher_at_once(path, outbox):
    def write():
        with Journal(path) as journal:
            for n in range(5000, 5100):
                journal.record([inspection(n)], plain)

    thread = threading.Thread(target=write)
    thread.start()
    while outbox.unacknowledged() or thread.is_alive():
        outbox.acknowledge([m.sequence for m in outbox.pending(0, 50)])
    thread.join()
    outbox.acknowledge([m.sequence for m in outbox.pending(0, 200)])
    assert outbox.replay(1, 9999, 9999).messages == 2100
    assert outbox.unacknowledged() == 2100


def test_storage_failure_is_a_journal_error_and_leaves_it_usable(outbox):
    outbox._db.execute("PRAGMA query_only = on")
    with pytest.raises(JournalError, match="not writable"):
        outbox.acknowledge([1])
    outbox._db.execute("PRAGMA query_only = off")
    outbox.acknowledge([1])
    assert outbox.unacknowledged() == 1999
