"""Counts, histograms and percentiles of what was inspected."""

from __future__ import annotations

import pytest

from edge_agent.telemetry.tally import BOUNDS, STAGES, Tally
from edge_agent.types import Latency, Verdict
from tests.inspections import inspection


def timed(ms):
    return inspection(1, latency=Latency(ms, ms, ms, ms, ms))


def test_every_inspection_is_counted_under_its_verdict():
    tally = Tally(clock=lambda: 7.0)
    for verdict in (Verdict.OK, Verdict.OK, Verdict.ERROR):
        tally.add(inspection(1, verdict))
    assert tally.verdicts == {
        Verdict.OK: 2, Verdict.DEFECT: 0, Verdict.REVIEW: 0, Verdict.ERROR: 1,
    }  # fmt: skip
    assert tally.last == 7.0


def test_a_duration_is_in_the_bucket_that_ends_at_it_or_after():
    tally = Tally()
    for ms in (0.0, 1.0, 1.01, 1e6):
        tally.add(timed(ms))
    for histogram in tally.histograms():
        filled = {
            (*BOUNDS, "beyond")[place]: count
            for place, count in enumerate(histogram.counts)
            if count
        }
        assert filled == {0.0005: 1, 0.001: 1, 0.0025: 1, "beyond": 1}
        assert histogram.seconds == pytest.approx(1000.00201)
    assert tuple(histogram.stage for histogram in tally.histograms()) == STAGES


def test_percentiles_are_values_that_occurred_and_of_the_last_ones_only():
    tally = Tally()
    for _ in range(500):
        tally.add(timed(9999.0))
    for number in range(1, 501):
        tally.add(timed(float(number)))
    found = tally.recent()["infer"]
    assert (found.p50, found.p95, found.p99) == (250.0, 475.0, 495.0)


def test_before_the_first_there_are_none():
    assert Tally().recent() == {}
    assert Tally().last is None
