"""An older bundle than the one that ran here last."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_agent.bundle import Bundle, BundleError
from edge_agent.bundle.history import (
    Ran,
    bundle_before,
    bundle_to_run,
    check_version,
    ran_last,
    remember,
)
from tests.bundles import make_manifest, make_model


def manifest(name: str, version: str):
    return make_manifest(make_model(), name=name, version=version)[0]


def ran(file: Path, name: str, version: str, *, configured: str = "/set", **how: bool):
    bundle = Bundle(Path(f"/shelf/{name}-{version}"), manifest(name, version), "digest")
    remember(file, bundle, Path(configured), **{"chosen": False, **how})


def test_the_same_and_a_newer_one_may_run(tmp_path):
    file = tmp_path / "bundles.json"
    check_version(file, manifest("a", "1.9.0"))
    ran(file, "a", "1.9.0")

    check_version(file, manifest("a", "1.9.0"))
    check_version(file, manifest("a", "1.10.0"))
    check_version(file, manifest("b", "0.0.1"))


def test_an_older_one_may_not(tmp_path):
    file = tmp_path / "bundles.json"
    ran(file, "a", "1.10.0")
    ran(file, "b", "3.0.0")

    with pytest.raises(BundleError, match=r"a 1.9.0 is older than 1.10.0, which ran here last"):
        check_version(file, manifest("a", "1.9.0"))


def test_what_was_let_back_is_what_ran_last(tmp_path):
    file = tmp_path / "bundles.json"
    ran(file, "a", "2.0.0")
    ran(file, "a", "1.0.0")

    check_version(file, manifest("a", "1.5.0"))


@pytest.mark.parametrize("content", ["", "[]", "words", '{"a": 1}', '{"versions": []}'])
def test_a_damaged_history_lets_nothing_through(tmp_path, content):
    file = tmp_path / "bundles.json"
    file.write_text(content)

    with pytest.raises(BundleError, match=r"bundles\.json"):
        check_version(file, manifest("a", "1.0.0"))


def test_a_command_counts_until_the_settings_name_another(tmp_path):
    file = tmp_path / "bundles.json"
    assert bundle_to_run(file, Path("/set")) == Path("/set")
    ran(file, "a", "1.0.0")
    assert bundle_to_run(file, Path("/set")) == Path("/set")
    ran(file, "a", "2.0.0", chosen=True)
    assert bundle_to_run(file, Path("/set")) == Path("/shelf/a-2.0.0")
    assert bundle_to_run(file, Path("/other")) == Path("/other")
    ran(file, "a", "3.0.0", configured="/other")
    assert bundle_to_run(file, Path("/set")) == Path("/set")


def test_the_way_back_is_to_what_ran_before_and_not_to_the_last_start(tmp_path):
    file = tmp_path / "bundles.json"
    ran(file, "a", "1.0.0")
    assert bundle_before(file) is None
    for _ in range(2):
        ran(file, "a", "2.0.0")
        assert bundle_before(file) == Ran(directory="/shelf/a-1.0.0", digest="digest", name="a")


def test_the_way_back_leads_to_the_same_place_when_it_was_gone(tmp_path):
    file = tmp_path / "bundles.json"
    ran(file, "a", "1.0.0")
    ran(file, "a", "2.0.0", chosen=True)
    ran(file, "a", "1.0.0", chosen=True, back=True)
    assert bundle_before(file) == Ran(directory="/shelf/a-1.0.0", digest="digest", name="a")


def test_versions_that_were_noted_before_commands_could_choose_still_count(tmp_path):
    file = tmp_path / "bundles.json"
    file.write_text('{"a": "2.0.0", "versions": "1.0.0"}')  # one may be called so
    with pytest.raises(BundleError, match=r"older than 2\.0\.0"):
        check_version(file, manifest("a", "1.0.0"))
    ran(file, "b", "1.0.0")
    with pytest.raises(BundleError, match=r"older than 2\.0\.0"):
        check_version(file, manifest("a", "1.0.0"))


def test_what_ran_last_is_known_by_name_and_an_earlier_programs_note_is_none(tmp_path):
    file = tmp_path / "bundles.json"
    assert ran_last(file) is None
    ran(file, "a", "1.0.0")
    ran(file, "a", "2.0.0")
    assert ran_last(file).name == "a"
    nameless = json.loads(file.read_text())
    for one in ("runs", "before"):
        del nameless[one]["name"]
    file.write_text(json.dumps(nameless))
    assert ran_last(file).name == ""
    ran(file, "a", "2.0.0")  # the same bundle at the same place: not another one before it
    assert ran_last(file).name == "a"
    assert bundle_before(file).directory == "/shelf/a-1.0.0"
