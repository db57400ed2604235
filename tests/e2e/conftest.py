"""Stations as the integration tests have them."""

from __future__ import annotations

from tests.integration.conftest import bundle, make_station, slow_bundle

__all__ = ["bundle", "make_station", "slow_bundle"]
