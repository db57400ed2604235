"""Where the nodes of a graph really ran, from ONNX Runtime's own profile."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from edge_agent.engine.runtime.session import ProviderError

if TYPE_CHECKING:
    from pathlib import Path

    from edge_agent.types.target import Target

_HEAVY = ("Conv", "MatMul", "Gemm")
"""Parts of the names of the operators that carry the work, fused and quantised ones included."""
_NAMES = {"openvino": "OpenVINO", "cuda": "CUDA", "tensorrt": "Tensorrt", "cpu": "CPU"}


def check_placement(profile: Path, target: Target) -> None:
    """Hold a profile to the target: no convolution or matrix product anywhere else.

    Shape arithmetic may stay on the CPU, where CUDA's provider leaves it on purpose.

    Raises:
        ProviderError: naming how many ran elsewhere, and where.
    """
    wanted = _NAMES[target.provider]
    here, elsewhere = 0, dict[str, int]()
    for event in json.loads(profile.read_text(encoding="utf-8")):
        where = event.get("args", {}).get("provider", "")
        if event.get("cat") != "Node" or not where:
            continue
        operator = str(event["args"].get("op_name", ""))
        if wanted in where:
            here += 1
        elif any(part in operator for part in _HEAVY):
            elsewhere[where] = elsewhere.get(where, 0) + 1
    if elsewhere or not here:
        places = ", ".join(f"{count} on {where}" for where, count in sorted(elsewhere.items()))
        raise ProviderError(
            f"{target.name}: the graph does not run there: {places or 'no node did'}"
        )
