"""ONNX Runtime sessions that run where they say they run.

ONNX Runtime is made to run anything anywhere: a provider that can't be had, or an option that it
does not like, ends on the CPU with a line on stderr. Here that is an error.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import onnxruntime as ort

from edge_agent.types.target import CPU, INSTALL, ProviderError, Target, parse_target

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CPU", "Execution", "ProviderError", "open_session"]

_ORT_NAMES = {
    "cpu": "CPUExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_PLUGIN = "edge-agent-openvino"  # our name for the plugin's library, once a process


@dataclass(frozen=True)
class Execution:
    """How to run a graph."""

    target: Target = field(default_factory=lambda: Target(CPU, "CPU"))
    threads: int = 0
    """For one inference on a CPU; 0: one a core."""
    precision: str = "accuracy"
    """``accuracy``: the model's own arithmetic. ``performance``: the device's favourite."""
    cache: Path | None = None
    """Where compiled blobs are kept, so that the next start is quick."""
    gpu_memory_mb: int = 0
    """Limit of CUDA's arena; 0: none."""


def open_session(
    model: bytes,
    execution: Execution | None = None,
    *,
    name: str,
    provider: str = CPU,
    threads: int = 0,
    profile: Path | None = None,
) -> ort.InferenceSession:
    """Build a session for batches of one on exactly one execution provider, or say why not.

    Args:
        model: ONNX, its batch dimension called N; never a path, where another file may lie by now.
        execution: where and how; None: ``provider`` and ``threads`` say it.
        name: what the model is called, for what is said.
        provider: as in the settings.
        threads: as in `Execution`.
        profile: prefix of a profile that is written until ``end_profiling``.

    Raises:
        ProviderError: not installed, no such device, or not able to run the whole graph.
    """
    execution = execution or Execution(parse_target(provider), threads)
    options = ort.SessionOptions()
    options.intra_op_num_threads = execution.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # A graph of fixed shapes: some devices take no other, and none is slower for it.
    options.add_free_dimension_override_by_name("N", 1)
    # Parsed as it was checked: what is ONNX to `check_graph` may look like ORT's own format.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    # Idle threads must not burn the cores that decoding and other stations need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    target = execution.target
    if target.provider == "openvino":
        # Whatever OpenVINO could not take would run on the CPU without a word.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a provider that is missing: we say it better
            session = _build(model, options, execution)
    except ProviderError:
        raise
    except Exception as error:
        raise ProviderError(
            f"{target.name}: ONNX Runtime can't run {name} on it: {_gist(error)}"
        ) from None
    wanted = _ORT_NAMES[target.provider]
    if session.get_providers()[0] != wanted:
        raise ProviderError(
            f"{target.name}: ONNX Runtime put {name} on {session.get_providers()[0]} instead of "
            f"{wanted} without an error: a device or an option is wrong"
        )
    session.disable_fallback()  # a failing run must raise, not move to the CPU
    # Kept for a change of providers, which there is none: as much memory as the model has.
    session._model_bytes = None  # noqa: SLF001
    return session


def _build(model: bytes, options: ort.SessionOptions, execution: Execution) -> ort.InferenceSession:
    target = execution.target
    if target.provider == CPU:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = _ORT_NAMES[target.provider]
    values = provider_options(execution)
    if name in ort.get_available_providers():
        if target.provider == "openvino":
            _require_openvino_device(target)
        providers = [(name, values)]
        return ort.InferenceSession(model, options, providers=providers)
    devices = plugin_devices(target) if target.provider == "openvino" else []
    if devices:
        # Bound to this device: an automatic policy would choose another one in silence.
        options.add_provider_for_devices(devices, values)
        return ort.InferenceSession(model, options)
    raise ProviderError(f"{target.name} is not installed here. {_missing(target)}")


def provider_options(execution: Execution) -> dict[str, str]:
    """The provider's options, as its documentation names them.

    OpenVINO: ``load_config`` takes JSON text with the device's own properties; ``num_of_threads``,
    ``num_streams``, ``precision`` and ``cache_dir`` are deprecated in its favour.
    """
    target = execution.target
    if target.provider == "openvino":
        properties: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1"}
        family = target.device.split(".")[0]
        if family == "CPU":
            # Pinned, the threads of two workers sat on one and the same core.
            properties["ENABLE_CPU_PINNING"] = "NO"
            if execution.threads:
                properties["INFERENCE_NUM_THREADS"] = str(execution.threads)
        if execution.precision == "accuracy" and family != "NPU":  # an NPU has no float32
            properties["INFERENCE_PRECISION_HINT"] = "f32"
        if execution.cache is not None:
            properties["CACHE_DIR"] = str(execution.cache)
        return {"device_type": target.device, "load_config": json.dumps({family: properties})}
    if target.provider == "cuda":
        values = {
            "device_id": target.device,
            "arena_extend_strategy": "kSameAsRequested",  # grow by what is needed, not doubling
            "cudnn_conv_algo_search": "HEURISTIC",  # EXHAUSTIVE takes minutes and its memory
            "use_tf32": "0" if execution.precision == "accuracy" else "1",
        }
        if execution.gpu_memory_mb:
            values["gpu_mem_limit"] = str(execution.gpu_memory_mb << 20)
        return values
    if target.provider == "tensorrt":
        values = {"device_id": target.device}
        if execution.precision != "accuracy":
            values["trt_fp16_enable"] = "True"
        if execution.cache is not None:
            values["trt_engine_cache_enable"] = "True"
            values["trt_engine_cache_path"] = str(execution.cache)
        return values
    return {}


def plugin_devices(target: Target) -> list[Any]:
    """The plugin's devices for a target; empty where the plugin is not installed or has none."""
    try:
        import onnxruntime_ep_openvino as plugin
    except ImportError:
        return []
    name = plugin.get_ep_name()
    if not any(device.ep_name == name for device in ort.get_ep_devices()):
        try:
            ort.register_execution_provider_library(_PLUGIN, plugin.get_library_path())
        except Exception as error:
            raise ProviderError(f"the OpenVINO plugin can't be loaded: {error}") from None
    return [
        device
        for device in ort.get_ep_devices()
        if device.ep_name == name and device.ep_metadata.get("ov_device") == target.device
    ]


def _require_openvino_device(target: Target) -> None:
    from onnxruntime.capi import _pybind_state as state

    seen = state.get_available_openvino_device_ids()
    if target.device not in seen and f"{target.device}.0" not in seen:  # GPU: the first of two
        raise ProviderError(
            f"{target.name}: OpenVINO sees no {target.device} on this machine, only: "
            f"{', '.join(seen) or 'nothing'}. Check that Intel's driver for it is installed and "
            "that this user may open /dev/accel or /dev/dri (`edge-agent doctor` shows both)"
        )


def _missing(target: Target) -> str:
    found = ", ".join(ort.get_available_providers())
    return f"Found: {found}. To install it: {INSTALL[target.provider]}"


def _gist(error: Exception) -> str:
    """The last line: those before it are source files and signatures of C++."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][-400:] if lines else type(error).__name__
