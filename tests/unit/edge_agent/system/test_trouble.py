import logging

import pytest

from edge_agent.system.trouble import Trouble
from tests.fakes import Clock


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def trouble(clock, caplog):
    caplog.set_level(logging.INFO)
    return Trouble(logging.getLogger("test"), "it works again", clock=clock)


def said(caplog):
    return [record.getMessage() for record in caplog.records]


def test_it_is_reported_once_and_is_over_when_it_has_worked(trouble, caplog):
    for _ in range(3):
        trouble.failed("the disk is full")
    assert trouble.text == "the disk is full"
    for _ in range(3):
        trouble.worked()

    assert trouble.text == ""
    assert said(caplog) == ["the disk is full", "it works again"]


def test_nothing_is_reported_where_nothing_was_wrong(trouble, caplog):
    trouble.worked()

    assert trouble.text == ""
    assert said(caplog) == []


def test_another_reason_is_reported_too_but_not_as_often_as_it_changes(trouble, clock, caplog):
    for number in range(1000):
        trouble.failed(f"reason {number}")
        clock.now += 0.01

    assert trouble.text == "reason 999"
    assert 2 <= len(said(caplog)) <= 11


def test_what_comes_and_goes_is_not_well_between(trouble, clock, caplog):
    well = 0
    for _ in range(200):  # as often as once in three seconds, for ten minutes
        trouble.failed("EBUSY")
        clock.now += 1.5
        trouble.worked()
        well += trouble.text == ""
        clock.now += 1.5

    assert well <= 3
    assert len(said(caplog)) <= 8
    clock.now += 61.0
    assert trouble.text == ""
    assert said(caplog)[-1] == "it works again"


def test_after_a_long_peace_it_counts_as_new(trouble, clock):
    for _ in range(20):
        trouble.failed("EBUSY")
        trouble.worked()
        clock.now += 1.0
    clock.now += 700.0
    assert trouble.text == ""

    trouble.failed("EBUSY")
    trouble.worked()

    assert trouble.text == ""
