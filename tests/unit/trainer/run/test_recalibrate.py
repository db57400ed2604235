"""``trainer calibrate``: a new bundle with another threshold, by the out-of-fold scores alone."""

from __future__ import annotations

import json

import pytest

from edge_agent.bundle import open_bundle
from edge_agent.engine.worker.predictor import Predictor
from tests.bundles import make_bundle
from trainer.cli import run as trainer

SCORES = [0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.3, 0.1]
LABELS = [1, 1, 0, 1, 0, 1, 0, 0]


@pytest.fixture
def finished(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    make_bundle(run / "bundle")
    rows = [f"{n}.png,{n},{n % 2},{LABELS[n]},{SCORES[n]}\n" for n in range(8)]
    (run / "oof.csv").write_text("image,group,fold,label,score\n" + "".join(rows))
    return run


def calibrate(run, out, *arguments):
    return trainer(["calibrate", str(run), "--out", str(out), *arguments])


def test_a_new_bundle_has_the_new_threshold_and_the_same_models(finished, tmp_path, capsys):
    old = open_bundle(finished / "bundle")
    before = (finished / "bundle" / "manifest.json").read_bytes()
    arguments = ["--rule", "recall>=0.75", "--review", "1", "--json"]
    assert calibrate(finished, tmp_path / "new", *arguments) == 0
    new = open_bundle(tmp_path / "new")
    said = json.loads(capsys.readouterr().out)
    assert said["threshold"] == new.manifest.decision.threshold == pytest.approx(0.65)
    assert new.manifest.decision.review == pytest.approx((0.4, 0.85))
    assert new.manifest.decision.rule == "recall>=0.75"
    assert new.manifest.decision.figures["recall_low"] < 0.75
    assert new.manifest.version == "1.0.1"
    assert new.manifest.golden == old.manifest.golden
    assert [v.sha256 for v in new.manifest.variants] == [v.sha256 for v in old.manifest.variants]
    accuracy = new.variant("fp32").accuracy
    assert (accuracy.escapes, accuracy.overkills, accuracy.threshold) == (
        1,
        1,
        new.manifest.decision.threshold,
    )
    assert new.manifest.training.parameters["rule"] == "recall>=0.75"
    assert new.manifest.training.metrics["pooled"] == accuracy.model_dump()
    assert Predictor(new, "fp32").prove() < 1e-5
    assert (finished / "bundle" / "manifest.json").read_bytes() == before


def test_a_signature_is_not_taken_along(finished, tmp_path):
    (finished / "bundle" / "manifest.sig").write_bytes(b"of the old manifest")
    assert calibrate(finished, tmp_path / "new", "--version", "2.0.0") == 0
    assert not (tmp_path / "new" / "manifest.sig").exists()
    assert open_bundle(tmp_path / "new").manifest.version == "2.0.0"


def test_says_what_it_chose_and_how_sure_that_is(finished, tmp_path, capsys):
    arguments = ["--rule", "cost", "--escape-cost", "50", "--overkill-cost", "2"]
    assert calibrate(finished, tmp_path / "new", *arguments) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["rule"] == "cost"
    assert lines["threshold"] == "0.4000"
    assert lines["cost"].startswith("0.5000   95 % interval 0.")  # 2 overkills of 8 images


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rule", "precision>=2"], "--rule"),
        (["--rule", "cost"], "needs both"),
        (["--version", "1"], "--version: '1' is not X.Y.Z"),
    ],
)
def test_a_mistake_is_one_message(finished, tmp_path, capsys, arguments, said):
    assert calibrate(finished, tmp_path / "new", *arguments) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""
    assert not (tmp_path / "new").exists()


def test_a_rule_that_cant_be_kept_says_what_can(finished, tmp_path, capsys):
    oof = finished / "oof.csv"
    oof.write_text(oof.read_text() + "high.png,high,0,0,0.99\n")
    assert calibrate(finished, tmp_path / "new", "--rule", "precision>=0.9") == 2
    assert "the best precision is 0.6667" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_an_existing_bundle_is_never_changed(finished, capsys):
    assert calibrate(finished, finished / "bundle") == 2
    assert "exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "give the folder of a finished run"),
        ("image,label\na,1\n", "was not written by `trainer train`"),
        ("image,group,fold,label,score\na,a,0,1,x\n", "was not written by"),
        ("image,group,fold,label,score\na,a,0,0,0.5\n", "holds no defect"),
    ],
)
def test_a_run_that_is_none(finished, tmp_path, capsys, content, said):
    (finished / "oof.csv").unlink()
    if content is not None:
        (finished / "oof.csv").write_text(content)
    assert calibrate(finished, tmp_path / "new") == 2
    assert said in capsys.readouterr().err


