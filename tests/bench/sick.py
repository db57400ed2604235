"""What entries that can't be judged cost a good image: its way with and without a thousand of them.

``python -m tests.bench.sick [--count 1000] [--images 200] [--ways copied kept]
[--bundle BUNDLE --image FILE]``. Needs mosquitto and a C compiler; the way "copied" needs root. The
time is from the rename into the folder to the subscriber. Blocks with and without take turns, each
with a station of its own, and their difference is what counts: machines are noisy.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from tests.broker import Broker
from tests.bundles import make_bundle, make_image
from tests.calls import Calls, build
from tests.line import health, wait_for
from tests.sick import KINDS, LARGE, SETTINGS, Sick
from tests.subscriber import Subscriber
from tests.ways import COPIED, KEPT, RENAMED, station_by

if TYPE_CHECKING:
    from tests.line import Station
    from tests.subscriber import Received

ROUNDS = 2
PAUSE = 0.02
"""Seconds between a verdict and the next image: nobody waits for another."""


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=1000, help="sick entries")
    parser.add_argument("--images", type=int, default=200, help="good images in a block")
    every = [RENAMED, COPIED, KEPT]
    parser.add_argument("--ways", nargs="+", choices=every, default=every, help="default: all")
    parser.add_argument("--bundle", type=Path, help="instead of a small one")
    parser.add_argument("--image", type=Path, help="that it judges, and is no larger than 30 kB")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        here = Path(place)
        bundle = given.bundle or make_bundle(here / "bundle").path
        image = given.image.read_bytes() if given.image else make_image(defect=False)
        library = build(here)
        (here / "broker").mkdir()
        broker = Broker(here / "broker").start()
        print(f"{given.count} sick entries, {given.images} good images a block, {ROUNDS} rounds\n")
        print("| way | sick | p50 without, ms | p50 with | p95 without | p95 with | p95 rises by |")
        print("|---|---|---|---|---|---|---|")
        blocks = 0
        for way in given.ways:
            for kind in KINDS:
                times: dict[bool, list[float]] = {False: [], True: []}
                for sick in (False, True) * ROUNDS:
                    blocks += 1
                    times[sick] += block(
                        here / f"{blocks}", way, kind, bundle, image, library, broker,
                        count=given.count if sick else 0, images=given.images,
                    )  # fmt: skip
                without, beside = (quantiles(times[sick]) for sick in (False, True))
                print(
                    f"| {way} | {kind} | {without[0]:.1f} | {beside[0]:.1f} | {without[1]:.1f} | "
                    f"{beside[1]:.1f} | {beside[1] - without[1]:+.1f} |",
                    flush=True,
                )
        broker.stop()


def quantiles(times: list[float]) -> tuple[float, float]:
    """p50 and p95, ms."""
    cut = statistics.quantiles([1e3 * one for one in times], n=20)
    return cut[9], cut[18]


def block(
    home: Path,
    way: str,
    kind: str,
    bundle: Path,
    image: bytes,
    library: Path,
    broker: Broker,
    *,
    count: int,
    images: int,
) -> list[float]:
    """Seconds of each good image, from the folder to the subscriber."""
    home.mkdir()
    name = f"s{home.name}"
    settings = f'{SETTINGS}[station]\nname = "{name}"\n'
    settings += f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n'
    with (
        closing(Calls(home / "calls.rules", library)) as calls,
        closing(Subscriber(broker.port, f"inspection/+/+/{name}/verdict", client_id=name)) as seen,
        station_by(way, home / "station", bundle, settings) as station,
    ):
        station.start(under=calls.under())
        with Sick(kind, count, station, calls) if count else nullcontext():
            if count:
                settled(station, kind, count)
            return [one_way(station, seen, number, image) for number in range(images)]


def settled(station: Station, kind: str, count: int) -> None:
    """Each sick one was tried, and is known for what it is."""
    if kind == LARGE:
        wait_for(lambda: station.last_sequence() >= count, 300, pause=0.5)
        return
    wait_for(lambda: health(station.port)["ignored"], 120, pause=0.5)
    time.sleep(10)  # and none is new any more


def one_way(station: Station, seen: Subscriber, number: int, image: bytes) -> float:
    """One image's."""
    name = f"good {number}.png"
    content = image + b"%d" % number
    before = len(seen.received())
    found: list[float] = []

    def arrived(got: list[Received]) -> bool:
        found[:] = [one.at for one in got[before:] if one.json()["image"]["name"] == name]
        return bool(found)

    time.sleep(PAUSE)
    station.drop(name, content)
    began = time.perf_counter()
    seen.wait(arrived, 120)
    return found[0] - began


if __name__ == "__main__":
    main()
