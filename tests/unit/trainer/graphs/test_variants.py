"""Variants are judged by folds that did not see the image, and in float where 8 bits cost."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")

from edge_agent.bundle import Preprocess
from tests.graphs import HEIGHT, WIDTH, make_frames, make_network
from trainer.config import DenseConfig
from trainer.data import Sample
from trainer.data.framefile import store_frames
from trainer.graphs import variants
from trainer.graphs.elsewhere import other_providers
from trainer.graphs.evaluate import judge, open_graph
from trainer.graphs.prove import judge_held_out
from trainer.graphs.quantize import Quantization
from trainer.graphs.sensitivity import dearest, quantizable_blocks, scan
from trainer.graphs.variants import (
    Proven,
    fastest,
    make_fp16,
    make_int8,
    make_variants,
    time_variants,
)

pytestmark = pytest.mark.train
SPEC = Preprocess(width=WIDTH, height=HEIGHT)
COUNT = 24
OUTLIER = 3000.0


def prove(folder, outlier=1.0):
    """Two folds' networks and one to ship; what scores high is a defect, so FP32 is perfect."""
    files = [make_network(folder / f"{n}.onnx", seed=0, outlier=outlier) for n in range(3)]
    samples = []
    for number, frame in enumerate(make_frames(COUNT)):
        image = folder / f"{number}.png"
        Image.fromarray(frame).save(image)
        samples.append(Sample(image.name, image, None, False, image.name))
    folds = np.arange(COUNT) % 2
    frames = store_frames(samples, SPEC, folder / "frames")
    scores = judge_held_out(files[:2], frames, folds).scores
    shipped = judge(open_graph(files[2]), frames.each(), lambda _: None).scores
    ordered = np.sort(scores)[4:-4]
    place = int(np.argmax(np.diff(ordered)))  # the widest gap: a rounded score stays on its side
    threshold = float(ordered[place : place + 2].mean())
    labels = scores >= threshold
    return Proven(
        (files[0], files[1]), files[2], frames, labels, folds, scores, shipped, threshold, 0
    )


def test_all_that_is_asked_for_is_made_and_measured(tmp_path):
    proven = prove(tmp_path)
    made = make_variants(proven, DenseConfig(), tmp_path / "out")
    assert [one.name for one in made] == ["fp32", "int8", "fp16"]
    assert [one.fault for one in made] == ["", "", ""]
    for one in made:
        figures = one.figures()
        assert figures["ap"] == pytest.approx(1.0)
        assert figures["size"] == one.file.stat().st_size
        assert figures["flips"] == figures["shipped_flips"] == 0
    assert made[0].figures()["max_difference"] == 0.0
    assert 0 < made[2].figures()["max_difference"] < made[1].figures()["max_difference"]
    only = make_variants(proven, DenseConfig(variants=("fp32", "fp16")), tmp_path / "two")
    assert [one.name for one in only] == ["fp32", "fp16"]


def test_ranges_never_come_from_an_image_that_judges(tmp_path, monkeypatch):
    """Each fold's calibration images are among those that it learned from."""
    proven = prove(tmp_path)
    seen = []
    real = variants.quantize

    def watched(model, out, frames, settings):
        frames = list(frames)
        seen.append((model, frames))
        real(model, out, frames, settings)

    monkeypatch.setattr(variants, "quantize", watched)
    make_int8(proven, tmp_path / "out", "minmax", seven_bit=False)
    originals = [np.asarray(Image.open(sample.image)) for sample in proven.frames.samples]
    assert [model for model, _ in seen] == [*proven.fold_models, proven.model]
    for fold, (_, frames) in enumerate(seen[:2]):
        held = [originals[i] for i in range(COUNT) if proven.folds[i] == fold]
        assert len(frames) == COUNT // 2
        assert not any((frame == other).all() for frame in frames for other in held)


def test_the_scan_finds_the_block_that_8_bits_spoil(tmp_path):
    model = make_network(tmp_path / "spoilt.onnx", outlier=OUTLIER)
    costs = scan(model, make_frames(4), Quantization(), lambda _: None)
    assert set(costs) == set(quantizable_blocks(model)) == {f"body.{n}" for n in range(4)}
    # The channel that takes up all of the range comes out of block 1 and goes into block 2.
    assert next(iter(costs)) in ("body.1", "body.2")
    assert next(iter(costs.values())) > 10 * costs["body.0"]


def test_what_8_bits_spoil_stays_in_float(tmp_path):
    proven = prove(tmp_path, OUTLIER)
    plain = make_int8(proven, tmp_path / "plain", "minmax", seven_bit=False)
    assert plain.fault == ""
    assert plain.how.startswith("minmax ")
    assert plain.how.endswith("blocks in float")


def test_a_variant_that_fails_says_why_and_with_what_figures(tmp_path, monkeypatch):
    proven = prove(tmp_path, OUTLIER)
    monkeypatch.setattr(variants, "SHARES", ())  # nothing is left in float
    made = make_int8(proven, tmp_path / "out", "minmax", seven_bit=True)
    assert made.shipped is None
    assert made.fault.startswith("on held-out images ")
    assert f"of {COUNT} verdicts change" in made.fault
    assert made.figures()["fault"] == made.fault
    assert made.how == "minmax 7 bit"


