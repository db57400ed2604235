"""PGM, PPM and PBM (PNM together), which camera SDKs write."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from edge_agent.bundle.errors import DamagedError, DecodeError, TruncatedError
from edge_agent.bundle.formats.picture import Picture, marks

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAGIC = re.compile(rb"P[1-6][\s#]")
UNREAD = {
    re.compile(rb"P7[\s#]"): "a PAM is not read: save it as PGM or PPM",
    re.compile(rb"P[Ff][\s#]"): "a PFM (32-bit floating point) is not read: save it as PGM or PPM",
}

_NUMBER = re.compile(rb"(?:\s|#[^\r\n]*[\r\n])+([0-9]{1,9})(?=[\s#])")
_COMMENT = re.compile(rb"#[^\r\n]*")
_BIT_TEXT, _GREY_TEXT, _COLOUR_TEXT, _BITS, _GREY, _COLOUR = b"123456"


class Pnm(Picture):
    """A PNM whose header was read."""

    def __init__(self, data: bytes) -> None:
        """Read the header of ``data``.

        Raises:
            DecodeError: it ends too early, says what can't be, or is followed by another image.
        """
        self._data = data
        self._kind = data[1]
        self._text = self._kind in (_BIT_TEXT, _GREY_TEXT, _COLOUR_TEXT)
        self._channels = 3 if self._kind in (_COLOUR_TEXT, _COLOUR) else 1
        bits = self._kind in (_BIT_TEXT, _BITS)
        self.width, place = self._number(2)
        self.height, place = self._number(place)
        self._most, place = (1, place) if bits else self._number(place)
        if not self.width or not self.height or not 1 <= self._most <= 65535:
            raise DamagedError(
                f"the PNM says that it has {self.width} x {self.height} pixels up to {self._most}"
            )
        self._start = place + 1
        if self._text:
            return
        end = self._start + self.height * self._row()
        if end > len(data):
            raise TruncatedError("the PNM is shorter than its header says")
        if MAGIC.match(data, end) and data[end + 1] == self._kind:
            raise DecodeError("the file holds several frames; one image a file is judged")

    def load(self) -> Image.Image:
        values, most = self._values(), self._most
        if most == 255:
            return Image.fromarray(values)
        if most & (most + 1) == 0 and most > 255:  # the upper 8 of so many bits
            return Image.fromarray((values >> (most.bit_length() - 8)).astype(np.uint8))
        levels = np.arange(65536 if most > 255 else 256)
        table = np.minimum((levels * 510 + most) // (2 * most), 255).astype(np.uint8)
        return Image.fromarray(table[values])

    def levels(self) -> Image.Image:
        values = self._values()
        return marks((values if self._channels == 1 else values.max(axis=2)) > 0)

    def _number(self, place: int) -> tuple[int, int]:
        found = _NUMBER.match(self._data, place)
        if found is None:
            raise DamagedError("the PNM ends in its header, or has no numbers there")
        return int(found[1]), found.end()

    def _row(self) -> int:
        if self._kind == _BITS:
            return (self.width + 7) // 8
        return self.width * self._channels * (2 if self._most > 255 else 1)

    def _values(self) -> NDArray[Any]:
        """As they are in the file, and no larger than it says; of bits, 1 is white."""
        shape = (self.height, self.width, *((3,) if self._channels == 3 else ()))
        if self._kind == _BITS:
            rows = np.frombuffer(self._data, np.uint8, self.height * self._row(), self._start)
            packed = rows.reshape(self.height, self._row())
            values = np.unpackbits(packed, axis=1, count=self.width)
            return values ^ np.uint8(1)
        count = self.width * self.height * self._channels
        if not self._text:
            wide = np.dtype(">u2") if self._most > 255 else np.dtype(np.uint8)
            values = np.frombuffer(self._data, wide, count, self._start)
        else:
            values = self._of_text(count)
        values = values.astype(np.uint16 if self._most > 255 else np.uint8)
        if self._most not in (255, 65535):  # nothing is whiter than white
            np.minimum(values, values.dtype.type(self._most), out=values)
        found: NDArray[Any] = values.reshape(shape)
        return found

    def _of_text(self, count: int) -> NDArray[Any]:
        text = _COMMENT.sub(b" ", self._data[self._start :])
        if self._kind == _BIT_TEXT:  # which need no space between them
            digits = np.frombuffer(text, np.uint8)
            digits = digits[(digits == ord("0")) | (digits == ord("1"))]
            values = ord("1") - digits[:count]
        else:
            try:
                values = np.fromstring(text, np.int32, sep=" ")[:count]
            except ValueError:
                raise DamagedError(
                    "among the PNM's pixels is something else than numbers"
                ) from None
        if values.size < count:
            raise TruncatedError("the PNM is shorter than its header says")
        kept: NDArray[Any] = np.clip(values, 0, self._most)
        return kept
