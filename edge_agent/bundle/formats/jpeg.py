"""JPEG: its markers are walked from the first to the end marker, then Pillow decodes it.

What lies behind the end marker is nobody's: cameras write what they like there.

libjpeg takes what is missing for grey, and warns of it where nobody hears. An end marker is enough
for that. So it is not shown one before it is known that it wants nothing more: it gets the coded
pixels and a few bytes that are no code. It has all of its blocks then, or rows are missing.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

from PIL import Image, JpegImagePlugin

from edge_agent.bundle.errors import DamagedError, DecodeError, TruncatedError
from edge_agent.bundle.formats.orientation import orientation_of
from edge_agent.bundle.formats.picture import PillowPicture

MAGIC = b"\xff\xd8\xff"

_EOI, _SOS, _DRI, _DHT, _DQT = 0xD9, 0xDA, 0xDD, 0xC4, 0xDB
_APP0, _APP1, _APP14 = 0xE0, 0xE1, 0xEE
_BASELINE, _EXTENDED, _PROGRESSIVE = _FRAMES = 0xC0, 0xC1, 0xC2
_UNREAD = {
    **dict.fromkeys((0xC3, 0xC7), "lossless coding"),
    **dict.fromkeys((0xC5, 0xC6, 0xDE), "hierarchical coding"),
    **dict.fromkeys((0xC9, 0xCA, 0xCB, 0xCC, 0xCD, 0xCE, 0xCF), "arithmetic coding"),
}
_ALONE = (0x01, 0xD8, *range(0xD0, 0xD8))  # without a segment
# All that pixels depend on. Of metadata these two say which colours they are; to its decoder they
# are such only if they are as long.
_KEPT = (*_FRAMES, _DHT, _DQT, _DRI, _SOS)
_COLOURS = {_APP0: (b"JFIF\0", 14), _APP14: (b"Adobe", 12)}
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"

_MARKER = re.compile(rb"\xff([\x01-\xfe])")
_BEHIND_PIXELS = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")  # restarts stand among them
_RESTARTS = tuple(bytes([0xFF, marker]) for marker in range(0xD0, 0xD8))
# A progressive JPEG has about 10 scans. Each goes over the whole image, whether it says anything
# or not: thousands of a few bytes each take many minutes.
_MAX_SCANS = 100
_MAX_SEGMENTS = 100_000

# No code has ones alone: looking for one in them costs 17 bits. The decoder reads up to 8 bytes
# ahead of the block that it decodes.
_NO_CODE = b"\xff\x00"
_AHEAD = _NO_CODE * 8
_MISSING = "rows of the JPEG are missing, though an end marker closes it"


@dataclass(frozen=True)
class _Frame:
    """What the frame header says."""

    progressive: bool
    width: int
    height: int
    factors: dict[int, tuple[int, int]]
    """How densely each component is sampled, across and down, by its number."""

    def blocks(self, components: tuple[int, ...]) -> int:
        """How many units (MCUs) a scan of these components has."""
        most_x = max(x for x, _ in self.factors.values())
        most_y = max(y for _, y in self.factors.values())
        if len(components) > 1:
            return _up(self.width, 8 * most_x) * _up(self.height, 8 * most_y)
        x, y = self.factors[components[0]]
        return _up(_up(self.width * x, most_x), 8) * _up(_up(self.height * y, most_y), 8)


@dataclass(frozen=True)
class _Scan:
    """One walk over the image."""

    components: tuple[int, ...]
    interval: int
    """Units from one restart marker to the next; 0: there are none."""
    before: bytes
    """The segments that come before its pixels and after the last scan."""
    pixels: memoryview


class Jpeg(PillowPicture):
    """A JPEG whose markers were walked."""

    lossy = True

    def __init__(self, data: bytes) -> None:
        """Walk the markers of ``data``.

        Raises:
            DecodeError: it has no end, too many scans, or is coded in a way that is not read.
        """
        walk = _Walk(data)
        self._frame, self._scans = walk.frame, walk.scans
        self.width, self.height = walk.frame.width, walk.frame.height
        self.orientation = orientation_of(walk.exif, walk.xmp)
        self._size: tuple[int, int] | None = None

    @property
    def components(self) -> int:
        """1 for grey, 3 for colours, 4 for inks."""
        return len(self._frame.factors)

    def reduce(self, width: int, height: int) -> int:
        if self.orientation != 1:
            return 1  # the last column, which may stand for less than the others, would not be last
        self._size = (width, height)
        least = min(self.width // width, self.height // height)
        return next((times for times in (8, 4, 2) if least >= times), 1)

    def decoded(self) -> Image.Image:
        if self._frame.progressive or len(self._scans[0].components) < self.components:
            return self._of_several_scans()
        # Whatever else there is before the end marker, its decoder has no use for it.
        image = self._opened(_Unended(self._start() + self._scans[0].pixels + _AHEAD))
        image.load()
        return image

    def _start(self) -> bytes:
        return b"\xff\xd8" + self._scans[0].before

    def _opened(self, stream: io.BytesIO) -> JpegImagePlugin.JpegImageFile:
        image = JpegImagePlugin.JpegImageFile(stream)
        if self._size is not None:
            image.draft(None, self._size)
        return image

    def _of_several_scans(self) -> Image.Image:
        """Decode scan by scan: each has to have all of its pixels before the next one begins.

        Pillow has no public call that says what its decoder left over, which is how one sees
        whether it waits for the next marker or for more of these pixels.
        """
        image = self._opened(io.BytesIO(self._start()))
        image.load_prepare()
        (tile,) = image.tile
        decoder = Image._getdecoder(image.mode, "jpeg", tile.args, image.decoderconfig)  # noqa: SLF001
        decoder.setimage(image.im, tile.extents)
        try:
            rest, code = b"\xff\xd8", 0
            for scan in self._scans:
                self._count_restarts(scan)
                # Between scans it passes over what is no marker, at once; among pixels it can't.
                for piece in (scan.before + scan.pixels + _AHEAD, _NO_CODE):
                    rest += piece
                    used, code = decoder.decode(rest)
                    rest = rest[used:] if used >= 0 else b""
                    if used < 0 or rest:
                        raise TruncatedError(_MISSING)
            used, code = decoder.decode(b"\xff\xd9")
            if used >= 0 or code < 0:
                raise DamagedError("the scans of the JPEG make no image")
        finally:
            decoder.cleanup()
        image.tile = []
        return image

    def _count_restarts(self, scan: _Scan) -> None:
        if not scan.interval:
            return
        expected = _up(self._frame.blocks(scan.components), scan.interval) - 1
        pixels = bytes(scan.pixels)
        if sum(pixels.count(marker) for marker in _RESTARTS) < expected:
            raise TruncatedError(_MISSING)


class _Unended(io.BytesIO):
    """The bytes of a JPEG without its end marker: a decoder that asks for more lacks rows."""

    def read(self, size: int | None = -1, /) -> bytes:
        piece = super().read(size)
        if not piece and size:
            raise TruncatedError(_MISSING)
        return piece


class _Walk:
    """From the first marker to the end marker."""

    frame: _Frame

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._view = memoryview(data)
        self._interval = 0
        self._before: list[memoryview] = []
        self._precise: dict[int, list[int | None]] = {}
        self._scans_seen = 0
        self._framed = False
        self.scans: list[_Scan] = []
        self.exif = self.xmp = b""
        self._go()
        if self._scans_seen > _MAX_SCANS:
            raise DecodeError(
                f"the JPEG has {self._scans_seen} scans, more than the limit of {_MAX_SCANS}"
            )
        if not self.scans:
            raise DamagedError("the JPEG has no pixels before its end marker")
        if any(bits != 0 for each in self._precise.values() for bits in each):
            raise TruncatedError("scans of the JPEG are missing, though an end marker closes it")

    def _go(self) -> None:
        data, place, pattern = self._data, 2, _MARKER
        for _ in range(_MAX_SEGMENTS):
            found = pattern.search(data, place)
            if found is None:
                raise TruncatedError("the JPEG has no end marker")
            pattern, place, marker = _MARKER, found.end(), data[found.end() - 1]
            if marker == _EOI:
                return
            if marker in _ALONE:
                continue
            end = place + int.from_bytes(data[place : place + 2], "big")
            if end > len(data):
                raise TruncatedError("the JPEG has no end marker")
            if end < place + 2:
                raise DamagedError(f"a segment of the JPEG (marker {marker:02X}) has no length")
            self._segment(marker, place + 2, end)
            if self._makes_pixels(marker, place + 2, end):
                self._before.append(self._view[place - 2 : end])
            if marker == _SOS:
                pattern, place = _BEHIND_PIXELS, self._scan(place + 2, end)
            else:
                place = end
        raise DecodeError(f"the JPEG has more than {_MAX_SEGMENTS} segments")

    def _segment(self, marker: int, start: int, end: int) -> None:
        if marker in _UNREAD:
            raise DecodeError(f"a JPEG with {_UNREAD[marker]} is not read")
        if marker in _FRAMES:
            self._read_frame(marker, self._data[start:end])
        elif marker == _DRI:
            self._interval = int.from_bytes(self._data[start : start + 2], "big")
        elif marker == _APP1:
            if not self.exif and self._data.startswith(_EXIF, start, end):
                self.exif = self._data[start:end]
            elif not self.xmp and self._data.startswith(_XMP, start, end):
                self.xmp = self._data[start:end]

    def _makes_pixels(self, marker: int, start: int, end: int) -> bool:
        if marker not in _COLOURS:
            return marker in _KEPT
        name, size = _COLOURS[marker]
        return end - start >= size and self._data.startswith(name, start, end)

    def _read_frame(self, marker: int, said: bytes) -> None:
        if self._framed:
            raise DamagedError("the JPEG has two frame headers")
        self._framed = True
        if len(said) < 6 or len(said) < 6 + 3 * said[5]:
            raise DamagedError("the frame header of the JPEG is too short")
        if said[0] != 8:
            raise DecodeError(f"a JPEG of {said[0]} bits a sample is not read: 8 bits are")
        if said[5] not in (1, 3, 4):
            raise DecodeError(f"a JPEG of {said[5]} components is not read: 1, 3 and 4 are")
        parts = [said[place : place + 3] for place in range(6, 6 + 3 * said[5], 3)]
        factors = {part[0]: (part[1] >> 4, part[1] & 15) for part in parts}
        height, width = int.from_bytes(said[1:3], "big"), int.from_bytes(said[3:5], "big")
        if not width or not height:
            raise DecodeError(f"a JPEG that says it has {width} x {height} pixels is not read")
        if len(factors) < len(parts) or not all(x and y for x, y in factors.values()):
            raise DamagedError("the frame header of the JPEG contradicts itself")
        self.frame = _Frame(marker == _PROGRESSIVE, width, height, factors)
        self._precise = {part: [None] * 64 for part in factors}

    def _scan(self, start: int, end: int) -> int:
        """Note a scan, and return where its pixels end."""
        said = self._data[start:end]
        if not self._framed:
            raise DamagedError("the JPEG has pixels before its frame header")
        if not said or len(said) < 4 + 2 * said[0] or not said[0]:
            raise DamagedError("a scan header of the JPEG is too short")
        components = tuple(said[1 : 1 + 2 * said[0] : 2])
        first, last, precision = said[1 + 2 * said[0] :][:3]
        if not set(components) <= set(self._precise) or last > 63:
            raise DamagedError("a scan header of the JPEG contradicts its frame header")
        if not self.frame.progressive:
            first, last, precision = 0, 63, 0
        for component in components:
            self._precise[component][first : last + 1] = [precision & 15] * (last + 1 - first)
        found = _BEHIND_PIXELS.search(self._data, end)
        stop = found.start() if found else len(self._data)
        self._scans_seen += 1
        if self._scans_seen <= _MAX_SCANS:
            before, pixels = b"".join(self._before), self._view[end:stop]
            self.scans.append(_Scan(components, self._interval, before, pixels))
        self._before.clear()
        return stop


def _up(number: int, step: int) -> int:
    """Divide, and round up."""
    return -(-number // step)
