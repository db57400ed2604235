"""Row 19: bytes that no camera writes, through the daemon. It never restarts, none is lost."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.broker import free_port
from tests.bundles import make_image
from tests.hostile import jpeg_of_scans, png_of, png_of_chunks, tiff_of_frames
from tests.integration.conftest import children_of
from tests.line import at_rest, health, reasons, verify, wait_for
from tests.mutations import mutated, originals
from tests.tiffs import generated, refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.line import Station

pytestmark = pytest.mark.slow

# Half a file is not waited for: nobody is still writing these.
AT_ONCE = "[worker]\nretry_truncated = 0.0\n"


def withstand(station: Station, files: Iterable[tuple[str, bytes]]) -> dict[str, object]:
    """Send files through a station, and hold it to what must be so; what it took is returned."""
    station.start()
    daemon = station.daemon.pid
    sent = {}
    began = time.monotonic()
    for name, content in files:
        sent[name] = hashlib.sha256(content).hexdigest()
        station.drop(name, content)
    wait_for(lambda: len(station.rows()) >= len(sent), 60 + len(sent) / 10, pause=0.2)
    seconds = time.monotonic() - began
    station.drop("good.png", make_image(defect=False))  # and the next one is judged as ever
    at_rest(station, len(sent) + 1)

    assert station.daemon.poll() is None
    assert station.daemon.pid == daemon
    assert station.log.count("ready: ") == 1
    assert station.stop() == 0
    assert verify(station, len(sent) + 1).wrong == []
    rows = station.rows()
    assert (rows[-1]["name"], rows[-1]["verdict"]) == ("good.png", "ok")
    lost = "took down"
    for row in rows[:-1]:
        assert bool(row["reason"]) == (row["verdict"] == "error")
        # What was judged is what was sent; only of what killed its workers nothing is known.
        assert row["sha256"] == sent[row["name"]] or row["reason"].startswith(lost), row["name"]
    slowest = max(rows, key=lambda row: row["decode"] + row["preprocess"])
    return {
        "images": len(sent),
        "verdicts": dict(Counter(row["verdict"] for row in rows[:-1])),
        "worker restarts": station.log.count(" is replaced: "),
        "poison": sum(row["reason"].startswith(lost) for row in rows),
        "slowest": f"{slowest['name']} {slowest['decode'] + slowest['preprocess']:.0f} ms",
        "largest worker": f"{max(row['worker_rss'] for row in rows) / 2**20:.0f} MiB",
        "seconds": round(seconds, 1),
    }


def test_some_mutated_images_through_the_daemon(make_station):
    found = withstand(make_station(AT_ONCE), mutated(seed=19, count=300))

    print(json.dumps(found))
    assert found["worker restarts"] == 0
    # Neither all of them broken, which proves little, nor all of them whole.
    assert found["verdicts"]["error"] > 100
    assert found["images"] - found["verdicts"]["error"] > 30


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_ten_thousand_mutated_images_through_the_daemon(make_station, capsys):
    seed = int(os.environ.get("SEED") or int.from_bytes(os.urandom(4), "big"))
    with capsys.disabled():
        print(f"\nSEED={seed}", flush=True)

    found = withstand(make_station(AT_ONCE), mutated(seed, 10_000))

    with capsys.disabled():
        print(json.dumps(found))


@pytest.mark.parametrize("count", [100, pytest.param(2000, marks=pytest.mark.faults)])
def test_generated_tiffs_through_the_daemon(make_station, count):
    kinds, files = {}, []
    for number, (kind, content, _) in enumerate(generated(seed=20, count=count)):
        name = f"{number:04d}.tif"
        kinds[name] = kind
        files.append((name, content))
    station = make_station(AT_ONCE)

    found = withstand(station, files)

    assert found["worker restarts"] == 0
    said = reasons(station)
    for name, kind in kinds.items():
        reason = refusal(kind)
        assert (name in said) == (reason is not None), (name, str(kind), said.get(name))
        assert reason is None or re.fullmatch(reason, said[name]), (str(kind), said[name])


def test_what_is_small_and_wants_to_be_large_or_slow(make_station):
    station = make_station(AT_ONCE)
    noise = originals()
    files = {
        "pixels.png": png_of(30_000, 30_000, pixels=bytes(1_000_000)),
        "scans.jpg": jpeg_of_scans(7000, 9000, 4000),  # minutes, were they decoded
        "frames.tif": tiff_of_frames(100_000),  # and these, were they counted
        "chunks.png": png_of_chunks(2_000_000),
        "gif.png": b"GIF89a" + bytes(100),
        "postscript.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "svg.png": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        "other.png": noise["JPEG"][0],  # another format than its name says, but an allowed one
    }

    found = withstand(station, files.items())

    assert found["worker restarts"] == 0
    said = reasons(station)
    assert "more than the limit of 64000000" in said.pop("pixels.png")
    assert said.pop("scans.jpg") == "the JPEG has 4000 scans, more than the limit of 100"
    assert said.pop("chunks.png") == "the PNG has more than 100000 chunks"
    assert said.pop("frames.tif") == "the file holds several frames; one image a file is judged"
    assert set(said) == {"gif.png", "postscript.png", "svg.png"}
    assert all(reason.startswith("not an image of an allowed format") for reason in said.values())


@pytest.fixture
def slow_to_read() -> Callable[[int], bytes]:
    """A JPEG of no more scans than are allowed, which takes far longer than a frame may."""
    scans = jpeg_of_scans(7000, 9000, 100)
    return lambda number: scans + b"%d" % number


def test_two_that_kill_the_decoder_side_by_side_are_poison_and_no_loss_of_the_provider(
    make_station, slow_to_read
):
    port = free_port()
    limits = f"[worker]\nframe_timeout = 1.0\nmax_attempts = 2\n[http]\nport = {port}\n"
    station = make_station(limits)
    for number in range(2):
        (station.inbox / f"slow {number}.png").write_bytes(slow_to_read(number))
    station.start()
    at_rest(station, 2, 180)

    assert health(port)["worker_restarts"] == 4
    station.drop("good.png", make_image(defect=False))
    at_rest(station, 3)
    assert station.log.count("ready: ") == 1
    assert station.stop() == 0
    assert verify(station, 3).wrong == []
    expected = "took down 2 workers, the last: hung for 1 s at a frame"
    assert reasons(station) == {"slow 0.png": expected, "slow 1.png": expected}
    assert children_of(station) == []


@pytest.mark.parametrize("limit", ["formats", "max_pixels", "max_bytes"])
def test_the_station_own_limits(make_station, limit):
    worker = {"formats": '["BMP"]', "max_pixels": "6143", "max_bytes": "1000"}
    said = {
        "formats": "not an image of an allowed format (BMP)",
        "max_pixels": "64 x 96 pixels is more than the limit of 6143",
        "max_bytes": "bytes is more than the limit of 1000",
    }
    station = make_station(AT_ONCE + f"{limit} = {worker[limit]}\n").start()
    station.drop("a.png", make_image(defect=False))  # 64 x 96, a few thousand bytes
    at_rest(station, 1)

    assert said[limit] in reasons(station)["a.png"]
    assert station.stop() == 0
    assert verify(station, 1).wrong == []
