"""The real ONNX Runtime, found further down ``sys.path``, with a provider that misbehaves.

Put ``tests/standins`` on PYTHONPATH of a process, and name in EDGE_STANDIN a file that says what
goes wrong; it is read again at every step, so that a provider can be lost while it runs. It holds
``PROVIDER:FAULT``, for instance ``openvino:segv@5``, or nothing, for a provider that is well:

raise, hang, segv  when a session is built; with ``@N`` from the N-th run of a process on. It hangs
                   for as long as it is told to
memory             as raise: there is no memory for it
elsewhere          the session is on the CPU, and says so
lie                the session is on the CPU, and says that it is not
wrong              scores are turned over
"""

from __future__ import annotations

import importlib.machinery
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

_OWN = Path(__file__).parent.parent
_spec = importlib.machinery.PathFinder.find_spec(
    "onnxruntime", [place for place in sys.path if Path(place or ".").resolve() != _OWN.resolve()]
)
assert _spec is not None, "the real onnxruntime is not installed"
assert _spec.origin is not None
__path__ = list(_spec.submodule_search_locations or ())
__file__ = _spec.origin
exec(compile(Path(_spec.origin).read_text(), _spec.origin, "exec"), globals())

_Real: Any = globals()["InferenceSession"]
_CPU = "CPUExecutionProvider"
_NAMES = {"openvino": "OpenVINOExecutionProvider", "cpu": _CPU}


def _told() -> tuple[str, str, int | None]:
    """Provider, fault, and from which run on; None: when a session is built."""
    try:
        text = Path(os.environ["EDGE_STANDIN"]).read_text().strip()
    except OSError:
        text = ""
    provider, _, fault = text.partition(":")
    fault, _, number = fault.partition("@")
    return _NAMES.get(provider, ""), fault, int(number) if number else None


def _misbehave(fault: str) -> None:
    if fault == "raise":
        raise RuntimeError("the device was removed")
    if fault == "memory":
        raise MemoryError("std::bad_alloc")
    if fault == "hang":
        while _told()[1] == "hang":
            time.sleep(0.05)
    if fault == "segv":
        os.kill(os.getpid(), signal.SIGSEGV)


class InferenceSession(_Real):
    """Misbehaves where it is told to."""

    runs = 0

    def __init__(self, model: bytes, options: Any = None, providers: Any = None) -> None:
        first = providers[0] if providers else _CPU
        self._asked = first if isinstance(first, str) else first[0]
        provider, fault, start = _told()
        if provider == self._asked:
            if start is None:
                _misbehave(fault)
            if fault in ("elsewhere", "lie"):
                options.add_session_config_entry("session.disable_cpu_ep_fallback", "0")
                providers = [_CPU]
        super().__init__(model, options, providers=providers)

    def get_providers(self) -> list[str]:
        provider, fault, _ = _told()
        if provider == self._asked and fault == "lie":
            return [self._asked, _CPU]
        return list(super().get_providers())

    def run(self, names: list[str], inputs: dict[str, Any], options: Any = None) -> list[Any]:
        InferenceSession.runs += 1
        provider, fault, start = _told()
        if provider == self._asked and start is not None and InferenceSession.runs >= start:
            _misbehave(fault)
        score, *others = super().run(names, inputs, options)
        if provider == self._asked and fault == "wrong":
            score = 1.0 - score
        return [score, *others]
