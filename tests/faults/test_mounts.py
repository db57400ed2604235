"""Row 29: the camera's share is unmounted under the station, or was never mounted."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.broker import free_port
from tests.bundles import make_image
from tests.line import at_rest, health, told, wait_for
from tests.mounts import needs_root, small

pytestmark = [pytest.mark.slow, needs_root]


def doctor(station) -> str:
    """What it says of the folders."""
    command = [sys.executable, "-m", "edge_agent", "doctor", "--config", str(station.config)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def test_a_share_that_goes_away_is_told_until_it_is_back(make_station):
    port = free_port()
    station = make_station(f"[http]\nport = {port}\n")
    words = f"source.folder.path {station.inbox} lay on tmpfs"

    def drop(number: int) -> None:
        (station.inbox / f"{number}.png").write_bytes(make_image(defect=False, seed=number))
        at_rest(station, number)

    with small(station.inbox):
        station.start()
        drop(1)
        assert health(port)["status"] == "ok"

    told(station, port, words, status="degraded")  # the empty mount point
    drop(2)  # a camera on this machine, say: it is judged all the same
    with small(station.inbox):
        wait_for(lambda: health(port)["status"] == "ok")
        drop(3)

    told(station, port, words)
    assert station.stop() == 0
    station.start()
    told(station, port, words)
    assert words in doctor(station)
    drop(4)
    with small(station.inbox):
        wait_for(lambda: health(port)["status"] == "ok")
        drop(5)
        assert words not in doctor(station)
    told(station, port, words)
    (station.state / "mounts.json").unlink()  # it is meant to be so
    wait_for(lambda: health(port)["status"] == "ok")
    assert station.stop() == 0
    assert len(station.rows()) == len(station.filed()) == 5
    assert "Traceback" not in station.log
