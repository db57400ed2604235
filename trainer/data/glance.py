"""One quick look at every image: what the summary of a data set is made from."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from edge_agent.bundle.appearance import appearance
from edge_agent.bundle.preprocess import DecodeError, decode
from trainer.data.dataset import DatasetError
from trainer.data.read import load_mask

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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

    sample: Sample
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
    marked: float | None
    """Share of the pixels that the mask marks; None without a mask."""


def glance_at(samples: Sequence[Sample], advance: Callable[[str], None]) -> list[Glance]:
    """Look at every image; decoding leaves the interpreter's lock, so threads help.

    Raises:
        DatasetError: a file can't be read any more.
    """
    glances = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for one in pool.map(_glance, samples):
            glances.append(one)
            advance("")
    return glances


def _glance(sample: Sample) -> Glance:
    try:
        content = sample.image.read_bytes()
        frame = decode(content, max_pixels=sample.max_pixels)
    except OSError as error:
        raise DatasetError(f"{sample.image} can't be read: {error.strerror}") from None
    except DecodeError as error:
        raise DatasetError(f"{sample.image}: {error}") from None
    grey = frame if frame.mode == "L" else frame.convert("L")
    reduced = grey.reduce(max(1, round(max(grey.size) / _LONGEST)))
    pixels = np.asarray(reduced)
    pixels = np.pad(pixels, [(0, max(0, 3 - side)) for side in pixels.shape], mode="edge")
    thumb = grey.resize((THUMB, THUMB), Image.Resampling.BOX)
    return Glance(
        sample=sample,
        sha256=hashlib.sha256(content).hexdigest(),
        width=frame.width,
        height=frame.height,
        grey=frame.mode == "L",
        looks=appearance(np.repeat(pixels[:, :, None], 3, axis=2)),
        clipped=float(np.mean(pixels >= _CLIPPED)),
        brightest=int(np.asarray(grey).max()),
        thumb=np.asarray(thumb, np.float32),
        marked=None if sample.mask is None else float(load_mask(sample).mean()),
    )
