"""Row 29: whoever reads the log stands still, goes away, or shares a pipe that does not wait."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.broker import free_port
from tests.bundles import make_image
from tests.line import at_rest, health, verify, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.line import Station

pytestmark = pytest.mark.slow

STANDS = "the reader of stderr has stalled"
LONG = "x" * 4000


class Reader:
    """The reading end of a daemon's stderr."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, 4096)
        self.lines: list[str] = []

    def until(self, words: str) -> None:
        """Read on, up to and with the line that has these words."""
        while not (self.lines and words in self.lines[-1]):
            line = bytearray()
            while not line.endswith(b"\n"):
                piece = os.read(self.reading, 1)
                assert piece, self.lines
                line += piece
            self.lines.append(line.decode())

    def close(self) -> None:
        with suppress(OSError):
            os.close(self.reading)


@pytest.fixture
def reader() -> Iterator[Reader]:
    made = Reader()
    yield made
    made.close()


def start(station: Station, reader: Reader) -> None:
    """The daemon, its stderr read until it is ready, and no further."""
    station.daemon = subprocess.Popen(
        [sys.executable, "-m", "edge_agent", "run", "--config", str(station.config)],
        stderr=reader.writing,
    )
    os.close(reader.writing)
    reader.until("ready: ")


def chatter(port: int, requests: int) -> None:
    """Each request is a line or two at the level debug."""
    for _ in range(requests):
        with suppress(urllib.error.HTTPError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/{LONG}", timeout=20).close()


def stands(port: int) -> bool:
    found = health(port)
    return found["status"] == "degraded" and any(STANDS in one for one in found["reasons"])


@pytest.fixture
def line(make_station, reader) -> tuple[Station, int]:
    port = free_port()
    station = make_station(f'[http]\nport = {port}\n[log]\nlevel = "debug"\n')
    start(station, reader)
    return station, port


def test_a_reader_that_stands_still_holds_up_no_image_and_no_stop(line, reader):
    station, port = line
    images = [make_image(defect=False, seed=n) for n in range(12)]
    talking = threading.Thread(target=chatter, args=(port, 600), daemon=True)
    talking.start()

    talking.join(120)
    assert not talking.is_alive()  # each request is answered, though its line is not written
    for number, image in enumerate(images):
        station.drop(f"{number}.png", image)
    at_rest(station, len(images))
    wait_for(lambda: stands(port))
    assert station.stop() == 0
    assert verify(station, images).wrong == []


def test_what_was_not_written_is_counted_and_told(line, reader):
    station, port = line
    chatter(port, 600)
    assert stands(port)

    reader.until("lines were not written: the reader of stderr had stalled")

    told = int(reader.lines[-1].split(" lines were not written")[0].split()[-1])
    written = sum(LONG[:100] in one for one in reader.lines)
    assert told > 0
    assert written > 0
    draining = threading.Thread(
        target=lambda: [None for _ in iter(lambda: os.read(reader.reading, 1 << 16), b"")]
    )
    draining.start()
    wait_for(lambda: health(port)["status"] == "ok")
    assert station.stop() == 0
    draining.join(60)


def test_a_reader_that_went_away_ends_nothing(line, reader):
    station, port = line
    reader.close()
    station.drop("a.png", make_image(defect=False))
    at_rest(station, 1)

    wait_for(lambda: any("Broken pipe" in one for one in health(port)["reasons"]))
    assert station.stop() == 0
