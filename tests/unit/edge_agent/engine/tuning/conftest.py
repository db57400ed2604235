"""A bundle with two variants."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bundles import make_two_variants

if TYPE_CHECKING:
    from edge_agent.bundle import Bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_two_variants(tmp_path_factory.mktemp("two") / "bundle")
