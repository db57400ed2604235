"""Stations in directories of their own, whose daemons are real processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
import pytest

from tests.bundles import make_bundle
from tests.line import Station, wait_for
from tests.slow import make_slow_bundle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

QUICK = "[worker]\nretry_truncated = 0.5\n"


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "bundle").path


@pytest.fixture(scope="session")
def slow_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_slow_bundle(tmp_path_factory.mktemp("slow") / "bundle").path


@pytest.fixture
def make_station(tmp_path: Path, bundle: Path) -> Iterator[Callable[..., Station]]:
    """``make_station(settings, bundle=..., after=...)``; whatever runs at the end is killed."""
    made: list[Station] = []

    def make(
        settings: str = QUICK,
        *,
        bundle: Path = bundle,
        after: str = "move",
        source: str | None = None,
    ) -> Station:
        home = tmp_path / f"station{len(made)}"
        made.append(Station(home, bundle, settings, after, source))
        return made[-1]

    yield make
    for station in made:
        if station.daemon is not None:
            children = children_of(station)
            station.kill()
            psutil.wait_procs(children, timeout=10)


def children_of(station: Station) -> list[psutil.Process]:
    """The daemon's own processes."""
    assert station.daemon is not None
    try:
        return psutil.Process(station.daemon.pid).children()
    except psutil.NoSuchProcess:
        return []


def worker_of(station: Station) -> psutil.Process:
    found: list[psutil.Process] = []

    def there() -> bool:
        children = children_of(station)
        found[:] = [c for c in children if "edge_agent.engine.worker" in " ".join(c.cmdline())]
        return bool(found)

    wait_for(there)
    return found[0]
