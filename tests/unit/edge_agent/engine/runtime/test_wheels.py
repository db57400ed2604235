"""Wheels that overwrite each other are named, whatever of them can be imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.engine.runtime.wheels import Wheels, find_wheels

pytestmark = pytest.mark.slow


def install(path: Path, name: str, version: str) -> None:
    """The metadata that pip leaves behind; nothing else of a wheel is looked at."""
    home = path / f"{name.replace('-', '_')}-{version}.dist-info"
    home.mkdir(parents=True)
    (home / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_one_wheel_is_installed_here_and_no_clash():
    found = find_wheels()

    assert len(found.classic) == 1
    assert found.clash == ""


def test_a_clash_is_named_by_the_command_before_anything_is_measured(tmp_path):
    install(tmp_path, "onnxruntime-gpu", "1.99.0")
    (installed,) = find_wheels().classic

    done = subprocess.run(
        [sys.executable, "-m", "edge_agent", "tune", "--bundle", "edge_agent/demo/bundle"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[5]}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 2, done.stderr
    assert f"edge-agent: {installed} and onnxruntime-gpu are installed together" in done.stderr
    assert f"pip uninstall -y {installed} onnxruntime-gpu" in done.stderr
    assert "one of the extras cpu, openvino, gpu" in done.stderr
    assert "frames/s" not in done.stderr
    assert done.stdout == ""


def test_the_plugin_clashes_with_nothing_and_counts():
    stock = Wheels({"onnxruntime": "1.24.1"}, None)
    plugged = Wheels({"onnxruntime": "1.24.1"}, "1.8.1")

    assert plugged.clash == ""
    assert plugged.fingerprint == ("onnxruntime 1.24.1", "onnxruntime-ep-openvino 1.8.1")
    assert stock.fingerprint != plugged.fingerprint


@pytest.mark.parametrize("names", [("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")])
def test_three_at_once(names):
    assert " and ".join(names) in Wheels(dict.fromkeys(names, "1"), None).clash
