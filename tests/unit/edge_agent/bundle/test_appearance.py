"""Brightness, contrast and sharpness: what drift is measured in."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from edge_agent.bundle.appearance import SHARPEST, appearance


def noise(seed=0):
    return np.random.default_rng(seed).integers(40, 200, (64, 48, 3), np.uint8)


def test_agrees_with_the_formulas():
    frame = noise()
    grey = frame.astype(float) @ [0.25, 0.5, 0.25]
    laplacian = (
        grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * grey[1:-1, 1:-1]
    )
    found = appearance(frame)
    assert found.brightness == pytest.approx(grey[1:-1].mean(), rel=1e-5)
    assert found.contrast == pytest.approx(grey[1:-1].std(), rel=1e-5)
    assert found.sharpness == pytest.approx(laplacian.var(), rel=1e-5)


@pytest.mark.parametrize("height", [3, 4, 33, 34, 35, 65, 66, 67, 97, 98, 99, 704])
def test_the_rows_of_a_tall_frame_are_a_sample_of_all(height):
    tall = np.random.default_rng(height).normal(120, 30, (height, 400, 3)).clip(0, 255)
    frame = tall.astype(np.uint8)
    grey = frame.astype(float) @ [0.25, 0.5, 0.25]
    found = appearance(frame)
    assert found.brightness == pytest.approx(grey.mean(), rel=0.02)
    assert found.contrast == pytest.approx(grey.std(), rel=0.1)


def test_both_ends_of_a_tall_frame_are_looked_at():
    frame = np.full((640, 32, 3), 100, np.uint8)
    dark = frame.copy()
    dark[:40] = 0
    bottom = frame.copy()
    bottom[-40:] = 0
    assert appearance(dark).brightness == pytest.approx(93.75, abs=2)
    assert appearance(bottom).brightness == pytest.approx(93.75, abs=2)


def test_a_flat_frame_has_neither_contrast_nor_sharpness():
    found = appearance(np.full((32, 32, 3), 77, np.uint8))
    assert (found.brightness, found.contrast, found.sharpness) == (77.0, 0.0, 0.0)


def test_the_sharpest_pattern_is_within_the_bound():
    board = np.indices((64, 64)).sum(0) % 2 * 255
    found = appearance(np.repeat(board[..., None], 3, axis=2).astype(np.uint8))
    assert found.sharpness == pytest.approx(SHARPEST, rel=1e-3)
    assert found.sharpness <= SHARPEST * (1 + 1e-6)


def test_blur_lowers_sharpness_and_light_raises_brightness():
    frame = noise()
    blurred = np.asarray(Image.fromarray(frame).filter(ImageFilter.GaussianBlur(1)))
    assert appearance(blurred).sharpness < 0.2 * appearance(frame).sharpness
    brighter = (frame.astype(float) * 1.2).clip(0, 255).astype(np.uint8)
    assert appearance(brighter).brightness > 1.15 * appearance(frame).brightness
