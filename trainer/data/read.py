"""From a sample to its pixels, through the project's one decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_agent.bundle.preprocess import DecodeError, decode, decode_for, decode_levels
from trainer.data.dataset import DatasetError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from edge_agent.bundle import Preprocess
    from edge_agent.bundle.preprocess import Frame
    from trainer.data.dataset import Sample

_FAINT = 31  # of 255


def load_frame(sample: Sample, spec: Preprocess) -> Frame:
    """Decode a sample's image for ``spec``, as the agent does.

    Raises:
        DatasetError: as `load_image`.
    """
    try:
        return decode_for(spec, _bytes_of(sample.image))
    except DecodeError as error:
        raise DatasetError(f"{sample.image}: {error}") from None


def load_image(sample: Sample) -> Image.Image:
    """Decode a sample's image, all of its pixels: upright, grey ("L") or RGB.

    Raises:
        DatasetError: it can't be read or decoded (any more: ``open_dataset`` has read it once).
    """
    try:
        return decode(_bytes_of(sample.image))
    except DecodeError as error:
        raise DatasetError(f"{sample.image}: {error}") from None


def load_mask(sample: Sample) -> NDArray[np.bool_]:
    """Where the defect is: (H, W), the size of the image.

    Raises:
        DatasetError: the sample has no mask (see ``Sample.mask``), or it can't be read or decoded.
    """
    if sample.mask is None:
        raise DatasetError(f"{sample.name} has no mask")
    try:
        return decode_mask(_bytes_of(sample.mask))
    except DecodeError as error:
        raise DatasetError(f"{sample.mask}: {error}") from None


def decode_mask(data: bytes) -> NDArray[np.bool_]:
    """Decode a mask: (H, W).

    Every pixel that is neither black nor transparent is defect: so one-bit masks, 0/255, class
    numbers 1, 2, 3 in 8 bits or in 16, palettes, and colours on transparent ground all mean what
    they were meant to. Antialiasing makes it wider by a fraction of a pixel, no more. A JPEG has
    ringing around every edge, faint grey that nobody drew, so there (and in all that is compressed
    with losses) the cut is at half of its brightest; faint grey alone marks nothing.

    Raises:
        DecodeError: as the decoder of images.
    """
    levels = decode_levels(data)
    cut = max(levels.pixels.max() // 2, _FAINT) if levels.lossy else 0
    return levels.pixels > cut


def _bytes_of(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DatasetError(f"{file} can't be read: {error.strerror}") from None
