"""Golden images: clear, middling and borderline, of both classes, and pixel for pixel."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from edge_agent.bundle.preprocess import decode
from trainer.data import Sample
from trainer.graphs import golden
from trainer.graphs.golden import TOLERANCE, WIDEST, choose_golden, golden_png, tolerance


def test_picks_the_clearest_the_middle_and_the_nearest_of_both_classes():
    labels = np.array([False] * 5 + [True] * 5)
    scores = np.array([0.0, 0.1, 0.2, 0.3, 0.45, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert sorted(choose_golden(labels, scores, 0.5)) == [0, 2, 4, 5, 7, 9]


def test_two_images_are_enough():
    assert sorted(choose_golden(np.array([True, False]), np.array([0.9, 0.1]), 0.5)) == [0, 1]


def test_a_score_that_moves_on_another_provider_may_move_at_the_station():
    firm = {"fp32": 0.5, "int8": 0.505}
    assert tolerance(firm) == TOLERANCE
    assert tolerance(firm, [0.5, 0.56]) == pytest.approx(0.12)
    assert tolerance(firm, [0.9]) == WIDEST


def test_png_holds_the_very_pixels_and_no_metadata(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    exif = Image.Exif()
    exif[0x010F] = "camera maker"
    exif[0x0112] = 6  # to be turned by a quarter
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    data = golden_png(Sample("a.png", tmp_path / "a.png", None, False, "a"))
    original = decode((tmp_path / "a.png").read_bytes())
    np.testing.assert_array_equal(np.asarray(decode(data)), np.asarray(original))
    assert b"camera maker" not in data


def test_a_golden_image_is_never_larger_than_a_station_takes(tmp_path, monkeypatch):
    monkeypatch.setattr(golden, "MAX_PIXELS", 1000)
    Image.new("L", (50, 60)).save(tmp_path / "a.png")
    data = golden_png(Sample("a.png", tmp_path / "a.png", None, False, "a"))
    assert decode(data).size == (25, 30)
