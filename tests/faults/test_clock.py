"""Row 22: the station's clock is set while it works."""

from __future__ import annotations

import json

import pytest

from tests.bundles import make_image
from tests.clock import COMPILER, Clock
from tests.line import at_rest, finish

pytestmark = [
    pytest.mark.slow,
    pytest.mark.broker,
    pytest.mark.skipif(COMPILER is None, reason="no C compiler, to make another clock"),
]

HOUR, DAY = 3600, 86_400


@pytest.mark.parametrize("jump", [-HOUR, DAY])
def test_the_clock_is_set_while_the_station_works(make_station, broker, subscribe, tmp_path, jump):
    subscriber = subscribe(broker.port, "inspection/#")
    clock = Clock(tmp_path)
    station = make_station(f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n')
    images = [make_image(defect=False, seed=number) for number in range(12)]

    def drop(numbers: range) -> None:
        for number in numbers:
            station.drop(f"{number}.png", images[number])
        at_rest(station, numbers.stop)

    station.start(under=clock.under)
    drop(range(4))
    clock.set(jump)
    drop(range(4, 8))
    assert station.stop() == 0
    station.start(under=clock.under)  # a start finds a journal that is older, or from the future
    clock.set(0)
    drop(range(8, 12))
    finish(station, images, subscriber)

    rows = station.rows()
    completed = [row["completed"] for row in rows]
    set_by = [abs(completed[number] - completed[0] - jump) for number in range(4, 8)]
    assert max(set_by) < 1800, "the clock of the daemon was not set"
    assert [int(row["name"].split(".")[0]) // 4 for row in rows] == [0] * 4 + [1] * 4 + [2] * 4
    messages = [json.loads(m.payload) for m in subscriber.received("/verdict")]
    assert [m["sequence"] for m in messages] == list(range(1, 13))
    # What took how long has nothing to do with what time it is.
    for row in rows:
        for stage in ("wait", "decode", "preprocess", "infer", "total"):
            assert 0 <= row[stage] < 120_000, (row["name"], stage, row[stage])
