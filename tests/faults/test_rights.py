"""Row 21: a folder that the station may read, and not empty."""

from __future__ import annotations

import os
import shutil
import subprocess
import time

import pytest

from tests.bundles import make_image
from tests.line import at_rest, verify, wait_for
from tests.mounts import needs_root, small

pytestmark = pytest.mark.slow

# As a service has it: no right to read or write what is not its own.
BOUND = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None,
    reason="needs root, and setpriv to take root's rights away",
)
def test_files_that_can_not_be_removed_are_judged_once_also_when_they_can_again(make_station):
    images = [make_image(defect=False, seed=number) for number in range(3)]
    station = make_station().start(under=BOUND)
    station.drop("0.png", images[0])
    at_rest(station, 1)
    station.inbox.chmod(0o555)
    for number in (1, 2):
        station.drop(f"{number}.png", images[number])
    at_rest(station, 3)
    wait_for(lambda: station.log.count("was judged, but it can't be removed") == 2)
    before = station.log
    time.sleep(2.5)  # that nothing more happens is what is to be seen: two periods of the scan
    assert station.log == before
    assert station.stop() == 0
    station.start(wait=False, under=BOUND)
    assert station.daemon.wait(60) == 2  # a folder that can't be emptied is told at the start

    station.inbox.chmod(0o755)
    station.start(under=BOUND)

    wait_for(lambda: not list(station.inbox.iterdir()))
    at_rest(station, 3)
    assert station.stop() == 0
    assert verify(station, images).wrong == []


@needs_root
def test_a_folder_that_becomes_read_only_keeps_no_image_from_its_verdict(make_station):
    """As ext4 does it at an error, on a disk of the camera's own: what was copied is judged."""
    source = '[source.folder]\npath = "inbox"\nsettle = 3.0\n'
    images = [make_image(defect=False, seed=number) for number in range(3)]
    station = make_station(source=source)
    with small(station.inbox):
        station.start()
        for number, image in enumerate(images):
            (station.inbox / f"{number}.png").write_bytes(image)
        subprocess.run(["mount", "-o", "remount,ro", str(station.inbox)], check=True)
        at_rest(station, 3)
        wait_for(lambda: station.log.count("can't be removed: Read-only file system") == 3)
        assert station.stop() == 0
        subprocess.run(["mount", "-o", "remount,rw", str(station.inbox)], check=True)

        station.start()

        wait_for(lambda: not list(station.inbox.iterdir()))
        at_rest(station, 3)
        assert station.stop() == 0
        assert verify(station, images).wrong == []
