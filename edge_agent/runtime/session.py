"""ONNX Runtime sessions that run where they say they run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnxruntime as ort

if TYPE_CHECKING:
    from pathlib import Path

CPU = "cpu"


class ProviderError(RuntimeError):
    """The execution provider can't be had on this machine; the message says what was found."""


def open_session(model: Path, *, provider: str = CPU, threads: int = 0) -> ort.InferenceSession:
    """Build a session for ``model`` on ``provider``, or say why not.

    Args:
        model: an ONNX file.
        provider: ``cpu``.
        threads: intra-op threads; 0 lets ONNX Runtime take one a core.

    Raises:
        ProviderError: the provider is not in the installed wheel, or the graph can't be built.
    """
    if provider != CPU:
        raise ProviderError(f"provider {provider!r} is unknown; this version runs on: {CPU}")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Idle threads must not burn the cores that decoding and other stations need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ProviderError(
            f"ONNX Runtime can't build {model.name} on {provider}: {error}"
        ) from None
