"""How a fitted frame looks, in a few numbers: what drift and plausibility are measured in.

The trainer measures its images with it for the bundle's ``reference`` and ``expects``, the agent
each frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_agent.types import Appearance

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SHARPEST", "Appearance", "appearance", "darkest"]

SHARPEST = 1020.0**2
"""No variance of the Laplacian of 8-bit grey is larger: each value is within +-1020."""
_ROWS = 32
"""That are looked at, spread over the frame: more say the same, and cost time beside inference."""
_PARTS = 4
"""Across and down, in which the darkest part is looked for."""


def appearance(tensor: NDArray[np.uint8]) -> Appearance:
    """Measure a fitted frame, (height, width, 3) RGB, at least 3 x 3, on about 32 to 64 rows."""
    first, step = _spread(tensor.shape[0] - 2)
    first += 1
    rows = _grey(tensor[first:-1:step])
    around = _grey(tensor[first - 1 : -2 : step]) + _grey(tensor[first + 1 :: step])
    laplacian = around[:, 1:-1] + rows[:, :-2] + rows[:, 2:] - 4 * rows[:, 1:-1]
    brightness, variance = _moments(rows)
    return Appearance(
        brightness=brightness / 4,
        contrast=float(np.sqrt(variance)) / 4,
        sharpness=_moments(laplacian)[1] / 16,
    )


def darkest(tensor: NDArray[np.uint8]) -> float:
    """Mean grey, 0..255, of the darkest of 4 x 4 parts of a frame of at least 4 x 4 pixels."""
    (top, down), (left, across) = (_spread(side) for side in tensor.shape[:2])
    some = _grey(tensor[top::down, left::across])
    rows, columns = (side // _PARTS for side in some.shape)
    parts = some[: rows * _PARTS, : columns * _PARTS].reshape(_PARTS, rows, _PARTS, columns)
    return float(parts.mean(axis=(1, 3)).min()) / 4


def _spread(rows: int) -> tuple[int, int]:
    """The first of about 32 to 64 rows, or columns, and the step to the next."""
    step = max(1, rows // _ROWS)
    return (rows - 1) % step // 2, step  # as much is left out above as below


def _grey(rows: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Four times the grey, whole: half of the weight is green's, about as the eye has it.

    The Laplacian of it is within +-4080, so that 16 bits hold everything.
    """
    grey = rows[..., 1].astype(np.int16)
    grey += grey
    grey += rows[..., 0]
    grey += rows[..., 2]
    return grey


def _moments(values: NDArray[np.int16]) -> tuple[float, float]:
    """Mean and variance, in one copy: this runs beside every inference."""
    flat = values.ravel().astype(np.float32)
    mean = float(flat.mean())
    flat -= mean
    return mean, float(np.dot(flat, flat)) / flat.size
