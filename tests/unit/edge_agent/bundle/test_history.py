"""An older bundle than the one that ran here last."""

from __future__ import annotations

import pytest

from edge_agent.bundle import BundleError
from edge_agent.bundle.history import check_version, remember
from tests.bundles import make_manifest, make_model


def manifest(name: str, version: str):
    return make_manifest(make_model(), name=name, version=version)[0]


def test_the_same_and_a_newer_one_may_run(tmp_path):
    file = tmp_path / "bundles.json"
    check_version(file, manifest("a", "1.9.0"))
    remember(file, manifest("a", "1.9.0"))

    check_version(file, manifest("a", "1.9.0"))
    check_version(file, manifest("a", "1.10.0"))
    check_version(file, manifest("b", "0.0.1"))


def test_an_older_one_may_not(tmp_path):
    file = tmp_path / "bundles.json"
    remember(file, manifest("a", "1.10.0"))
    remember(file, manifest("b", "3.0.0"))

    with pytest.raises(BundleError, match=r"a 1.9.0 is older than 1.10.0, which ran here last"):
        check_version(file, manifest("a", "1.9.0"))


def test_what_was_let_back_is_what_ran_last(tmp_path):
    file = tmp_path / "bundles.json"
    remember(file, manifest("a", "2.0.0"))
    remember(file, manifest("a", "1.0.0"))

    check_version(file, manifest("a", "1.5.0"))


@pytest.mark.parametrize("content", ["", "[]", "words"])
def test_a_damaged_history_lets_nothing_through(tmp_path, content):
    file = tmp_path / "bundles.json"
    file.write_text(content)

    with pytest.raises(BundleError, match=r"bundles\.json"):
        check_version(file, manifest("a", "1.0.0"))
