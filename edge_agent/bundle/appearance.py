"""How a fitted frame looks, in three numbers: what drift is measured in.

The trainer measures its images with it for the bundle's ``reference``, the agent each frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHARPEST = 1020.0**2
"""No variance of the Laplacian of 8-bit grey is larger: each value is within +-1020."""


@dataclass(frozen=True)
class Appearance:
    """Of one frame, grey values 0..255."""

    brightness: float
    """Mean grey, 0..255."""
    contrast: float
    """Standard deviation of grey, 0..127.5."""
    sharpness: float
    """Variance of the Laplacian (Pech-Pacheco et al. 2000): falls when the lens loses focus."""


def appearance(tensor: NDArray[np.uint8]) -> Appearance:
    """Measure a fitted frame, (height, width, 3) RGB, at least 3 x 3."""
    # Four times the grey, whole: half of the weight is green's, about as the eye has it. The
    # Laplacian of it is within +-4080, so that 16 bits hold everything.
    red_blue = np.add(tensor[..., 0], tensor[..., 2], dtype=np.int16)
    grey = red_blue + np.multiply(tensor[..., 1], 2, dtype=np.int16)
    laplacian = (
        grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * grey[1:-1, 1:-1]
    )
    brightness, variance = _moments(grey)
    return Appearance(
        brightness=brightness / 4,
        contrast=float(np.sqrt(variance)) / 4,
        sharpness=_moments(laplacian)[1] / 16,
    )


def _moments(values: NDArray[np.int16]) -> tuple[float, float]:
    """Mean and variance, in one copy: this runs beside every inference."""
    flat = values.ravel().astype(np.float32)
    mean = float(flat.mean())
    flat -= mean
    return mean, float(np.dot(flat, flat)) / flat.size
