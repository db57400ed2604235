"""Housekeeping in a daemon that runs."""

from __future__ import annotations

import pytest

from tests.bundles import make_image
from tests.integration.conftest import QUICK
from tests.line import at_rest, wait_for

pytestmark = pytest.mark.slow


def test_what_has_had_its_time_goes_at_the_next_round(make_station):
    station = make_station(QUICK + "[retention]\nok_days = 0.00001\njournal_days = 0.00001\n")
    station.start()
    station.drop("ok.png", make_image(defect=False))
    station.drop("defect.png", make_image(defect=True))
    station.drop("error.png", b"words")
    at_rest(station, 3)
    assert station.stop() == 0

    station.start()  # the first round is at the start

    # No limit was set for defects and errors: their images stay, and so would their inspections
    # if the journal's days had not gone by.
    wait_for(lambda: [p.name for p in station.filed()] == ["defect.png"])
    wait_for(lambda: station.rows() == [])
    assert [p.name for p in station.filed("quarantine")] == ["error.png"]
    station.drop("next.png", make_image(defect=False, seed=2))
    at_rest(station, 1)
    assert [row["sequence"] for row in station.rows()] == [4]
    assert station.stop() == 0
    assert "1 of the oldest images were deleted" in station.log
    assert "3 inspections older than journal_days were deleted" in station.log
    assert "Traceback" not in station.log
