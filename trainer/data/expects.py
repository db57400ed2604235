"""What a picture of the part looks like: the bounds that the agent holds each frame to.

A rule of thumb, held against real data sets (docs/plausible.md). From the least and the greatest
of the training images, on a scale of ratios, it is further out by a factor, for lamps age and
lenses are touched, and by a share of what lies between the two: the larger, the fewer groups were
seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_agent.bundle import Expects
from edge_agent.bundle.appearance import SHARPEST, Appearance, appearance
from edge_agent.bundle.plausible import Sight, see, why_implausible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_agent.bundle.preprocess import Fitted, Frame

_SIDES = ("width", "height", "shape")
_SIDE = (1.05, 1.05)
"""Of sides and their ratio: a camera does not change them, but encoders round."""
_FACTORS = {
    "brightness": (2.0, 2.0),
    "contrast": (2.0, 2.0),
    "sharpness": (4.0, 2.0),
    "darkest": (2.0, 2.0),
}
"""Down and up: a picture gets blurred more easily than sharp."""
_TO_WHITE = (4.0, 1.0)
_MOST = {"brightness": 255.0, "contrast": 127.5, "sharpness": SHARPEST, "darkest": 255.0}
_NOISE = 1.0
"""Grey levels, and variance: below it ratios say nothing."""
_COLOUR = 32.0
"""Grey levels that a camera's white balance, or its grey images in a colour format, may differ."""


@dataclass(frozen=True)
class Look:
    """What is measured of each training image."""

    appearance: Appearance
    """For drift."""
    sight: Sight
    """For the bundle's ``expects``."""


def look_at(frame: Frame, fitted: Fitted) -> Look:
    """Measure an image as the agent's worker does."""
    looks = appearance(fitted.tensor)
    return Look(looks, see(frame, fitted, looks))


def make_expects(sights: Sequence[Sight], groups: Sequence[str]) -> Expects:
    """Bounds of pictures like these.

    Args:
        sights: of all training images, good and defective: both are pictures of the part.
        groups: of each: the images of one group say little of another's.
    """
    share = min(1.0, 0.1 + 10.0 / len(set(groups)))
    names = (*_SIDES, *_FACTORS, "colour")
    values = {name: [float(getattr(one, name)) for one in sights] for name in names}
    bounds = {name: _widened(values[name], _SIDE, share) for name in _SIDES}
    for name, factors in _FACTORS.items():
        low, high = _widened(values[name], factors, share, _NOISE)
        bounds[name] = (low, min(high, _MOST[name]))
    # What was bright may get brighter by no factor: it is held to how far it stays from white.
    to_white = [_MOST["brightness"] - value for value in values["brightness"]]
    low, high = bounds["brightness"]
    least, _ = _widened(to_white, _TO_WHITE, share, _NOISE)
    bounds["brightness"] = (low, min(high, _MOST["brightness"] - least))
    low, high = min(values["colour"]), max(values["colour"])
    by = _COLOUR + share * (high - low)
    bounds["colour"] = (max(0.0, low - by), high + by)
    whole = {name: (math.floor(bounds[name][0]), math.ceil(bounds[name][1])) for name in _SIDES[:2]}
    rounded = {name: (round(low, 3), round(high, 3)) for name, (low, high) in bounds.items()}
    return Expects.model_validate({"images": len(sights), **rounded, **whole})


def judged_blanks(sights: Sequence[Sight], expects: Expects) -> list[str]:
    """Which pictures of nothing, ``black`` and ``white``, would be judged like one of the part.

    They are, where such pictures are among the training images.
    """
    first = sights[0]
    blanks = {
        name: Sight(first.width, first.height, 0.0, grey, 0.0, 0.0, grey)
        for name, grey in (("black", 0.0), ("white", 255.0))
    }
    return [name for name, blank in blanks.items() if not why_implausible(blank, expects)]


def _widened(
    values: Sequence[float], factors: tuple[float, float], share: float, noise: float = 0.0
) -> tuple[float, float]:
    low, high = min(values), max(values)
    further = (max(high, noise) / max(low, noise)) ** share
    down, up = factors[0] * further, factors[1] * further
    return max(0.0, low / down - noise), high * up + noise
