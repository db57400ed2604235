"""Is this a picture of what the bundle was made for? A picture of nothing is not a good part.

The trainer measures its images for the bundle's ``expects``, the worker each frame: the same
figures, of the picture alone, without what ``letterbox`` puts around it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from edge_agent.bundle.appearance import appearance, darkest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_agent.bundle.manifest import Expects
    from edge_agent.bundle.preprocess import Fitted, Frame
    from edge_agent.types import Appearance

_GRID = (32, 32)
"""Pixels in which colour is looked at, spread over the frame."""


@dataclass(frozen=True)
class Sight:
    """What is seen of a frame, figure by figure; `Expects` has bounds for each."""

    width: int
    """Pixels, upright."""
    height: int
    colour: float
    """Mean difference between a pixel's largest and smallest channel, 0..255; 0: it is grey."""
    brightness: float
    """As in `Appearance`, of the part of the frame that the graph sees."""
    contrast: float
    sharpness: float
    darkest: float
    """Mean grey of the darkest sixteenth of it, 0..255: near 0 where a cap covers a part."""

    @property
    def shape(self) -> float:
        """Width / height: what tells a turned picture where sizes vary."""
        return self.width / self.height


def see(frame: Frame, fitted: Fitted, whole: Appearance) -> Sight:
    """Measure a frame.

    Args:
        frame: decoded.
        fitted: the same, in the graph's input size.
        whole: how all of ``fitted.tensor`` looks: measured already.
    """
    picture = fitted.picture
    looks = whole if picture.shape == fitted.tensor.shape else appearance(_at_least(picture, 3))
    return Sight(
        width=frame.width,
        height=frame.height,
        colour=_colour(frame.image),
        brightness=looks.brightness,
        contrast=looks.contrast,
        sharpness=looks.sharpness,
        darkest=darkest(_at_least(picture, 4)),
    )


def why_implausible(sight: Sight, expects: Expects) -> str:
    """What of a frame lies outside of the bounds, each with its value; empty if nothing does."""
    found = []
    if not (_in(sight.width, expects.width) and _in(sight.height, expects.height)):
        (narrow, wide), (low, high) = expects.width, expects.height
        found.append(
            f"{sight.width} x {sight.height} pixels (expected {narrow} to {wide} x {low} to {high})"
        )
    for name, text in _FIGURES.items():
        least, most = getattr(expects, name)
        value = getattr(sight, name)
        if not least <= value <= most:
            found.append(f"{text} {_shown(value)} (expected {_shown(least)} to {_shown(most)})")
    return f"not a picture that the bundle was made for: {'; '.join(found)}" if found else ""


_FIGURES = {
    "shape": "width / height",
    "colour": "colour",
    "brightness": "brightness",
    "contrast": "contrast",
    "sharpness": "sharpness",
    "darkest": "brightness of the darkest part",
}


def _shown(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"


def _in(value: int, bounds: tuple[int, int]) -> bool:
    return bounds[0] <= value <= bounds[1]


def _colour(image: Image.Image) -> float:
    if image.mode == "L":
        return 0.0
    some = np.asarray(image.resize(_GRID, Image.Resampling.NEAREST))
    red, green, blue = some[..., 0], some[..., 1], some[..., 2]
    highest = np.maximum(np.maximum(red, green), blue)
    lowest = np.minimum(np.minimum(red, green), blue)
    return float(np.mean(highest - lowest))


def _at_least(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The picture, its edge repeated where it is narrower than that."""
    height, width = picture.shape[:2]
    if min(height, width) >= side:
        return picture
    more = ((0, max(0, side - height)), (0, max(0, side - width)), (0, 0))
    return np.pad(picture, more, mode="edge")