def add_int8(run, **fields):
    """Give the run's bundle a second variant: the same graph, called int8."""
    manifest = run / "bundle" / "manifest.json"
    content = json.loads(manifest.read_text())
    (variant,) = content["variants"]
    content["variants"].append({**variant, "name": "int8", "precision": "int8", **fields})
    for golden in content["golden"]:
        golden["scores"]["int8"] = golden["scores"]["fp32"]
    manifest.write_text(json.dumps(content))


def test_another_variants_figures_come_from_its_own_scores(finished, tmp_path):
    add_int8(finished)
    assert calibrate(finished, tmp_path / "unmeasured") == 0
    assert open_bundle(tmp_path / "unmeasured").variant("int8").accuracy is None
    # Two ok images change places above two defects: no verdict changes, and AP rises.
    rows = (finished / "oof.csv").read_text().replace("0.8\n", "0.65\n")
    (finished / "oof.int8.csv").write_text(rows)
    assert calibrate(finished, tmp_path / "measured") == 0
    measured = open_bundle(tmp_path / "measured")
    assert measured.variant("int8").accuracy.ap > measured.variant("fp32").accuracy.ap


def test_a_variant_has_a_threshold_of_its_own(finished, tmp_path, capsys):
    """A defect that it scores lower than FP32 does would escape at FP32's threshold."""
    add_int8(finished)
    rows = (finished / "oof.csv").read_text().replace("0.5\n", "0.35\n")
    (finished / "oof.int8.csv").write_text(rows)
    assert calibrate(finished, tmp_path / "new", "--rule", "recall>=1", "--review", "1") == 0
    assert "threshold 0.325  escapes 0 of 4" in capsys.readouterr().out
    new = open_bundle(tmp_path / "new").manifest
    fp32, int8 = new.variants
    assert (fp32.decision, new.decision.threshold) == (None, pytest.approx(0.4))
    assert int8.decision.threshold == int8.accuracy.threshold == pytest.approx(0.325)
    assert (int8.decision.rule, int8.decision.figures["recall"]) == ("recall>=1", 1.0)
    assert int8.decision.review[0] <= 0.325 <= int8.decision.review[1]
    assert (fp32.accuracy.escapes, int8.accuracy.escapes) == (0, 0)
    assert new.decision_of("fp32") == new.decision
    assert new.decision_of("int8") == int8.decision


def test_a_variant_that_changes_verdicts_at_the_new_threshold_is_left_out(
    finished, tmp_path, capsys
):
    """Neither its own threshold nor FP32's gives FP32's verdicts."""
    add_int8(finished)
    rows = (finished / "oof.csv").read_text().replace("0.5\n", "0.2\n")
    (finished / "oof.int8.csv").write_text(rows)
    assert calibrate(finished, tmp_path / "new", "--rule", "recall>=1") == 1
    said = capsys.readouterr().out
    assert "int8          LEFT OUT: on held-out images" in said
    assert "1 of 8 verdicts change at the threshold of 0.150" in said
    new = open_bundle(tmp_path / "new").manifest
    assert [one.name for one in new.variants] == ["fp32"]
    assert all(set(one.scores) == {"fp32"} for one in new.golden)
    assert calibrate(finished, tmp_path / "also", "--rule", "recall>=1", "--json") == 1
    assert "1 of 8 verdicts" in json.loads(capsys.readouterr().out)["left_out"]["int8"]


def test_each_provider_is_held_to_the_gate_at_the_new_threshold(finished, tmp_path, capsys):
    gate = {"cpu": "", "openvino:CPU": "", "cuda": "a score is 0.30 from the CPU provider's"}
    add_int8(finished, gate=gate)
    rows = (finished / "oof.csv").read_text()
    (finished / "oof.int8.csv").write_text(rows)
    (finished / "oof.int8.cuda.csv").write_text(rows)
    (finished / "oof.int8.openvino-CPU.csv").write_text(rows.replace("0.5\n", "0.35\n"))
    assert calibrate(finished, tmp_path / "new", "--rule", "recall>=1") == 0
    found = open_bundle(tmp_path / "new").variant("int8").gate
    assert found["cpu"] == ""
    assert "1 of 8 verdicts change at the threshold of 0.400" in found["openvino:CPU"]
    assert found["cuda"] == gate["cuda"]  # what else is wrong there still is
    said = capsys.readouterr().out.splitlines()
    assert "int8          keeps FP32's accuracy on cpu" in said
    assert f"int8          NOT ON openvino:CPU: {found['openvino:CPU']}" in said
