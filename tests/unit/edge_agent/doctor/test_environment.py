"""One ONNX Runtime, whole; or which of the many things that pip can do went wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from edge_agent.doctor import environment
from edge_agent.doctor.environment import look_at_environment
from edge_agent.engine.runtime.wheels import Wheels, find_wheels


def test_this_environment_is_well():
    python, wheel = look_at_environment()

    assert python.level == wheel.level == "ok"
    assert python.what.startswith(f"Python {sys.version_info.major}.{sys.version_info.minor}.")
    assert wheel.what.startswith("onnxruntime")


def test_two_wheels_are_a_clash(tmp_path):
    (installed,) = find_wheels().classic
    other = "onnxruntime-gpu" if installed != "onnxruntime-gpu" else "onnxruntime"
    record = tmp_path / f"{other.replace('-', '_')}-1.20.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {other}\nVersion: 1.20.0\n")

    done = subprocess.run(
        [sys.executable, "-m", "edge_agent", "doctor", "--json"],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
    )

    assert done.returncode == 2, done.stderr
    (clash,) = (one for one in json.loads(done.stdout) if one["level"] == "error")
    assert clash["topic"] == "python"
    assert "are installed together: they overwrite each other" in clash["what"]
    assert clash["mend"].startswith("Run `pip uninstall -y ")
    assert installed in clash["mend"]
    assert other in clash["mend"]


def test_no_wheel_at_all(monkeypatch):
    monkeypatch.setattr(environment, "find_wheels", lambda: Wheels({}, None))

    found = look_at_environment()[-1]

    assert (found.level, found.what) == ("error", "ONNX Runtime is not installed")
    assert "cpu, openvino, gpu" in found.mend


def test_a_wheel_that_can_not_be_imported(tmp_path, monkeypatch):
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('libgomp.so.1: cannot open')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    found = look_at_environment()[-1]

    assert found.level == "error"
    assert found.what.endswith("can't be imported: ImportError: libgomp.so.1: cannot open")
    assert found.mend.startswith("pip uninstall -y onnxruntime")


def test_what_another_wheel_has_left_behind(tmp_path, monkeypatch):
    (tmp_path / "onnxruntime.py").write_text("__version__ = '0.1.0'")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    found = look_at_environment()[-1]

    assert found.level == "error"
    assert found.what.endswith(" is installed, but what is imported is 0.1.0")
