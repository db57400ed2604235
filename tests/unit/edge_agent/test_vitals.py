"""How a station is, out of what its parts say."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from edge_agent.telemetry.progress import Progress
from edge_agent.telemetry.tally import Tally
from edge_agent.types.reading import Drift
from edge_agent.vitals import Parts, Vitals
from tests.fakes import Clock
from tests.inspections import MODEL, inspection


@pytest.fixture
def clock():
    return Clock(0.0)


def vitals_of(parts, losses=()):
    storage = parts["storage"]
    return Vitals(Parts(**{k: v for k, v in parts.items() if k != "storage"}), storage, losses)


@pytest.fixture
def parts(tmp_path, clock):
    storage = SimpleNamespace(
        root=tmp_path, processed_dir=tmp_path / "absent", quarantine_dir=tmp_path
    )
    return {
        "loop": SimpleNamespace(trouble={}, delayed={}, held_up=lambda: 0),
        "tally": Tally(),
        "source": SimpleNamespace(
            trouble="", warnings=(), forgotten=0, ignored={}, delayed={}, waiting=lambda: 4
        ),
        "spool": SimpleNamespace(depth=lambda: 2),
        "pool": SimpleNamespace(
            trouble="", restarts=1, working=lambda: 1, processes=lambda: [os.getpid(), 2**30]
        ),
        "publisher": None,
        "drift": SimpleNamespace(figures=()),
        "pause": SimpleNamespace(since=None),
        "reload": SimpleNamespace(refused=""),
        "running": SimpleNamespace(degraded="", model=MODEL),
        "progress": Progress(60.0, clock),
        "housekeeping": SimpleNamespace(trouble=[]),
        "mounts": SimpleNamespace(trouble=""),
        "silence": SimpleNamespace(text=""),
        "storage": storage,
    }


def test_all_is_well(parts):
    parts["tally"].add(inspection(1))
    health = vitals_of(parts).health()
    assert (health.status, health.reasons) == ("ok", ())
    assert (health.inspections, health.in_work, health.waiting) == (1, 2, 4)
    assert health.last_inspection_age is not None


def test_parts_that_fell_silent_are_a_failure_with_a_reason(parts, clock):
    vitals = vitals_of(parts)
    clock.now = 61.0
    health = vitals.health()
    assert health.status == "failing"
    assert health.reasons[0].startswith("nothing has moved for 61 s: ")
    # What the watchdog goes by must not change by it: what is failing it takes for known.
    assert vitals.known().status == "ok"


def test_what_the_parts_say_comes_through(parts):
    parts["loop"].trouble = {"journal": "the disk is full"}
    parts["running"].degraded = "openvino:GPU was lost"
    parts["reload"].refused = "no such bundle"
    parts["pause"].since = 1.5
    health = vitals_of(parts).health()
    assert health.status == "failing"
    assert health.reasons == (
        "the disk is full",
        "not as configured: openvino:GPU was lost",
        "not reloaded: no such bundle",
        "paused by a command at 1970-01-01T00:00:01.500Z: images wait for resume",
    )


def test_what_waits_to_be_taken_or_judged_again_degrades_and_is_named(parts):
    parts["loop"].delayed = {"a.png": "is still being written"}
    parts["source"].delayed = {"b.png": "can not be taken: Device or resource busy"}
    parts["loop"].held_up = lambda: 1

    health = vitals_of(parts).known()

    assert health.status == "degraded"
    assert "a.png is still being written, and 1 more" in health.reasons[0]
    assert health.held_up == 1
    assert "a.png" in health.ignored


def test_what_the_journal_lacks_degrades_and_says_what_to_do(parts):
    health = vitals_of(parts, losses=("inspection 3 is missing from journal.db",)).health()
    assert health.status == "degraded"
    (reason,) = health.reasons
    assert reason.startswith("inspection 3 is missing from journal.db: stop the agent and run")


def test_silence_is_a_failure_that_is_told_where_nothing_else_is_the_reason(parts):
    vitals = vitals_of(parts)
    assert not vitals.known().silent
    parts["silence"].text = "no image was judged for more than 60 s"
    health = vitals.health()
    assert (health.status, health.silent) == ("failing", True)
    assert health.reasons == ("no image was judged for more than 60 s",)
    assert vitals.failing  # what `status` says
    parts["loop"].trouble = {"journal": "the disk is full"}
    health = vitals.health()
    assert (health.status, health.silent) == ("failing", False)
    assert health.reasons == ("the disk is full",)
    parts["loop"].trouble, parts["silence"].text = {}, ""
    assert vitals.health().status == "ok"
    assert not vitals.failing


def test_what_fell_silent_itself_is_failing_though_nobody_asks_any_more(parts, clock):
    vitals = vitals_of(parts)
    clock.now = 61.0
    assert vitals.failing


def test_drift_degrades_and_says_where_to_look(parts):
    steady = Drift("score", 250, 0.1, 0.1, higher=True, drifting=False)
    dark = Drift("brightness", 250, 3.0, 0.9, higher=False, drifting=True)
    parts["drift"].figures = (dark, steady)
    health = vitals_of(parts).health()
    assert health.status == "degraded"
    (reason,) = health.reasons
    assert reason.startswith("drift: brightness is lower than in the training images: look at lamp")
    assert vitals_of(parts).reading().drift == (dark, steady)


def test_a_worker_that_is_gone_and_a_directory_that_is_not_there_are_left_out(parts):
    reading = vitals_of(parts).reading()
    assert reading.worker_rss > 1 << 20
    assert [disk.place for disk in reading.disks] == ["state", "quarantine"]
    assert all(0 < disk.free <= disk.size for disk in reading.disks)
