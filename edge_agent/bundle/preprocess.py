"""The one decode-and-resize of the project: training, evaluation and the agent all call it.

A grey image stays one channel until it has been resized: the filters work on each channel
by itself, so the result is the same and costs a third. A JPEG much larger than the graph's input
is decoded at a half, a quarter or an eighth: its decoder averages on the way, for less than it
takes to make the pixels first (libjpeg's scaled inverse DCT).
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from PIL import Image

from edge_agent.bundle.errors import DecodeError, TooLargeError, TruncatedError
from edge_agent.bundle.formats import FORMATS, Picture, open_picture, upright

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from edge_agent.bundle.manifest import Preprocess

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "DecodeError",
    "Fitted",
    "Frame",
    "Levels",
    "TooLargeError",
    "TruncatedError",
    "decode",
    "decode_for",
    "decode_levels",
    "fit",
    "scales",
]

MAX_PIXELS = 64_000_000

_FILTERS = {
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
# `decode` has a limit of its own, checked as early; Pillow's would lie below a larger one.
Image.MAX_IMAGE_PIXELS = None
_PAD = 114  # letterbox grey

_Loaded = TypeVar("_Loaded")


@dataclass(frozen=True)
class Frame:
    """A decoded image, upright, perhaps at a part of its size."""

    image: Image.Image
    """8-bit grey ("L") or RGB."""
    width: int
    """Of all of it, pixels."""
    height: int
    reduced: int = 1
    """How many pixels of the whole, across and down, became one of ``image``."""


@dataclass(frozen=True)
class Levels:
    """A mask as it was saved, upright."""

    pixels: NDArray[np.uint8]
    """height x width; 0 where the file has nothing, or is transparent."""
    lossy: bool
    """Whether its compression may have made something of nothing."""


@dataclass(frozen=True)
class Fitted:
    """A frame in the graph's input size, and the way back to the original's pixels."""

    tensor: NDArray[np.uint8]
    """height x width x 3, RGB."""
    scale_x: float
    """original x = (input x - offset_x) * scale_x"""
    scale_y: float
    offset_x: float
    offset_y: float
    within: tuple[slice, slice] = (slice(None), slice(None))
    """Rows and columns of ``tensor`` that are of the frame: ``letterbox`` puts grey around it."""

    @property
    def picture(self) -> NDArray[np.uint8]:
        """What of ``tensor`` is of the frame."""
        return self.tensor[self.within]


def decode(
    data: bytes, *, formats: Sequence[str] = FORMATS, max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """Decode one image with all of its pixels, upright, as 8-bit grey ("L") or RGB.

    The size is checked before a pixel is decoded. Of more than 8 bits the upper 8 are kept: of
    those that the file says it has. An alpha channel is dropped: a camera's is opaque.

    Raises:
        DecodeError: not one of ``formats``, more than ``max_pixels``, more than one frame,
            truncated (`TruncatedError`), damaged, or of a kind that is not read; it says which.
    """
    return _open(data, formats, max_pixels, _whole).image


def decode_for(
    spec: Preprocess,
    data: bytes,
    *,
    formats: Sequence[str] = FORMATS,
    max_pixels: int = MAX_PIXELS,
) -> Frame:
    """Decode one image as `decode` does, but with no more pixels than ``fit`` has use for.

    Raises:
        DecodeError: as `decode`.
    """
    return _open(data, formats, max_pixels, lambda picture: _reduced(picture, spec))


def decode_levels(
    data: bytes, *, formats: Sequence[str] = FORMATS, max_pixels: int = MAX_PIXELS
) -> Levels:
    """Decode a mask: what is not 0 in it, of however many bits, stays so.

    Raises:
        DecodeError: as `decode`.
    """

    def load(picture: Picture) -> Levels:
        levels = upright(picture.levels(), picture.orientation)
        return Levels(np.asarray(levels), picture.lossy)

    return _open(data, formats, max_pixels, load)


def _open(
    data: bytes, formats: Sequence[str], max_pixels: int, load: Callable[[Picture], _Loaded]
) -> _Loaded:
    if not data:
        raise DecodeError("the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of palettes and damaged metadata
            picture = open_picture(data, formats)
            width, height = picture.width, picture.height
            if width * height > max_pixels:
                raise TooLargeError(width, height, max_pixels)
            return load(picture)
    except DecodeError:
        raise
    except MemoryError:
        raise DecodeError("not enough memory to decode it") from None
    except Exception as error:
        raise DecodeError(f"damaged or truncated: {error}") from None


def _whole(picture: Picture) -> Frame:
    image = upright(picture.load(), picture.orientation)
    return Frame(image, *image.size)


def scales(spec: Preprocess, width: int, height: int) -> tuple[float, float]:
    """Pixels of the graph's input that one of an image of this size becomes, across and down."""
    across, down = spec.width / width, spec.height / height
    if spec.fit == "letterbox":
        across = down = min(across, down)
    elif spec.fit == "crop":
        across = down = max(across, down)
    return across, down


