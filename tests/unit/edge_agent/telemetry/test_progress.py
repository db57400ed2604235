"""What counts as a stall: frames wait, and nothing has moved for longer than is natural."""

from __future__ import annotations

import pytest

from edge_agent.telemetry.progress import Progress
from tests.fakes import Clock


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def progress(clock):
    return Progress(60.0, clock)


def test_a_station_without_work_is_never_stalled(progress, clock):
    for _ in range(10):
        clock.now += 1000.0
        assert progress.advances(waiting=False, moved=7)


def test_frames_that_wait_while_nothing_moves_are_a_stall_only_after_a_while(progress, clock):
    assert progress.advances(waiting=True, moved=7)
    clock.now += 60.0
    assert progress.advances(waiting=True, moved=7)
    clock.now += 0.1
    assert not progress.advances(waiting=True, moved=7)


def test_every_move_starts_the_patience_anew(progress, clock):
    for moved in range(10):
        clock.now += 59.0
        assert progress.advances(waiting=True, moved=moved)


def test_a_stall_ends_with_the_next_move(progress, clock):
    progress.advances(waiting=True, moved=7)
    clock.now += 100.0
    assert not progress.advances(waiting=True, moved=7)
    assert progress.advances(waiting=True, moved=8)


def test_the_wait_begins_when_there_is_something_to_wait_for(progress, clock):
    progress.advances(waiting=True, moved=7)
    clock.now += 50.0
    progress.advances(waiting=False, moved=7)
    clock.now += 50.0
    assert progress.advances(waiting=True, moved=7)


def test_stuck_is_told_once_patience_is_at_its_end(progress, clock):
    progress.advances(waiting=True, moved=1)
    clock.now += 60.0
    assert progress.stuck() == 0.0
    clock.now += 1.0
    assert progress.stuck() == 61.0
    progress.advances(waiting=True, moved=2)
    assert progress.stuck() == 0.0


def test_who_no_longer_asks_is_stuck_too(progress, clock):
    progress.advances(waiting=False, moved=1)
    clock.now += 61.0  # the loop waits for a disk
    assert progress.stuck() == 61.0
