"""What the demo says at its end. The whole of it is run by the tests of every command."""

from __future__ import annotations

import time
from contextlib import closing

import pytest

from edge_agent.demo.station import _summarise
from edge_agent.journal import Journal, Outbox
from edge_agent.publish.state import Board
from tests.inspections import inspection

BROKER = ("127.0.0.1", 1)
WHY = "nothing listens at 127.0.0.1:1: is the broker running?"


@pytest.fixture
def home(tmp_path, caplog):
    """A demo that has ended: three verdicts, none of them published."""
    (tmp_path / "state/processed").mkdir(parents=True)
    with Journal(tmp_path / "state/journal.db") as journal:
        journal.record([inspection(n) for n in (1, 2, 3)], lambda *_: b"{}")
    Board("starting", time.time).say(WHY, connected=False)
    (tmp_path / "agent.log").write_text(f"ready: x\n{caplog.text}stopped\n")
    return tmp_path


def said(home, capsys, broker=BROKER):
    _summarise(home, broker)
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("broker")]


def acknowledge(home, *sequences):
    with closing(Outbox(home / "state/journal.db")) as outbox:
        outbox.acknowledge(sequences)


def test_a_broker_that_is_not_there(home, capsys):
    (line,) = said(home, capsys)

    assert line == (f"broker   nothing was published: {WHY}; the journal keeps every verdict")


def test_a_broker_that_has_some_or_all(home, capsys):
    acknowledge(home, 1)
    assert said(home, capsys)[0].startswith("broker   2 verdicts were not published: nothing")
    acknowledge(home, 2, 3)
    assert said(home, capsys) == ["broker   it has all 3 verdicts"]


def test_without_a_broker_nothing_is_said_of_one(home, capsys):
    assert said(home, capsys, None) == []


def test_a_broker_that_was_too_slow(home, capsys):
    (home / "agent.log").write_text("ready: x\n")

    assert "nothing was published: there was no time left" in said(home, capsys)[0]
