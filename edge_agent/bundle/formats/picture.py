"""What every format gives: an image whose header was read, and none of its pixels yet."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from edge_agent.bundle.errors import DecodeError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Picture(ABC):
    """An image in a file: its header was read and believed, its pixels were not touched."""

    width: int
    """As stored, pixels; not yet upright."""
    height: int
    orientation: int = 1
    """As in EXIF, 1 to 8."""
    lossy: bool = False
    """Whether a pixel may be another than the one that was saved."""

    def reduce(self, width: int, height: int) -> int:
        """Have `load` give fewer pixels, but no fewer than these; return how many times fewer."""
        del width, height
        return 1

    @abstractmethod
    def load(self) -> Image.Image:
        """Decode the pixels as stored: 8-bit grey ("L") or RGB.

        Raises:
            DecodeError: they are damaged, incomplete or of a kind that is not read.
        """

    @abstractmethod
    def levels(self) -> Image.Image:
        """Decode a mask, grey ("L"): 0 where all channels are 0, or where it is transparent.

        What is not 0 in the file is not 0 here, of however many bits. In a ``lossy`` file it is
        the brightest channel's level.

        Raises:
            DecodeError: as `load`.
        """


class PillowPicture(Picture):
    """One that Pillow decodes, in modes that say what the file says."""

    @abstractmethod
    def decoded(self) -> Image.Image:
        """The pixels, in the mode that Pillow gives."""

    def load(self) -> Image.Image:
        return to_grey_or_rgb(self.decoded())

    def levels(self) -> Image.Image:
        image = self.decoded()
        if image.mode.startswith("I;16"):
            return marks(np.asarray(image) > 0)
        levels = np.asarray(to_grey_or_rgb(image))
        if levels.ndim == 3:  # red is a mark as good as white
            levels = levels.max(axis=2)
        if image.has_transparency_data:
            alpha = np.asarray(image.convert("RGBA").getchannel("A"))
            levels = np.where(alpha > 0, levels, np.uint8(0))
        return Image.fromarray(levels)


def marks(where: NDArray[np.bool_]) -> Image.Image:
    """White where something is, black elsewhere."""
    return Image.fromarray(np.where(where, np.uint8(255), np.uint8(0)))


def to_grey_or_rgb(image: Image.Image) -> Image.Image:
    """The upper 8 bits of each channel, without alpha."""
    if image.mode in ("L", "RGB"):
        return image
    if image.mode.startswith("I;16"):
        wide = np.asarray(image).astype(np.uint16, copy=False)
        return Image.fromarray((wide >> 8).astype(np.uint8))
    if image.mode in ("1", "LA", "La"):
        return image.convert("L")
    if image.mode in ("P", "PA", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr"):
        return image.convert("RGB")
    raise DecodeError(f"pixels of type {image.mode} have no defined brightness range")
