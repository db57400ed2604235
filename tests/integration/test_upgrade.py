"""A station that an earlier version left behind, killed in the middle of its work, goes on.

``tests/upgrade`` has one for each version, and what made it: that version's own code.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.line import at_rest, verify, wait_for

if TYPE_CHECKING:
    from tests.line import Station

pytestmark = [pytest.mark.slow, pytest.mark.broker, pytest.mark.timeout(600)]

STATIONS = Path(__file__).parents[1] / "upgrade"
VERSIONS = sorted(path.name for path in STATIONS.iterdir() if (path / "station.toml").exists())


def images(home: Path) -> dict[str, list[bytes]]:
    """What the earlier version was offered, by where it left it."""
    places = {
        "judged": [*home.glob("state/processed/*"), *home.glob("state/quarantine/*")],
        "claimed": [*home.glob("state/work/*/*")],
        "waiting": [*home.glob("inbox/*")],
    }
    return {
        place: [path.read_bytes() for path in paths if not path.name.endswith(".reason.json")]
        for place, paths in places.items()
    }


def table(journal: Path, name: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute(f"SELECT * FROM {name} ORDER BY sequence")]


@pytest.fixture
def station(make_station, request, broker) -> Station:
    """A copy of it, with the broker of this test."""
    made = make_station()
    earlier = STATIONS / request.param
    without = shutil.ignore_patterns("agent.log")
    shutil.copytree(earlier, made.home, dirs_exist_ok=True, ignore=without)
    settings = made.config.read_text()
    assert "port = 1883" in settings
    made.config.write_text(settings.replace("port = 1883", f"port = {broker.port}"))
    return made


@pytest.mark.parametrize("station", VERSIONS, indirect=True)
def test_a_station_of_an_earlier_version_goes_on(station, broker, subscribe, tmp_path):
    shutil.copytree(station.state, tmp_path / "before")
    journal = tmp_path / "before" / "journal.db"
    inspections, outbox = table(journal, "inspections"), table(journal, "outbox")
    pending = [row for row in outbox if row["acknowledged"] is None]
    there = images(station.home)
    offered = [content for contents in there.values() for content in contents]
    assert len(inspections) == len(there["judged"]) == 5
    assert len(pending) == 2
    assert len(there["claimed"]) == len(there["waiting"]) == 1
    subscriber = subscribe(broker.port, "inspection/#")

    # Its settings name no provider: what there is, is measured first.
    station.start(wait=False)
    wait_for(lambda: "ready: " in station.log or station.daemon.poll() is not None, 240)
    assert station.daemon.poll() is None, station.log
    at_rest(station, len(offered))
    new = {row["id"] for row in station.rows()[len(inspections) :]}
    expected = {row["id"] for row in pending} | new
    subscriber.wait(lambda _: expected <= {message["id"] for message in verdicts(subscriber)})
    wait_for(lambda: not unsent(station))
    assert station.stop() == 0, station.log

    # Each image once, the bytes unchanged, numbers without a gap, the database whole.
    assert verify(station, offered).wrong == []
    # What was recorded is as it was.
    after = [
        {name: row[name] for name in before}
        for before, row in zip(inspections, station.rows(), strict=False)
    ]
    assert after == inspections
    # What had not been sent is sent, the same bytes; what the broker had is not sent again.
    sent = {m.json()["id"]: m.payload for m in subscriber.received("/verdict")}
    assert sent.keys() == expected
    assert {row["id"]: bytes(row["payload"]) for row in pending}.items() <= sent.items()
    numbers = sorted({message["sequence"] for message in verdicts(subscriber)})
    assert numbers == list(range(pending[0]["sequence"], len(offered) + 1))
    # And nothing about it is a fault, or a loss.
    assert " error " not in station.log
    assert "Traceback" not in station.log


def verdicts(subscriber) -> list[Any]:
    return [message.json() for message in subscriber.received("/verdict")]


def unsent(station: Station) -> list[Any]:
    rows = table(station.state / "journal.db", "outbox")
    return [row for row in rows if row["acknowledged"] is None]
