"""Time that passes, whatever the wall clock says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.system.ownclock import Moment, boot, look, uptime

DAY = 86_400.0
START = Moment(own=1_000.0, wall=50_000.0, uptime=500.0, boot="a")


def test_it_begins_with_the_wall_clock():
    assert look(None, 7.0, 3.0, "a") == (Moment(7.0, 7.0, 3.0, "a"), 0.0)


def test_it_goes_on_as_the_machine_counts():
    now, step = look(START, 50_100.0, 600.0, "a")
    assert (now.own, step) == (1_100.0, 0.0)


def test_a_wall_clock_that_is_set_forward_makes_nothing_older():
    now, step = look(START, 50_100.0 + 2190 * DAY, 600.0, "a")
    assert (now.own, step) == (1_100.0, 2190 * DAY)


def test_a_wall_clock_that_is_set_back_stops_it_for_no_more_than_a_look():
    now, step = look(START, 50_100.0 - DAY, 600.0, "a")
    assert (now.own, step) == (1_000.0, -DAY)
    now, step = look(now, 50_160.0 - DAY, 660.0, "a")
    assert (now.own, step) == (1_060.0, 0.0)


def test_a_night_in_which_the_machine_was_off_counts():
    now, step = look(START, 50_000.0 + DAY / 2, 20.0, "b")
    assert (now.own, step) == (1_000.0 + DAY / 2, 0.0)


def test_a_pause_that_can_not_be_told_from_a_clock_that_was_set_does_not():
    now, step = look(START, 50_000.0 + 400 * DAY, 20.0, "b")
    assert (now.own, step) == (1_000.0, 400 * DAY)
    now, step = look(START, 50_000.0 - 400 * DAY, 20.0, "b")
    assert (now.own, step) == (1_000.0, -400 * DAY)


@given(
    st.lists(
        st.tuples(
            st.floats(0, 1e5),  # passes
            st.floats(-1e9, 1e9),  # the clock is set
            st.booleans(),  # and seen so
        )
    )
)
def test_nothing_is_ever_older_than_it_is_while_the_machine_runs(looks):
    now, truth, wall = START, START.uptime, START.wall
    for passes, step, is_set in looks:
        truth += passes
        wall += passes + (step if is_set else 0.0)
        before = now
        now, _ = look(now, wall, truth, "a")
        assert before.own <= now.own
        assert now.own - START.own <= truth - START.uptime + 1e-3


def test_this_machine():
    assert uptime() > 0
    assert boot()
