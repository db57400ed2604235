"""What there is, asked in a process that may die of it."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import onnxruntime
import pytest

from edge_agent.engine.runtime import inventory as module
from edge_agent.engine.runtime.inventory import Inventory, take_inventory
from edge_agent.system.child import bound_module

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


def test_this_machine():
    found = take_inventory()

    assert list(found.providers) == onnxruntime.get_available_providers()
    assert found.offered[0] == "cpu"
    assert not set(found.offered) & set(found.absent)
    openvino = "OpenVINOExecutionProvider" in found.providers
    assert ("openvino:CPU" in found.offered) == openvino
    for name, provider in (("cuda", "CUDA"), ("tensorrt", "Tensorrt")):
        assert (name in found.offered) == (f"{provider}ExecutionProvider" in found.providers)


@pytest.mark.parametrize(
    "code",
    [
        "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        "raise OSError('libcuda.so.1')",
        "import time; time.sleep(3600)",
        "import sys; print('words'); sys.exit()",
        "import sys; sys.exit()",
    ],
)
def test_a_driver_that_crashes_or_hangs_leaves_the_cpu(tmp_path: Path, monkeypatch, code):
    (tmp_path / "onnxruntime.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(module, "LIMIT", 2.0)

    found = take_inventory()

    assert found.offered == ("cpu",)
    assert "crashed or hung: run `edge-agent doctor`" in found.why_not("openvino:GPU.1")
    assert found.why_not("cpu") == ""


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("cpu", ""),
        ("openvino:GPU.1", ""),
        ("openvino:GPU", ""),  # it may be the first of two: the session knows
        ("openvino:NPU", "no such chip"),
        ("cuda", "no wheel"),
        ("cuda:1", "no wheel"),
    ],
)
def test_what_is_worth_a_try(name, why):
    absent = {"cuda": "no wheel", "openvino:NPU": "no such chip"}
    found = Inventory(("cpu", "openvino:GPU.0", "openvino:GPU.1"), absent, ())

    assert found.why_not(name) == why


def test_it_is_not_asked_in_this_process(monkeypatch):
    asked = []
    monkeypatch.setattr(
        module.subprocess,
        "run",
        lambda command, **_: asked.append(command) or subprocess.CompletedProcess(command, 1),
    )

    assert take_inventory().offered == ("cpu",)
    assert asked == [bound_module("edge_agent.engine.runtime.inventory")]
