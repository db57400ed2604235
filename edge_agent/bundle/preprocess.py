"""The one decode-and-resize of the project: training, evaluation and the agent all call it.

A grey image stays one channel until it has been resized: the filters work on each channel
by itself, so the result is the same and costs a third. A JPEG much larger than the graph's input
is decoded at a half, a quarter or an eighth: its decoder averages on the way, for less than it
takes to make the pixels first (libjpeg's scaled inverse DCT).
"""

from __future__ import annotations

import io
import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edge_agent.bundle.manifest import Preprocess

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
MAX_PIXELS = 64_000_000

_FILTERS = {
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
# `decode` has a limit of its own, checked as early; Pillow's would lie below a larger one.
Image.MAX_IMAGE_PIXELS = None
_PAD = 114  # letterbox grey
# The decoder takes zeros for pixels, and so a file that was given its whole length before its
# content for a whole image. Neither marker can occur inside of compressed pixels.
_SCAN, _END = b"\xff\xda", b"\xff\xd9"
_MAX_SCANS = 100


class DecodeError(ValueError):
    """The bytes are not an image that may be judged; the message says why."""


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
class Fitted:
    """A frame in the graph's input size, and the way back to the original's pixels."""

    tensor: NDArray[np.uint8]
    """height x width x 3, RGB."""
    scale_x: float
    """original x = (input x - offset_x) * scale_x"""
    scale_y: float
    offset_x: float
    offset_y: float


def decode(
    data: bytes, *, formats: Sequence[str] = FORMATS, max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """Decode one image with all of its pixels, upright, as 8-bit grey ("L") or RGB.

    The size is checked before a pixel is decoded. 16-bit grey keeps its upper 8 bits. An alpha
    channel is dropped: a camera's is opaque.

    Raises:
        DecodeError: not one of ``formats``, more than ``max_pixels``, more than one frame,
            truncated or damaged.
    """
    return _decode(data, formats, max_pixels, None).image


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
    return _decode(data, formats, max_pixels, spec)


def _decode(data: bytes, formats: Sequence[str], max_pixels: int, spec: Preprocess | None) -> Frame:
    if not data:
        raise DecodeError("the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of palettes and damaged metadata
            image = Image.open(io.BytesIO(data), formats=tuple(formats))
            width, height = image.size
            if width * height > max_pixels:
                raise DecodeError(
                    f"{width} x {height} pixels is more than the limit of {max_pixels}"
                )
            # Not counted: in a TIFF that alone can take minutes.
            if getattr(image, "is_animated", False):
                raise DecodeError("the file holds several frames; one image a file is judged")
            reduced = 1
            if image.format == "JPEG":
                _look_at_scans(data)
                reduced = 1 if spec is None else _reduce(image, spec)
            image.load()
            upright = _to_grey_or_rgb(ImageOps.exif_transpose(image))
            if reduced == 1:
                return Frame(upright, *upright.size)
            return Frame(upright, width, height, reduced)
    except DecodeError:
        raise
    except UnidentifiedImageError:
        raise DecodeError(f"not an image of an allowed format ({', '.join(formats)})") from None
    except MemoryError:
        raise DecodeError("not enough memory to decode it") from None
    except Exception as error:
        raise DecodeError(f"damaged or truncated: {error}") from None


def _reduce(image: Image.Image, spec: Preprocess) -> int:
    """Have a JPEG decoded as small as `fit` can do with; return how many times smaller."""
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        return 1  # the last column, which may stand for less than the others, would not be last
    width, height = image.size
    across, down = spec.width / width, spec.height / height
    if spec.fit == "letterbox":
        across = down = min(across, down)
    elif spec.fit == "crop":
        across = down = max(across, down)
    drafted = image.draft(None, (math.ceil(width * across), math.ceil(height * down)))
    return round(width / drafted[1][2]) if drafted else 1


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
    if spec.fit == "letterbox":
        scale = min(spec.width / width, spec.height / height)
        inner = (max(1, round(width * scale)), max(1, round(height * scale)))
        left, top = (spec.width - inner[0]) // 2, (spec.height - inner[1]) // 2
        canvas = Image.new(image.mode, size, _PAD if image.mode == "L" else (_PAD,) * 3)
        canvas.paste(image.resize(inner, resample, box=(0, 0, all_w, all_h)), (left, top))
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
    return Fitted(tensor, x[0], y[0], x[1], y[1])


def _look_at_scans(data: bytes) -> None:
    """Refuse a JPEG that lacks its end, or whose scans have none.

    A progressive JPEG has about 10 scans, and its thumbnail as many. Each goes over the whole
    image, whether it says anything or not: thousands of a few bytes each take many minutes.
    """
    if data.rfind(_END) < data.rfind(_SCAN):
        raise DecodeError("damaged or truncated: the JPEG has no end marker")
    scans = data.count(_SCAN)
    if scans > _MAX_SCANS:
        raise DecodeError(f"the JPEG has {scans} scans, more than the limit of {_MAX_SCANS}")


def _to_grey_or_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("L", "RGB"):
        return image
    if image.mode.startswith("I;16"):
        wide = np.asarray(image).astype(np.uint16, copy=False)
        return Image.fromarray((wide >> 8).astype(np.uint8))
    if image.mode in ("1", "LA", "La"):
        return image.convert("L")
    if image.mode in ("P", "PA", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB", "HSV"):
        return image.convert("RGB")
    raise DecodeError(f"pixels of type {image.mode} have no defined brightness range")
