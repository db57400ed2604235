"""Measured again when anything changes that a measurement depends on, and not otherwise."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from edge_agent.engine.runtime.wheels import Wheels
from edge_agent.engine.tuning import cache
from edge_agent.engine.tuning.candidates import Candidate
from edge_agent.engine.tuning.measure import Measured
from edge_agent.settings import RuntimeSettings

TABLE = [
    Measured(Candidate("fp32", "cpu", 2, 1), True, "", 0.0, 12.5, 80.0),
    Measured(Candidate("-", "cuda", 0, 0), ok=False, reason="not installed here"),
]
WHEELS = Wheels({"onnxruntime": "1.24.1"}, None)


def key(bundle, wheels=WHEELS, **settings):
    return cache.tuning_key(bundle, wheels, RuntimeSettings(**settings))


def test_the_same_again_is_the_same_key(bundle):
    assert key(bundle) == key(bundle)


def test_another_bundle(bundle, tmp_path):
    manifest = bundle.manifest.model_copy(update={"version": "2.0.0"})

    assert key(replace(bundle, manifest=manifest)) != key(bundle)


def test_a_bundle_that_only_moved_is_the_same(bundle, tmp_path):
    assert key(replace(bundle, path=tmp_path)) == key(bundle)


@pytest.mark.parametrize(
    "wheels",
    [
        Wheels({"onnxruntime": "1.24.2"}, None),
        Wheels({"onnxruntime-openvino": "1.24.1"}, None),
        Wheels({"onnxruntime": "1.24.1"}, "1.8.1"),
    ],
)
def test_other_libraries(bundle, wheels):
    assert key(bundle, wheels) != key(bundle)


@pytest.mark.parametrize(
    "settings",
    [
        {"provider": "cpu"},
        {"fallback": True},
        {"variant": "int8"},
        {"workers": 1},
        {"threads": 1},
        {"precision": "performance"},
        {"gpu_memory_mb": 100},
    ],
)
def test_other_settings(bundle, settings):
    assert key(bundle, **settings) != key(bundle)


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("cores", lambda: 77),
        ("workers_that_fit", lambda: 77),
        ("_processor", lambda: "another one"),
        ("_devices", lambda: ["/dev/accel/accel0"]),
        ("read_text", lambda file: "580.1"),
        ("__version__", "77"),
    ],
)
def test_another_machine(bundle, monkeypatch, fact, value):
    before = key(bundle)
    monkeypatch.setattr(cache, fact, value)

    assert key(bundle) != before


def test_what_was_remembered_is_recalled_for_its_key_alone(tmp_path):
    file = tmp_path / "tuning.json"
    cache.remember(file, "a", TABLE)

    assert cache.recall(file, "a") == TABLE
    assert cache.recall(file, "b") is None
    assert [path.name for path in tmp_path.iterdir()] == ["tuning.json"]


def spoil(**changes):
    def change(text):
        content = json.loads(text)
        content["candidates"][0].update(changes)
        return json.dumps(content)

    return change


DAMAGE = {
    "empty": lambda text: "",
    "cut": lambda text: text[: len(text) // 2],
    "not text": lambda text: "\udcff",
    "a list": lambda text: "[]",
    "a number": lambda text: "7",
    "no candidates": lambda text: json.dumps({"key": "a"}),
    "candidates by name": lambda text: json.dumps({"key": "a", "candidates": {"x": 1}}),
    "a rate in words": spoil(fps="fast"),
    "a candidate in words": spoil(candidate="fp32"),
    "half a candidate": spoil(candidate={"variant": "fp32"}),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_table_is_none(tmp_path, what):
    file = tmp_path / "tuning.json"
    cache.remember(file, "a", TABLE)
    file.write_text(DAMAGE[what](file.read_text()), errors="surrogateescape")

    assert cache.recall(file, "a") is None


def test_no_table(tmp_path):
    assert cache.recall(tmp_path / "tuning.json", "a") is None


def test_a_table_that_can_not_be_kept_is_told_and_no_more(tmp_path, caplog):
    cache.remember(tmp_path / "none" / "tuning.json", "a", TABLE)

    assert "can't be kept (No such file or directory): the next start measures" in caplog.text


def test_all_that_can_be_made_again_is_cleared(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    directory = tmp_path / "cache"
    (directory / "profile-x").mkdir(parents=True)
    (directory / "profile-x" / "y").touch()
    (directory / "blob").touch()
    (directory / "link").symlink_to(outside)

    cache.clear(directory)
    cache.clear(tmp_path / "none")

    assert list(directory.iterdir()) == []
    assert (outside / "kept").exists()


@pytest.mark.parametrize(
    ("quota", "expected"), [("max 100000", 4), ("150000 100000", 2), ("50000 100000", 1), ("", 4)]
)
def test_cores_are_those_that_this_process_may_use(monkeypatch, quota, expected):
    monkeypatch.setattr(cache.os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr(cache, "read_text", lambda _: quota)

    assert cache.cores() == expected


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (("536870912\n", ""), 3),  # what compose and Kubernetes give
        (("", "1073741824\n"), 7),
        (("67108864", ""), 1),
        (("max\n", ""), None),
        (("", "9223372036854771712"), None),
        (("", ""), None),
    ],
)
def test_workers_are_as_many_as_a_container_s_memory_holds(monkeypatch, limits, expected):
    monkeypatch.setattr(cache, "read_text", lambda file: limits[cache.MEMORY.index(str(file))])

    assert cache.workers_that_fit() == expected
