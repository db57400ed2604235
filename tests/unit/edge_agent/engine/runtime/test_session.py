"""A session runs where it says it runs, or there is none."""

from __future__ import annotations

import importlib
import json
import sys
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest

from edge_agent.engine.runtime import session as module
from edge_agent.engine.runtime.placement import check_placement
from edge_agent.engine.runtime.session import (
    Execution,
    ProviderError,
    open_session,
    provider_options,
)
from edge_agent.types.target import Target, parse_target
from tests.bundles import HEIGHT, WIDTH, make_model

if TYPE_CHECKING:
    from pathlib import Path

OPENVINO = Target("openvino", "CPU")
needs_openvino = pytest.mark.skipif(
    "OpenVINOExecutionProvider" not in onnxruntime.get_available_providers(),
    reason="onnxruntime-openvino is not installed",
)
needs_no_cuda = pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(),
    reason="onnxruntime-gpu is installed",
)


@pytest.fixture(scope="module")
def model():
    return make_model()


def properties(execution: Execution) -> dict[str, str]:
    options = provider_options(execution)
    assert options["device_type"] == execution.target.device
    (of_device,) = json.loads(options["load_config"]).items()
    assert of_device[0] == execution.target.device.split(".", maxsplit=1)[0]
    return of_device[1]


# -- options -----------------------------------------------------------------------------------


def test_openvino_does_not_pin_the_threads_of_two_workers_to_one_core():
    told = properties(Execution(OPENVINO, threads=1))

    assert told["ENABLE_CPU_PINNING"] == "NO"
    assert told["INFERENCE_NUM_THREADS"] == "1"
    assert told["NUM_STREAMS"] == "1"


def test_openvino_computes_as_the_model_was_made_unless_told_otherwise(tmp_path):
    assert properties(Execution(OPENVINO))["INFERENCE_PRECISION_HINT"] == "f32"
    quick = properties(Execution(OPENVINO, precision="performance", cache=tmp_path))
    assert "INFERENCE_PRECISION_HINT" not in quick
    assert quick["CACHE_DIR"] == str(tmp_path)


@pytest.mark.parametrize("device", ["GPU", "GPU.1", "NPU"])
def test_only_a_cpu_has_threads_to_pin(device):
    told = properties(Execution(Target("openvino", device), threads=4))

    assert not {"ENABLE_CPU_PINNING", "INFERENCE_NUM_THREADS"} & told.keys()
    assert ("INFERENCE_PRECISION_HINT" in told) == (device != "NPU")  # which has no float32


def test_cuda_takes_no_more_memory_than_it_may():
    options = provider_options(Execution(Target("cuda", "1"), gpu_memory_mb=512))

    assert options["device_id"] == "1"
    assert options["gpu_mem_limit"] == str(512 << 20)
    assert options["use_tf32"] == "0"
    assert "gpu_mem_limit" not in provider_options(Execution(Target("cuda", "0")))


def test_tensorrt_keeps_its_engines(tmp_path):
    options = provider_options(Execution(Target("tensorrt", "0"), cache=tmp_path))

    assert options["trt_engine_cache_path"] == str(tmp_path)
    assert "trt_fp16_enable" not in options


# -- sessions ----------------------------------------------------------------------------------