def _reduced(picture: Picture, spec: Preprocess) -> Frame:
    width, height = picture.width, picture.height
    across, down = scales(spec, width, height)
    times = picture.reduce(math.ceil(width * across), math.ceil(height * down))
    if times == 1:
        return _whole(picture)
    return Frame(picture.load(), width, height, times)


def fit(frame: Frame | Image.Image, spec: Preprocess) -> Fitted:
    """Bring a frame, or an image with all of its pixels, to the size and colour of the graph."""
    if isinstance(frame, Image.Image):
        frame = Frame(frame, frame.width, frame.height)
    image = frame.image
    if spec.colour == "grey" and image.mode != "L":
        image = image.convert("L")
    resample = _FILTERS[spec.interpolation]
    size = (spec.width, spec.height)
    width, height = frame.width, frame.height
    # Of the image's own pixels; the last one may lie partly outside of the whole.
    all_w, all_h = width / frame.reduced, height / frame.reduced
    within = (slice(None), slice(None))
    if spec.fit == "letterbox":
        scale = min(spec.width / width, spec.height / height)
        inner = (max(1, round(width * scale)), max(1, round(height * scale)))
        left, top = (spec.width - inner[0]) // 2, (spec.height - inner[1]) // 2
        canvas = Image.new(image.mode, size, _PAD if image.mode == "L" else (_PAD,) * 3)
        canvas.paste(image.resize(inner, resample, box=(0, 0, all_w, all_h)), (left, top))
        within = (slice(top, top + inner[1]), slice(left, left + inner[0]))
        result, x, y = canvas, (width / inner[0], float(left)), (height / inner[1], float(top))
    elif spec.fit == "crop":
        scale = max(spec.width / width, spec.height / height)
        # Never past the image by a rounding error: Pillow refuses a box that is.
        inner_w = min(spec.width / scale / frame.reduced, all_w)
        inner_h = min(spec.height / scale / frame.reduced, all_h)
        left_f, top_f = (all_w - inner_w) / 2, (all_h - inner_h) / 2
        box = (left_f, top_f, left_f + inner_w, top_f + inner_h)
        result = image.resize(size, resample, box=box)
        x = (1 / scale, -left_f * frame.reduced * scale)
        y = (1 / scale, -top_f * frame.reduced * scale)
    else:
        same = image.size == size
        result = image if same else image.resize(size, resample, box=(0, 0, all_w, all_h))
        x, y = (width / spec.width, 0.0), (height / spec.height, 0.0)
    if result.mode == "L":
        grey = np.asarray(result)
        tensor = np.repeat(grey[:, :, None], 3, axis=2)
    else:
        tensor = np.asarray(result)
    return Fitted(tensor, x[0], y[0], x[1], y[1], within)
