"""Python, and which ONNX Runtime is installed: or half of which two."""

from __future__ import annotations

import platform
import sys

from edge_agent import __version__
from edge_agent.doctor.ask import ask_program
from edge_agent.doctor.finding import Finding
from edge_agent.engine.runtime.wheels import Wheels, find_wheels
from edge_agent.system.child import SAFELY

TOPIC = "python"
_IMPORT = 20.0  # seconds; a cold disk takes its time
_CODE = SAFELY + "import onnxruntime; print(onnxruntime.__version__)"
_INSTALL = "install edge-inspect with one of the extras cpu, openvino, gpu: pip install '.[cpu]'"


def look_at_environment() -> list[Finding]:
    """Versions, wheels, and whether what is installed can be imported."""
    found = [_python()]
    wheels = find_wheels()
    if wheels.clash:
        what, _, mend = wheels.clash.partition(". ")
        return [*found, Finding(TOPIC, "error", what, mend)]
    if not wheels.classic:
        return [*found, Finding(TOPIC, "error", "ONNX Runtime is not installed", _INSTALL)]
    return [*found, _onnxruntime(wheels)]


def _python() -> Finding:
    what = f"Python {platform.python_version()} in {sys.prefix}, edge-agent {__version__}"
    if sys.maxsize < 2**32:
        return Finding(TOPIC, "error", f"{what}: 32 bits", "use a Python of 64 bits")
    return Finding(TOPIC, "ok", what)


def _onnxruntime(wheels: Wheels) -> Finding:
    ((name, version),) = wheels.classic.items()
    installed = ", ".join(wheels.fingerprint)
    again = f"pip uninstall -y {name}, then {_INSTALL}"
    answer = ask_program([sys.executable, "-c", _CODE], _IMPORT)
    if answer.trouble:
        why = answer.trouble.removeprefix(f"{sys.executable}: ")
        return Finding(TOPIC, "error", f"{installed} can't be imported: {why}", again)
    # A second wheel that came and went leaves some of its files behind.
    if answer.said.split("+")[0] != version.split("+")[0]:
        what = f"{name} {version} is installed, but what is imported is {answer.said}"
        return Finding(TOPIC, "error", what, again)
    return Finding(TOPIC, "ok", installed)
