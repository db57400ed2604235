"""What a session is to run on, and how such a thing is named in the settings."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edge_agent.system.text import did_you_mean

_NUMBER = re.compile(r"[0-9]{0,3}")
AUTO = "auto"
CPU = "cpu"
NAMES = (CPU, "openvino:CPU", "openvino:GPU", "openvino:NPU", "cuda", "tensorrt")
"""What may be asked for by name; a device may have a number: ``openvino:GPU.1``, ``cuda:1``."""

_SHORT = {"openvino": "openvino:CPU", "gpu": "openvino:GPU", "npu": "openvino:NPU"}

INSTALL = {
    "cpu": "pip install 'edge-inspect[cpu]'",
    "openvino": "pip install 'edge-inspect[openvino]' in an environment of its own",
    "cuda": "pip install 'edge-inspect[gpu]' in an environment of its own, and NVIDIA's driver",
    "tensorrt": "pip install 'edge-inspect[gpu]' in an environment of its own, NVIDIA's driver "
    "and TensorRT",
}


class ProviderError(RuntimeError):
    """The execution provider can't be had, or isn't what runs; the message says what to do."""


@dataclass(frozen=True)
class Target:
    """An execution provider on one device."""

    provider: str
    """``cpu``, ``openvino``, ``cuda`` or ``tensorrt``."""
    device: str
    """``CPU``; OpenVINO's ``CPU``, ``GPU``, ``GPU.1``, ``NPU``; CUDA's number."""

    @property
    def name(self) -> str:
        """As it is written in the settings."""
        if self.provider == CPU:
            return CPU
        if self.provider == "openvino":
            return f"openvino:{self.device}"
        return self.provider if self.device == "0" else f"{self.provider}:{self.device}"


def parse_target(name: str) -> Target:
    """The target of a name.

    Raises:
        ProviderError: no such name.
    """
    provider, _, device = name.partition(":")
    if provider == CPU and not device:
        return Target(CPU, "CPU")
    if provider == "openvino" and device.split(".")[0] in ("CPU", "GPU", "NPU"):
        return Target(provider, device)
    if provider in ("cuda", "tensorrt") and _NUMBER.fullmatch(device):
        return Target(provider, device or "0")
    short = name.lower().removesuffix("executionprovider")  # as ONNX Runtime calls them
    near = did_you_mean(_SHORT.get(short, short), (AUTO, *NAMES))
    raise ProviderError(
        f"provider {name!r} is unknown; there are: {AUTO}, {', '.join(NAMES)}{near}"
    )
