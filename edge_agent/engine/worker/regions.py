"""Boxes around the bright parts of a heatmap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_agent.types import Region

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_agent.bundle.preprocess import Fitted

LEVEL = 0.5
"""A cell of the heatmap belongs to a region from this value upwards."""
MOST = 16


def find_regions(
    heatmap: NDArray[np.float32], fitted: Fitted, width: int, height: int
) -> tuple[Region, ...]:
    """Connected parts (8 neighbours) of a heatmap (h, w), as boxes in the original's pixels.

    Args:
        heatmap: (h, w), 0-1, over the fitted frame.
        fitted: the frame's way back to the original image.
        width: of the original image, pixels.
        height: of the original image, pixels.

    Returns:
        The ``MOST`` brightest, brightest first.
    """
    rows, columns = heatmap.shape
    cell_x = fitted.tensor.shape[1] / columns
    cell_y = fitted.tensor.shape[0] / rows
    left: set[tuple[int, int]] = {(int(r), int(c)) for r, c in np.argwhere(heatmap >= LEVEL)}
    found: list[Region] = []
    while left:
        part = _grow(left, left.pop())
        top, bottom = min(r for r, _ in part), max(r for r, _ in part) + 1
        first, last = min(c for _, c in part), max(c for _, c in part) + 1
        x0 = _inside((first * cell_x - fitted.offset_x) * fitted.scale_x, width)
        x1 = _inside((last * cell_x - fitted.offset_x) * fitted.scale_x, width)
        y0 = _inside((top * cell_y - fitted.offset_y) * fitted.scale_y, height)
        y1 = _inside((bottom * cell_y - fitted.offset_y) * fitted.scale_y, height)
        if x1 > x0 and y1 > y0:  # not wholly in a letterbox's margin
            peak = max(float(heatmap[cell]) for cell in part)
            found.append(Region(x0, y0, x1 - x0, y1 - y0, min(round(peak, 4), 1.0)))
    found.sort(key=lambda region: (-region.peak, region.y, region.x))
    return tuple(found[:MOST])


def _grow(left: set[tuple[int, int]], start: tuple[int, int]) -> list[tuple[int, int]]:
    part, edge = [start], [start]
    while edge:
        row, column = edge.pop()
        for cell in [(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]:
            if cell in left:
                left.remove(cell)
                part.append(cell)
                edge.append(cell)
    return part


def _inside(value: float, limit: int) -> int:
    return min(max(round(value), 0), limit)
