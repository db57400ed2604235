"""Stations as the integration tests have them, and faults at their calls."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.calls import Calls, build
from tests.integration.conftest import bundle, make_station, slow_bundle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["bundle", "call_library", "calls", "make_station", "slow_bundle"]


@pytest.fixture(scope="session")
def call_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("calls"))


@pytest.fixture
def calls(tmp_path: Path, call_library: Path) -> Iterator[Calls]:
    with closing(Calls(tmp_path / "calls.rules", call_library)) as made:
        yield made