@needs_openvino
def test_every_option_is_one_that_openvino_takes(model, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    running = open_session(model, Execution(OPENVINO, threads=1, cache=cache), name="model.onnx")

    assert running.get_providers()[0] == "OpenVINOExecutionProvider"
    score, _ = running.run(None, {"image": np.zeros((1, HEIGHT, WIDTH, 3), np.uint8)})
    assert score == pytest.approx([1.0])


@needs_openvino
@pytest.mark.parametrize(
    "options",
    [
        {"device_type": "CPU", "load_config": "/etc/openvino.json"},  # it wants JSON, not a path
        {"device_type": "CPU", "load_config": '{"CPU": '},
        {"device_type": "CPU", "load_config": '{"CPU": {"NO_SUCH_PROPERTY": "1"}}'},
        {"device_type": "CPU", "no_such_option": "1"},
    ],
)
def test_an_option_that_onnx_runtime_does_not_like_is_an_error(model, monkeypatch, options, capfd):
    monkeypatch.setattr(module, "provider_options", lambda _: options)

    with pytest.raises(ProviderError, match=r"^openvino:CPU: ONNX Runtime ") as refusal:
        open_session(model, Execution(OPENVINO), name="model.onnx")
    assert "\n" not in str(refusal.value)


@needs_openvino
def test_a_device_that_openvino_does_not_see(model):
    with pytest.raises(ProviderError, match=r"sees no NPU\.7 on this machine, only: .*CPU.*/dev/"):
        open_session(model, Execution(Target("openvino", "NPU.7")), name="model.onnx")


@needs_openvino
@pytest.mark.parametrize(("seen", "found"), [(["CPU", "GPU.0", "GPU.1"], True), (["CPU"], False)])
def test_plain_gpu_is_the_first_of_two(monkeypatch, seen, found):
    state = importlib.import_module("onnxruntime.capi._pybind_state")
    monkeypatch.setattr(state, "get_available_openvino_device_ids", lambda: seen)
    if found:
        module._require_openvino_device(Target("openvino", "GPU"))
    else:
        with pytest.raises(ProviderError, match="sees no GPU"):
            module._require_openvino_device(Target("openvino", "GPU"))


@needs_no_cuda
@pytest.mark.parametrize("name", ["cuda", "cuda:1", "tensorrt"])
def test_a_provider_that_is_not_installed(model, name):
    with pytest.raises(ProviderError, match=r"is not installed here\. Found: .*To install it: pip"):
        open_session(model, name="model.onnx", provider=name)


@pytest.mark.parametrize("name", ["", "gpu", "cpu:0", "openvino", "openvino:TPU", "cuda:a", "CUDA"])
def test_a_name_that_there_is_not(name):
    with pytest.raises(ProviderError, match="is unknown; there are: auto, cpu, openvino:CPU"):
        parse_target(name)


@pytest.mark.parametrize("name", ["cpu", "openvino:GPU.1", "openvino:NPU", "cuda", "cuda:2"])
def test_a_name_and_back(name):
    assert parse_target(name).name == name


def test_what_looks_like_onnx_runtimes_own_format_is_parsed_as_it_was_checked():
    """By its fifth to eighth byte, which are the author's to choose."""
    model = make_model(edit=lambda one: setattr(one, "producer_name", "ORTM" + 8 * "x"))
    assert model[4:8] == b"ORTM"

    session = open_session(model, name="model.onnx")

    assert [value.name for value in session.get_inputs()] == ["image"]


def test_a_session_does_not_keep_the_bytes_of_its_model():
    model = make_model()
    before = sys.getrefcount(model)

    session = open_session(model, name="model.onnx")

    assert sys.getrefcount(model) == before
    assert session.run(["score"], {"image": np.zeros((1, HEIGHT, WIDTH, 3), np.uint8)}) == [1.0]


# -- placement ---------------------------------------------------------------------------------


def profile(path: Path, *events: tuple[str, str]) -> Path:
    file = path / "profile.json"
    rows = [
        {"cat": "Node", "args": {"op_name": operator, "provider": where}}
        for operator, where in events
    ]
    session = {"cat": "Session", "args": {"provider": "CPUExecutionProvider", "op_name": "Conv"}}
    file.write_text(json.dumps([session, *rows, {"cat": "Node"}]))
    return file


def test_shape_arithmetic_may_stay_on_the_cpu(tmp_path):
    events = ("Conv", "CUDAExecutionProvider"), ("Shape", "CPUExecutionProvider")

    check_placement(profile(tmp_path, *events), Target("cuda", "0"))


@pytest.mark.parametrize("operator", ["Conv", "FusedConv", "QLinearConv", "MatMulInteger", "Gemm"])
def test_the_work_may_not(tmp_path, operator):
    events = ("Conv", "CUDAExecutionProvider"), (operator, "CPUExecutionProvider")

    with pytest.raises(ProviderError, match="does not run there: 1 on CPUExecutionProvider"):
        check_placement(profile(tmp_path, *events), Target("cuda", "0"))


def test_nothing_ran_there_at_all(tmp_path):
    file = profile(tmp_path, ("Shape", "CPUExecutionProvider"))

    with pytest.raises(ProviderError, match="openvino:CPU: the graph does not run there: no node"):
        check_placement(file, OPENVINO)
