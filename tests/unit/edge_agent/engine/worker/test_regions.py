"""Boxes around the bright parts of a heatmap, in pixels of the original."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from edge_agent.bundle import Preprocess
from edge_agent.bundle.preprocess import Fitted, fit
from edge_agent.engine.worker.regions import LEVEL, MOST, find_regions


def plain(width: int = 80, height: int = 80) -> Fitted:
    return Fitted(np.zeros((height, width, 3), np.uint8), 1.0, 1.0, 0.0, 0.0)


def heatmap(*rows: str) -> np.ndarray:
    """Digits are tenths; a dot is nothing."""
    return np.array([[0.0 if c == "." else int(c) / 10 for c in row] for row in rows], np.float32)


def boxes(found: np.ndarray, fitted: Fitted | None = None, size: tuple[int, int] = (80, 80)):
    regions = find_regions(found, fitted or plain(), *size)
    return [(r.x, r.y, r.width, r.height, r.peak) for r in regions]


def test_nothing_bright():
    assert boxes(heatmap("....", ".44.", "....", "....")) == []


def test_a_cell_counts_from_the_level_upwards():
    assert boxes(np.full((1, 1), LEVEL, np.float32)) == [(0, 0, 80, 80, LEVEL)]


def test_parts_apart_are_boxes_of_their_own_the_brightest_first():
    found = boxes(heatmap("6...", "6...", "....", "..98"))

    assert found == [(40, 60, 40, 20, 0.9), (0, 0, 20, 40, 0.6)]


def test_corners_connect():
    assert boxes(heatmap("7...", ".8..", "....", "....")) == [(0, 0, 40, 40, 0.8)]


def test_a_ring_is_one_box():
    assert boxes(heatmap("777.", "7.7.", "777.", "....")) == [(0, 0, 60, 60, 0.7)]


def test_only_the_brightest_are_told():
    chessboard = np.zeros((16, 16), np.float32)
    chessboard[::2, ::2] = np.linspace(0.5, 1.0, 64).reshape(8, 8)

    found = boxes(chessboard)

    assert len(found) == MOST
    assert [box[4] for box in found] == sorted((box[4] for box in found), reverse=True)
    assert found[0][4] == 1.0


@pytest.mark.parametrize("way", ["stretch", "letterbox", "crop"])
@pytest.mark.parametrize("size", [(500, 1250), (1250, 500), (300, 300), (10, 900)])
def test_a_bright_whole_covers_what_the_model_saw(way, size):
    frame = Image.new("L", size)
    fitted = fit(frame, Preprocess(width=64, height=64, fit=way))

    ((x, y, width, height, _),) = boxes(np.ones((8, 8), np.float32), fitted, size)

    short = min(size)
    expected = (short, short) if way == "crop" else size
    assert abs(width - expected[0]) <= 1
    assert abs(height - expected[1]) <= 1
    assert abs(x - (size[0] - expected[0]) / 2) <= 1
    assert abs(y - (size[1] - expected[1]) / 2) <= 1


def test_what_lies_in_the_margin_of_a_letterbox_is_no_region():
    fitted = fit(Image.new("L", (640, 320)), Preprocess(width=64, height=64, fit="letterbox"))
    margin = np.zeros((8, 8), np.float32)
    margin[0] = 1.0

    assert boxes(margin, fitted, (640, 320)) == []


@settings(max_examples=200)
@given(
    found=arrays(np.float32, st.tuples(st.integers(1, 12), st.integers(1, 12)),
                 elements=st.floats(0, 1, width=32)),
    size=st.tuples(st.integers(1, 500), st.integers(1, 500)),
    way=st.sampled_from(["stretch", "letterbox", "crop"]),
)  # fmt: skip
def test_every_region_lies_in_the_image(found, size, way):
    fitted = fit(Image.new("L", size), Preprocess(width=64, height=96, fit=way))

    for region in find_regions(found, fitted, *size):
        assert region.x >= 0
        assert region.y >= 0
        assert region.width > 0
        assert region.height > 0
        assert region.x + region.width <= size[0]
        assert region.y + region.height <= size[1]
        assert LEVEL <= region.peak <= 1.0
