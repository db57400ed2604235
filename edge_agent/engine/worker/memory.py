"""What a worker takes of the machine's memory and, where it computes on an NVIDIA GPU, of its."""

from __future__ import annotations

import importlib
import os
import time
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.types.target import Target

_EVERY = 1.0  # seconds: asking the driver takes longer than the rest of a frame's bookkeeping


class Memory:
    """Of this process."""

    def __init__(self, target: Target, clock: Callable[[], float] = time.monotonic) -> None:
        self._process = psutil.Process()
        self._clock = clock
        self._asked = float("-inf")
        self._gpu: int | None = None
        self._ask = _gpu_of(target)

    def rss(self) -> int:
        """Resident bytes."""
        return int(self._process.memory_info().rss)

    def gpu(self) -> int | None:
        """Bytes of the GPU, at most a second old; None where there is none, or it isn't told."""
        if self._ask is not None and self._clock() - self._asked >= _EVERY:
            self._asked = self._clock()
            self._gpu = self._ask()
        return self._gpu


def _gpu_of(target: Target) -> Callable[[], int | None] | None:
    """Asks NVIDIA's driver (NVML) about this process; None where that can't be done.

    NVML numbers GPUs by their place on the bus. CUDA does so too with
    ``CUDA_DEVICE_ORDER=PCI_BUS_ID``, or where all GPUs are alike.
    """
    if target.provider not in ("cuda", "tensorrt"):
        return None
    try:
        nvml: Any = importlib.import_module("pynvml")
        nvml.nvmlInit()
        device = nvml.nvmlDeviceGetHandleByIndex(int(target.device))
    except Exception:  # no package, no driver, no such device: then it isn't told
        return None

    def ask() -> int | None:
        try:
            running = nvml.nvmlDeviceGetComputeRunningProcesses(device)
        except nvml.NVMLError:
            return None
        mine = [one.usedGpuMemory for one in running if one.pid == os.getpid()]
        return None if not mine or mine[0] is None else int(mine[0])

    return ask