def elsewhere_by(change, monkeypatch):
    """Stand in for another provider: the CPU's scores, changed; how often it was asked, in all."""
    asked = []

    def scores_elsewhere(provider, frames, jobs):
        asked.append(provider)
        found = [judge(open_graph(f), frames.each(some), lambda _: None) for f, some in jobs]
        return [change(one.scores) for one in found]

    monkeypatch.setattr(variants, "scores_elsewhere", scores_elsewhere)
    return asked


def test_a_variant_is_held_against_fp32_on_every_provider_of_the_machine(tmp_path, monkeypatch):
    proven = prove(tmp_path)
    monkeypatch.setattr(variants, "other_providers", lambda: ("openvino:CPU", "openvino:NPU"))
    asked = elsewhere_by(lambda scores: scores, monkeypatch)
    made = make_variants(proven, DenseConfig(), tmp_path / "out")
    assert asked == ["openvino:CPU", "openvino:NPU"] * 2
    for one in made[1:]:
        assert one.gate == {"cpu": "", "openvino:CPU": "", "openvino:NPU": ""}
        assert one.figures()["gate"] == one.gate
        np.testing.assert_array_equal(
            one.checks["openvino:NPU"].scores, one.checks["cpu"].scores
        )  # in the images' order, not in the folds'


def test_where_it_changes_verdicts_it_may_not_be_used(tmp_path, monkeypatch):
    proven = prove(tmp_path)
    elsewhere_by(lambda scores: np.where(scores >= proven.threshold, 0.0, scores), monkeypatch)
    made = make_fp16(proven, tmp_path / "out", ("openvino:CPU",))
    assert made.fault == made.gate["cpu"] == ""
    assert made.gate["openvino:CPU"].startswith("on held-out images AP falls from 1.0000")
    times = {"fp16": {"cpu": 3.0, "openvino:CPU": 1.0}}
    monkeypatch.setattr(variants, "time_graphs", lambda *_: times)
    assert time_variants([made], SPEC) == {"fp16": {"cpu": 3.0}}


def test_a_provider_that_is_far_off_computes_something_else(tmp_path, monkeypatch):
    """Though it changes no verdict and no order."""
    proven = prove(tmp_path)
    elsewhere_by(lambda scores: np.where(scores >= proven.threshold, 1.0, scores), monkeypatch)
    made = make_fp16(proven, tmp_path / "out", ("cuda",))
    assert "from the CPU provider's, 0.2 may be" in made.gate["cuda"]


def test_settings_that_hold_everywhere_are_looked_for(tmp_path, monkeypatch):
    proven = prove(tmp_path)
    asked = elsewhere_by(lambda scores: scores * (len(asked) > 1), monkeypatch)
    made = make_int8(proven, tmp_path / "out", "auto", ("openvino:CPU",), seven_bit=False)
    assert made.how == "percentile"
    assert made.gate == {"cpu": "", "openvino:CPU": ""}
    assert len(asked) == 2


def test_where_none_do_it_is_for_the_others(tmp_path, monkeypatch):
    asked = elsewhere_by(lambda scores: 0 * scores, monkeypatch)
    made = make_int8(prove(tmp_path), tmp_path / "out", "auto", ("openvino:CPU",), seven_bit=False)
    assert len(asked) > 2
    assert made.fault == made.gate["cpu"] == ""
    assert "verdicts change" in made.gate["openvino:CPU"]


def test_a_provider_that_can_not_run_it_is_left_to_the_station(tmp_path):
    """For real, in another process: the name is of a device that this machine has not."""
    made = make_fp16(prove(tmp_path), tmp_path / "out", ("openvino:NPU",))
    assert made.gate == {"cpu": ""}
    assert made.figures()["untried"] == made.untried
    assert "openvino:NPU" in made.untried["openvino:NPU"]


def test_openvino_is_asked_in_another_process(tmp_path):
    if "openvino:CPU" not in other_providers():
        pytest.skip("onnxruntime-openvino is not installed")
    made = make_fp16(prove(tmp_path), tmp_path / "out", ("openvino:CPU",))
    assert made.gate == {"cpu": "", "openvino:CPU": ""}
    here, there = (made.checks[name].shipped_scores for name in ("cpu", "openvino:CPU"))
    np.testing.assert_allclose(here, there, atol=5e-3)


def test_the_fewest_blocks_for_a_share_of_the_cost():
    costs = {"a": 5.0, "b": 3.0, "c": 2.0}
    assert dearest(costs, 0.5) == ("a",)
    assert dearest(costs, 0.51) == ("a", "b")
    assert dearest(costs, 1.0) == ("a", "b", "c")


def test_a_station_runs_the_fastest_and_fp16_on_no_cpu():
    times = {"fp32": {"cpu": 9.0}, "int8": {"cpu": 8.0, "openvino:CPU": 4.0}}
    assert fastest(times) == "int8"
    assert fastest({**times, "fp16": {"cpu": 2.0, "openvino:CPU": 1.0}}) == "int8"
    assert fastest({**times, "fp16": {"cpu": 20.0, "cuda": 1.0}}) == "fp16"
    assert fastest({"fp32": {}}) == "fp32"
