"""A variant must prove itself on the golden images before it may judge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from edge_agent.bundle import Bundle, BundleError, write_bundle
from edge_agent.engine.runtime.session import Execution, ProviderError
from edge_agent.engine.worker.predictor import Predictor
from edge_agent.types.target import Target
from tests.bundles import HEIGHT, WIDTH, make_bundle, make_manifest, make_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

needs_openvino = pytest.mark.skipif(
    "OpenVINOExecutionProvider" not in onnxruntime.get_available_providers(),
    reason="onnxruntime-openvino is not installed",
)


def bundle_of(path: Path, edit: Callable[[onnx.ModelProto], object]) -> Bundle:
    manifest, files = make_manifest(make_model(edit=edit))
    return write_bundle(path, manifest, files)


def divide_zero_by_zero(model: onnx.ModelProto) -> None:
    nodes = list(model.graph.node)
    last = nodes[-1]
    last.output[0] = "probability"
    zero = helper.make_node("Sub", ["probability", "probability"], ["zero"])
    model.graph.node.extend([zero, helper.make_node("Div", ["zero", "zero"], ["score"])])


def brighten(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        if list(node.output) == ["heatmap"]:
            node.output[0] = "map"
            model.graph.node.append(helper.make_node("Add", ["map", "eight"], ["heatmap"]))
            break
    for node in model.graph.node:
        if list(node.output) == ["share"]:
            node.input[0] = "map"


def test_it_says_how_far_off_it_was(tmp_path):
    assert Predictor(make_bundle(tmp_path / "b"), "fp32", threads=1).prove() == 0.0


def test_a_variant_runs_nowhere_that_its_trainer_saw_it_judge_wrongly(tmp_path):
    manifest, files = make_manifest(make_model())
    barred = manifest.variants[0].model_copy(
        update={"gate": {"cpu": "3 of 90 verdicts change", "openvino:CPU": ""}}
    )
    changed = manifest.model_copy(update={"variants": (barred,)})
    bundle = write_bundle(tmp_path / "b", changed, files)

    with pytest.raises(ProviderError, match=r"cpu: variant fp32 of .* 3 of 90 verdicts change"):
        Predictor(bundle, "fp32")


def test_a_batch_is_scored_as_its_frames_are(tmp_path):
    predictor = Predictor(make_bundle(tmp_path / "b"), "fp32", threads=1)
    frames = np.random.default_rng(0).integers(40, 200, (5, HEIGHT, WIDTH, 3), np.uint8)

    together = predictor.predict(frames)

    for number, frame in enumerate(frames):
        alone = predictor.predict(frame[None])
        assert alone.score[0] == together.score[number]
        assert np.array_equal(alone.heatmap[0], together.heatmap[number])


@pytest.mark.parametrize(("off", "accepted"), [(0.009, True), (0.011, False)])
def test_the_tolerance_is_the_border(tmp_path, off, accepted):
    right = make_bundle(tmp_path / "right").manifest.golden
    golden = right[1].model_copy(update={"scores": {"fp32": 1.0 - off}})
    predictor = Predictor(make_bundle(tmp_path / "b", golden=(right[0], golden)), "fp32", threads=1)

    if accepted:
        assert predictor.prove() == pytest.approx(off)
    else:
        with pytest.raises(
            BundleError, match=r"golden/defect.png scores 1\.0000 with variant fp32"
        ):
            predictor.prove()


def test_a_score_that_is_no_number_proves_nothing(tmp_path):
    predictor = Predictor(bundle_of(tmp_path / "b", divide_zero_by_zero), "fp32", threads=1)

    with pytest.raises(BundleError, match=r"golden/ok.png: the model's score is nan, not a prob"):
        predictor.prove()


def test_a_heatmap_beyond_one_proves_nothing(tmp_path):
    predictor = Predictor(bundle_of(tmp_path / "b", brighten), "fp32", threads=1)

    with pytest.raises(BundleError, match=r"the model's heatmap is 8\.0, not a probability"):
        predictor.prove()


def test_an_operator_that_the_runtime_does_not_know(tmp_path):
    def edit(model):
        model.graph.node.append(helper.make_node("Fnord", ["share"], ["more"]))

    with pytest.raises(ProviderError, match=r"model\.fp32\.onnx.*Fnord"):
        Predictor(bundle_of(tmp_path / "b", edit), "fp32", threads=1)


@needs_openvino
def test_what_a_model_is_compiled_to_is_kept_by_its_own_hash(tmp_path):
    """OpenVINO names a blob by the graph: two models that differ in their weights share a name."""

    def other_weights(model: onnx.ModelProto) -> None:
        (limit,) = (one for one in model.graph.initializer if one.name == "limit")
        limit.CopyFrom(numpy_helper.from_array(np.array(63.0, np.float32), "limit"))

    one = make_bundle(tmp_path / "one")
    two = bundle_of(tmp_path / "two", other_weights)
    cache = tmp_path / "cache"
    cache.mkdir()
    execution = Execution(Target("openvino", "CPU"), threads=1, cache=cache)

    for bundle in (one, two, one):
        assert Predictor(bundle, "fp32", execution).prove() <= 0.01

    hashes = {bundle.variant("fp32").sha256 for bundle in (one, two)}
    assert {path.name for path in cache.iterdir()} == hashes
    assert all(list((cache / name).glob("*.blob")) for name in hashes)


def test_a_provider_of_another_name(tmp_path):
    with pytest.raises(ProviderError, match="provider 'abacus' is unknown"):
        Predictor(make_bundle(tmp_path / "b"), "fp32", provider="abacus")
