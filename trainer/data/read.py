"""From a sample to its pixels, through the project's one decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_agent.bundle.preprocess import (
    MAX_PIXELS,
    DecodeError,
    decode,
    decode_for,
    decode_levels,
)
from trainer.data.dataset import DatasetError
from trainer.data.listing import mask_files

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL import Image

    from edge_agent.bundle import Preprocess
    from edge_agent.bundle.preprocess import Frame
    from trainer.data.dataset import Sample

_FAINT = 31  # of 255
_LEVELS = 32
"""So many grey values a mask may have: classes are numbered, edges may be smoothed."""
_EXTREME = 0.95
"""Or else so many of its pixels are nearly black or nearly white."""


def load_frame(sample: Sample, spec: Preprocess) -> Frame:
    """Decode a sample's image for ``spec``, as the agent does.

    Raises:
        DatasetError: as `load_image`.
    """
    try:
        return decode_for(spec, read_bytes(sample.image), max_pixels=sample.max_pixels)
    except DecodeError as error:
        raise DatasetError(f"{sample.image}: {error}") from None


def load_image(sample: Sample) -> Image.Image:
    """Decode a sample's image, all of its pixels: upright, grey ("L") or RGB.

    Raises:
        DatasetError: it can't be read or decoded (any more: ``open_dataset`` has read it once).
    """
    try:
        return decode(read_bytes(sample.image), max_pixels=sample.max_pixels)
    except DecodeError as error:
        raise DatasetError(f"{sample.image}: {error}") from None


def load_mask(sample: Sample) -> NDArray[np.bool_]:
    """Where the defect is: (H, W), the size of the image.

    Raises:
        DatasetError: the sample has no mask (see ``Sample.mask``), or it can't be read or decoded.
    """
    files = mask_files(sample.mask) if sample.mask else []
    if not files:
        raise DatasetError(f"{sample.name} has no mask")
    marked: list[NDArray[np.bool_]] = []
    for file in files:
        try:
            marked.append(decode_mask(read_bytes(file), max_pixels=sample.max_pixels))
        except DecodeError as error:
            raise DatasetError(f"{file}: {error}") from None
        if marked[-1].shape != marked[0].shape:
            raise DatasetError(f"{file} has another size than {files[0]}")
    merged: NDArray[np.bool_] = np.logical_or.reduce(marked)
    return merged


def decode_mask(data: bytes, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.bool_]:
    """Decode a mask: (H, W).

    Every pixel that is neither black nor transparent is defect: so one-bit masks, 0/255, class
    numbers 1, 2, 3 in 8 bits or in 16, palettes, and colours on transparent ground all mean what
    they were meant to. Antialiasing makes it wider by a fraction of a pixel, no more. A JPEG has
    ringing around every edge, faint grey that nobody drew, so there (and in all that is compressed
    with losses) the cut is at half of its brightest; faint grey alone marks nothing.

    Raises:
        DecodeError: as the decoder of images.
    """
    levels = decode_levels(data, max_pixels=max_pixels)
    cut = max(levels.pixels.max() // 2, _FAINT) if levels.lossy else 0
    return levels.pixels > cut


def looks_drawn(file: Path) -> bool:
    """Whether a picture may be a mask by what it shows; a photograph has grey values in between.

    True too where it can't be read.
    """
    try:
        pixels = decode_levels(read_bytes(file)).pixels
    except (DatasetError, DecodeError):
        return True
    extreme = (pixels <= _FAINT) | (pixels >= 255 - _FAINT)
    return len(np.unique(pixels)) <= _LEVELS or float(extreme.mean()) >= _EXTREME


def read_bytes(file: Path) -> bytes:
    """All of a file.

    Raises:
        DatasetError: it can't be read.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise DatasetError(f"{file} can't be read: {error.strerror}") from None
