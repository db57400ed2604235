"""The ways of an image from its folder: renamed, copied, or kept where it is."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.broker import free_port
from tests.integration.conftest import children_of
from tests.line import Station
from tests.mounts import mounted, needs_root
from tests.sweeps import swept

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RENAMED, COPIED, KEPT = "renamed", "copied", "kept"
WAYS = [RENAMED, pytest.param(COPIED, marks=needs_root), KEPT]
MOVED = WAYS[:2]
"""Those that take the image out of its folder."""
HARDEST = [WAYS[1], *swept(RENAMED, KEPT)]
"""The one of the most steps in `make test`, the others in `make faults`."""

SETTLE = 0.2


@contextmanager
def another_filesystem(at: Path) -> Iterator[Path]:
    """As a network mount or a container's volume is: no rename leads out of it."""
    with mounted(at, "-t", "tmpfs", "-o", "size=256m", "none"):
        yield at


@contextmanager
def station_by(
    way: str,
    home: Path,
    bundle: Path,
    settings: str = "",
    *,
    folder: str = f"settle = {SETTLE}\n",
    page: bool = True,
) -> Iterator[Station]:
    """A station whose images go this way, not started; killed at the end.

    Args:
        way: one of `WAYS`.
        home: its directory.
        bundle: what it judges with.
        settings: more lines for ``station.toml``.
        folder: more lines for ``[source.folder]``.
        page: serve ``/healthz`` on ``Station.port``.
    """
    after = "keep" if way == KEPT else "move"
    source = f'[source.folder]\npath = "inbox"\nafter = "{after}"\n{folder}'
    port = free_port() if page else 0
    http = f"[http]\nport = {port}\n" if page else ""
    with another_filesystem(home / "inbox") if way == COPIED else _nothing():
        station = Station(home, bundle, f"{settings}\n{http}", after, source, port=port)
        try:
            yield station
        finally:
            end(station)


def end(station: Station) -> None:
    """Kill the daemon, and wait until its workers are gone too: they may hold a filesystem."""
    if station.daemon is not None:
        children = children_of(station)
        station.kill()
        psutil.wait_procs(children, timeout=10)


@contextmanager
def _nothing() -> Iterator[None]:
    yield
