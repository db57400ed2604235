"""What a worker says of its memory. The driver's answers are stand-ins: no GPU was at hand."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from edge_agent.engine.worker.memory import Memory
from edge_agent.types.target import Target


class NVMLError(Exception):
    """As in pynvml."""


@pytest.fixture
def driver(monkeypatch):
    """A pynvml whose device 1 runs what the test puts into ``running``."""
    driver = SimpleNamespace(NVMLError=NVMLError, running={1: []}, asked=0, nvmlInit=lambda: None)

    def handle(index: int) -> int:
        if index not in driver.running:
            raise NVMLError("Invalid Argument")
        return index

    def processes(device: int) -> list[Any]:
        driver.asked += 1
        found = driver.running[device]
        if isinstance(found, Exception):
            raise found
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in found]

    driver.nvmlDeviceGetHandleByIndex = handle
    driver.nvmlDeviceGetComputeRunningProcesses = processes
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    return driver


def test_resident_memory_is_this_process():
    assert Memory(Target("cpu", "CPU")).rss() > 1 << 20


def test_without_a_gpu_nobody_is_asked(driver):
    assert Memory(Target("cpu", "CPU")).gpu() is None
    assert Memory(Target("openvino", "GPU")).gpu() is None
    assert driver.asked == 0


def test_the_driver_is_asked_for_this_process(driver):
    driver.running[1] = [(os.getpid() + 1, 7), (os.getpid(), 300 << 20)]

    assert Memory(Target("cuda", "1")).gpu() == 300 << 20


def test_the_driver_is_asked_once_a_second(driver):
    now = [100.0]
    memory = Memory(Target("tensorrt", "1"), clock=lambda: now[0])
    driver.running[1] = [(os.getpid(), 5)]
    assert memory.gpu() == 5
    driver.running[1] = [(os.getpid(), 6)]
    now[0] += 0.9
    assert memory.gpu() == 5
    now[0] += 0.2
    assert memory.gpu() == 6
    assert driver.asked == 2


@pytest.mark.parametrize("found", [[], [(os.getpid(), None)], NVMLError("GPU is lost")])
def test_what_the_driver_does_not_tell_is_not_made_up(driver, found):
    driver.running[1] = found

    assert Memory(Target("cuda", "1")).gpu() is None


def test_without_such_a_device_or_package_nothing_is_told(driver, monkeypatch):
    assert Memory(Target("cuda", "0")).gpu() is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert Memory(Target("cuda", "1")).gpu() is None
