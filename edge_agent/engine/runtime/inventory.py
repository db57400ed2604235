"""What this machine offers, asked in a process of its own: a driver may crash or hang.

``python -m edge_agent.engine.runtime.inventory`` prints the answer as JSON.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass

from edge_agent.system.child import bound_module
from edge_agent.types.target import CPU, INSTALL, NAMES, ProviderError, parse_target

LIMIT = 60.0


@dataclass(frozen=True)
class Inventory:
    """Which targets a session may be tried on."""

    offered: tuple[str, ...]
    """Names, as in the settings."""
    absent: dict[str, str]
    """Why each of the other known names is not offered."""
    providers: tuple[str, ...]
    """ONNX Runtime's own names of what the installed wheel has."""

    def why_not(self, name: str) -> str:
        """Why a target is not worth a try; empty where it is, if only to learn how it fails.

        A device with a number, ``cuda:1``, is not listed and may be there all the same.
        """
        if name in self.offered:
            return ""
        target = parse_target(name)
        numbered = target.provider == "openvino"
        return self.absent.get(name.partition(".")[0] if numbered else target.provider, "")


def take_inventory() -> Inventory:
    """Ask the installed ONNX Runtime, outside this process."""
    command = bound_module("edge_agent.engine.runtime.inventory")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
        answer = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError):
        answer = None
    if answer is None:
        reason = "the search for devices crashed or hung: run `edge-agent doctor`"
        return Inventory((CPU,), {name: reason for name in NAMES if name != CPU}, ())
    return Inventory(tuple(answer["offered"]), answer["absent"], tuple(answer["providers"]))


def main() -> None:
    """Look, in this process."""
    import onnxruntime as ort

    from edge_agent.engine.runtime.session import plugin_devices

    providers = ort.get_available_providers()
    offered = [CPU]
    absent: dict[str, str] = {}
    openvino: list[str] = []
    if "OpenVINOExecutionProvider" in providers:
        from onnxruntime.capi import _pybind_state as state

        openvino = list(state.get_available_openvino_device_ids())
        why = f"OpenVINO sees only: {', '.join(openvino) or 'nothing'}"
    else:
        why = f"not installed here: {INSTALL['openvino']}"
        try:
            for device in ("CPU", "GPU", "NPU"):
                if plugin_devices(parse_target(f"openvino:{device}")):
                    openvino.append(device)
        except ProviderError as error:
            why = str(error)
    offered += [f"openvino:{device}" for device in openvino]
    for name in ("cuda", "tensorrt"):
        ort_name = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}[name]
        if ort_name in providers:
            offered.append(name)
        else:
            absent[name] = f"not installed here: {INSTALL[name]}"
    families = {name.split(".")[0] for name in offered}
    absent |= {n: why for n in NAMES if n.startswith("openvino") and n not in families}
    print(json.dumps({"offered": offered, "absent": absent, "providers": providers}))


if __name__ == "__main__":
    main()
