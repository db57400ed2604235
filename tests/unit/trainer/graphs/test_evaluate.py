"""What is counted when a bundle is evaluated."""

from __future__ import annotations

import csv

import numpy as np
from PIL import Image

from edge_agent.bundle import Preprocess
from edge_agent.engine.worker.predictor import Scored
from trainer.data import Sample
from trainer.data.frames import fitted
from trainer.graphs.evaluate import judge, localised, write_scores


def make_sample(folder, name, grey, defect):
    Image.new("L", (64, 64), grey).save(folder / name)
    return Sample(name, folder / name, None, defect, name)


def by_brightness(images):
    score = (images.mean(axis=(1, 2, 3)) / 255).astype(np.float32)
    return Scored(score, np.repeat(score, 16).reshape(-1, 4, 4))


def test_judge_scores_each_image_in_order(tmp_path):
    samples = [make_sample(tmp_path, f"{grey}.png", grey, grey > 99) for grey in (51, 204, 102)]
    said = []
    frames = fitted(samples, Preprocess(width=32, height=32))
    judged = judge(by_brightness, frames, said.append)
    np.testing.assert_allclose(judged.scores, [0.2, 0.8, 0.4], atol=1e-6)
    assert judged.heatmaps.shape == (3, 4, 4)
    assert len(said) == 3


def test_scores_read_back_as_the_same_numbers(tmp_path):
    names = ("a,b.png", 'c"d.png', "e\udcff.png")  # the last: bytes that are not UTF-8
    samples = [Sample(name, tmp_path / "x", None, name == names[0], "g") for name in names]
    scores = np.array([1 / 3, np.float32(0.1), 1e-12])
    write_scores(tmp_path / "scores.csv", samples, scores)
    with (tmp_path / "scores.csv").open(newline="", errors="surrogateescape") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["image"] for row in rows] == list(names)
    assert [row["label"] for row in rows] == ["1", "0", "0"]
    assert [float(row["score"]) for row in rows] == [float(score) for score in scores]


def peak_at(row, column):
    heatmap = np.zeros((6, 6), np.float32)
    heatmap[row, column] = 1
    return heatmap


def test_localised_counts_peaks_in_and_beside_the_mask():
    target = np.zeros((6, 6), bool)
    target[2, 2] = True
    heatmaps = np.stack([peak_at(2, 2), peak_at(1, 3), peak_at(4, 2), peak_at(5, 5)])
    assert localised(heatmaps, np.stack([target] * 4)) == 0.5


def test_localised_ignores_images_without_a_mark():
    marked = np.zeros((6, 6), bool)
    marked[0, 0] = True
    heatmaps = np.stack([peak_at(0, 0), peak_at(3, 3)])
    assert localised(heatmaps, np.stack([marked, np.zeros((6, 6), bool)])) == 1.0
    assert localised(heatmaps, np.zeros((2, 6, 6), bool)) is None
