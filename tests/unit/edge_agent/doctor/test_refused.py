"""What a start refuses, the doctor has seen."""

from __future__ import annotations

import json
import socket

import pytest

from edge_agent.agent import Agent
from edge_agent.cli import _mistakes
from edge_agent.doctor.folders import look_at_folders
from edge_agent.doctor.model import look_at_bundle
from edge_agent.doctor.station import look_at_files, look_at_station
from edge_agent.sources.spool import SpoolError
from tests.broker import free_port
from tests.bundles import make_bundle

pytestmark = pytest.mark.slow


def refusal(settings, tmp_path) -> str:
    """What `run` says, and ends."""
    with pytest.raises(_mistakes()) as caught:
        Agent(settings, tmp_path / "station.toml").run()
    return str(caught.value)


def errors(found):
    return [one.what for one in found if one.level == "error"]


@pytest.fixture
def bundle(tmp_path):
    return make_bundle(tmp_path / "bundle").path


@pytest.mark.parametrize("allowed", [False, True])
def test_an_older_bundle_than_ran_here_last(make_settings, tmp_path, bundle, allowed):
    settings = make_settings("[trust]\nallow_downgrade = true" if allowed else "", bundle=bundle)
    settings.storage.root.mkdir()
    settings.storage.bundles.write_text(json.dumps({"versions": {"dark": "9.0.0"}}))

    found = errors(look_at_bundle(settings))

    if allowed:
        assert found == []
    else:
        assert "dark 1.0.0 is older than 9.0.0" in found[0]
        assert found == [refusal(settings, tmp_path)]


def test_a_bundle_that_a_command_chose_and_is_gone(make_settings, tmp_path, bundle):
    settings = make_settings(bundle=bundle)
    settings.storage.root.mkdir()
    gone = {"versions": {}, "chosen": str(tmp_path / "gone"), "configured": str(bundle)}
    settings.storage.bundles.write_text(json.dumps(gone))

    found = errors(look_at_bundle(settings))

    assert f"to run {bundle} instead, delete" in found[0]
    assert found == [refusal(settings, tmp_path)]


def test_a_threshold_outside_of_the_review_band(make_settings, tmp_path, bundle):
    settings = make_settings("[decision]\nthreshold = 0.1\nreview = [0.9, 0.95]", bundle=bundle)

    assert errors(look_at_bundle(settings)) == [refusal(settings, tmp_path)]


def test_a_port_that_something_else_has(make_settings, tmp_path, bundle):
    with socket.create_server(("127.0.0.1", 0)) as other:  # and never says a word of HTTP
        other.settimeout(0.0)
        port = other.getsockname()[1]
        settings = make_settings(f"[http]\nport = {port}", bundle=bundle)

        found = errors(look_at_station(settings))

        assert found == [refusal(settings, tmp_path)]
        assert found[0].startswith(f"[http] 127.0.0.1:{port} can't be used (Address already in use")


def test_looking_at_the_port_keeps_nobody_from_taking_it(make_settings):
    port = free_port()
    settings = make_settings(f"[http]\nport = {port}")

    assert errors(look_at_station(settings)) == []
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_files_that_another_user_has_left(make_settings, unprivileged):
    storage = make_settings(home=unprivileged).storage
    storage.root.mkdir()
    names = ("lock", "journal.db", "journal.mark", "journal.db-wal")
    for name in names:
        (storage.root / name).touch(mode=0o444)

    assert errors(look_at_files(storage)) == [
        f"{storage.root / name} can't be written by this user" for name in names
    ]
    for name in names:
        (storage.root / name).chmod(0o644)
    assert look_at_files(storage) == []


def test_what_is_no_file(make_settings, tmp_path, bundle):
    settings = make_settings(bundle=bundle)
    settings.storage.lock.mkdir(parents=True)

    assert errors(look_at_station(settings)) == [f"{settings.storage.lock} is not a file"]
    assert "lock: Is a directory" in refusal(settings, tmp_path)


def test_a_root_is_made_once(make_settings, tmp_path):
    own = 'root = "new/state"\nwork = "w"\nprocessed = "p"\nquarantine = "q"'
    settings = make_settings(f"[storage]\n{own}")
    storage = settings.storage

    assert errors(look_at_folders(settings)) == []
    assert "bundle does not exist" in refusal(settings, tmp_path)  # and no folder
    assert storage.root.is_dir()
    storage.root.rename(tmp_path / "away")  # its disk is not mounted

    found = errors(look_at_folders(settings))

    assert "does not exist, though the station's" in found[0]
    assert found == [refusal(settings, tmp_path)]


def test_a_missing_inbox_is_told_before_anything_takes_time(make_settings, tmp_path):
    settings = make_settings()  # its bundle is not there either: that is looked at later
    (tmp_path / "inbox").rmdir()

    with pytest.raises(SpoolError, match=r"inbox is not a directory: create it"):
        Agent(settings, tmp_path / "station.toml").run()
    assert not settings.storage.root.exists()
