"""What is seen of every image when it is read: what the summary of a data set is made from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from edge_agent.bundle.appearance import appearance
from trainer.data.read import load_image, read_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_agent.bundle.appearance import Appearance
    from trainer.data.dataset import Sample

THUMB = 32
"""Side of the small grey picture that near-duplicates are found with."""
_LONGEST = 768
"""Looks are measured at no more than this: blur that is lost in it is lost on the model too."""
_CLIPPED = 254


@dataclass(frozen=True)
class Glance:
    """What was seen of one image."""

    sha256: str
    """Of the file's bytes."""
    width: int
    height: int
    grey: bool
    looks: Appearance
    clipped: float
    """Share of pixels at full white, 0-1."""
    brightest: int
    """Of all pixels' grey values, 0-255."""
    thumb: NDArray[np.float32]
    """(32, 32) grey."""


def glance_of(sample: Sample) -> Glance:
    """What was seen when the data set was read; of a sample from elsewhere, what is seen now.

    Raises:
        DatasetError: it has to be looked at, and can't be read or decoded.
    """
    return sample.glance or glance_at(read_bytes(sample.image), load_image(sample))


def glance_at(content: bytes, frame: Image.Image) -> Glance:
    """Look at an image: its file's bytes, and what was decoded from them."""
    grey = frame if frame.mode == "L" else frame.convert("L")
    reduced = grey.reduce(max(1, round(max(grey.size) / _LONGEST)))
    pixels = np.asarray(reduced)
    pixels = np.pad(pixels, [(0, max(0, 3 - side)) for side in pixels.shape], mode="edge")
    thumb = grey.resize((THUMB, THUMB), Image.Resampling.BOX)
    return Glance(
        sha256=hashlib.sha256(content).hexdigest(),
        width=frame.width,
        height=frame.height,
        grey=frame.mode == "L",
        looks=appearance(np.repeat(pixels[:, :, None], 3, axis=2)),
        clipped=float(np.mean(pixels >= _CLIPPED)),
        brightest=int(np.asarray(grey).max()),
        thumb=np.asarray(thumb, np.float32),
    )
