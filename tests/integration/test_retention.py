"""Housekeeping in a daemon that runs."""

from __future__ import annotations

import pytest

from tests.bundles import make_image
from tests.integration.conftest import QUICK
from tests.line import at_rest, wait_for

pytestmark = pytest.mark.slow

OLD = "[retention]\nok_days = 0.00001\ndefect_days = 0.00001\n"


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


@pytest.mark.broker
def test_images_that_came_in_messages_go_too(make_station, broker, subscribe):
    """Their files are not called what their cameras call them."""
    station = make_station(
        f'{QUICK}{OLD}[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n',
        source='[source.mqtt]\ntopic = "cameras/{camera}/{id}"\n',
    ).start()
    wait_for(lambda: "Sending SUBACK to edge-agent-site-line-station-source" in broker.log())
    precious = station.home / "precious"
    precious.write_bytes(make_image(defect=True))
    camera = subscribe(broker.port, "plc/nothing")
    camera.send("cameras/top/17", make_image(defect=False))
    camera.send("cameras/top/18", precious.read_bytes(), UserProperty=[("name", str(precious))])
    camera.send("cameras/top/19", b"words", UserProperty=[("name", "part 19")])
    at_rest(station, 3)
    assert len(station.filed()) == 2
    assert station.stop() == 0

    station.start()

    wait_for(lambda: station.filed() + station.filed("quarantine") == [])
    assert precious.exists()
    assert station.stop() == 0
    assert "Traceback" not in station.log
