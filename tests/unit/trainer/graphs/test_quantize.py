"""INT8 and FP16 of a small network: what is in the files, and what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import pytest

from edge_agent.bundle import Preprocess
from edge_agent.bundle.graph import check_graph
from edge_agent.engine.runtime.session import open_session
from tests.graphs import HEIGHT, WIDTH, make_frames, make_network
from trainer.graphs.half import halve
from trainer.graphs.quantize import Quantization, choose_images, quantize

SPEC = Preprocess(width=WIDTH, height=HEIGHT)
FRAMES = make_frames(12)


def scores(file, frames=FRAMES):
    session = open_session(file.read_bytes(), name=file.name)
    return np.array([session.run(["score"], {"image": frame[None]})[0][0] for frame in frames])


@pytest.fixture
def network(tmp_path):
    return make_network(tmp_path / "fp32.onnx")


def weights_of(model):
    """Eight-bit weights, by the name of what they were."""
    return {
        tensor.name.removesuffix("_quantized"): onnx.numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and tensor.name.endswith("_quantized")
    }


# Without VNNI a CPU adds products of eight bits in sixteen: there only seven say the same.
has_vnni = "vnni" in Path("/proc/cpuinfo").read_text()
EIGHT = pytest.param(False, marks=pytest.mark.skipif(not has_vnni, reason="no VNNI"), id="8 bits")


@pytest.mark.parametrize("calibrator", ["minmax", "percentile", "entropy"])
@pytest.mark.parametrize("seven", [EIGHT, pytest.param(True, id="7 bits")])
def test_int8_says_about_the_same_and_keeps_the_contract(
    network, tmp_path, calibrator, seven, capsys
):
    out = tmp_path / "int8.onnx"
    quantize(network, out, FRAMES, Quantization(calibrator, seven_bit=seven))
    check_graph(out.name, out.read_bytes(), SPEC)
    weights = weights_of(onnx.load(out))
    assert set(weights) == {"body.0.weight", "body.1.weight", "body.2.conv.weight", "body.3.weight"}
    spread = np.ptp(scores(network))
    assert np.abs(scores(out) - scores(network)).max() < 0.1 * spread
    assert capsys.readouterr().out == ""


def test_the_last_logit_is_not_rounded(network, tmp_path):
    """Distinct images have distinct scores: 8 bits of a logit would tie them."""
    out = tmp_path / "int8.onnx"
    quantize(network, out, FRAMES[:4], Quantization())
    assert len(set(scores(out).tolist())) == len(set(scores(network).tolist())) == len(FRAMES)


def test_seven_bits_are_seven(network, tmp_path):
    for seven, highest in ((False, 127), (True, 64)):
        out = tmp_path / f"{seven}.onnx"
        quantize(network, out, FRAMES[:4], Quantization(seven_bit=seven))
        values = np.concatenate([w.ravel() for w in weights_of(onnx.load(out)).values()])
        assert highest - 1 <= np.abs(values.astype(int)).max() <= highest


def test_a_block_in_float_is_left_alone(network, tmp_path):
    out = tmp_path / "int8.onnx"
    quantize(network, out, FRAMES[:4], Quantization(in_float=("body.1",)))
    weights = weights_of(onnx.load(out))
    assert "body.1.weight" not in weights
    assert "body.2.conv.weight" in weights


def test_same_images_same_file(network, tmp_path):
    for name in ("one", "two"):
        quantize(network, tmp_path / name, FRAMES[:4], Quantization())
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_fp16_is_half_and_close_with_the_contract_kept(network, tmp_path):
    out = tmp_path / "fp16.onnx"
    halve(network, out)
    check_graph(out.name, out.read_bytes(), SPEC)
    found = scores(out)
    assert np.abs(found - scores(network)).max() < 2e-3
    # float32 to the end: not one score is a number that FP16 could hold
    assert not (found.astype(np.float16).astype(np.float32) == found).all()
    graph = onnx.load(out).graph
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    assert kinds["body.1.weight"] == onnx.TensorProto.FLOAT16


def test_ranges_come_from_both_classes():
    labels = np.arange(100) < 10
    chosen = choose_images(labels, np.arange(100), 40, seed=0)
    assert len(set(chosen.tolist())) == 40
    assert labels[chosen].sum() == 10
    assert labels[choose_images(labels, np.arange(100), 12, seed=0)].sum() == 6
    assert len(choose_images(labels, np.arange(5), 12, seed=0)) == 5
    only = np.flatnonzero(labels)
    assert set(choose_images(labels, only, 40, seed=0).tolist()) == set(only.tolist())
