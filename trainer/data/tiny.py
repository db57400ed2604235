"""Defects that are too small for the network's input: known as soon as its size is."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_agent.bundle.preprocess import scales
from edge_agent.system.text import printable, say
from trainer.data import load_mask
from trainer.data.frames import STEP
from trainer.data.marks import largest_mark
from trainer.data.summary import Finding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_agent.bundle import Preprocess
    from trainer.data import Sample

_LEAST = 4
"""Pixels of the input, 2 x 2: a smaller defect is averaged away before the network sees it."""
_LARGEST = 8192
_SHOWN = 100


@dataclass(frozen=True)
class _Tiny:
    """A defective image whose largest mark is too small."""

    name: str
    pixels: int
    """Of the image, in its largest mark."""
    width: int
    height: int
    shown: float
    """Pixels of the input that they become."""


@dataclass(frozen=True)
class TinyDefects:
    """What to say of them, and what would help."""

    finding: Finding
    wanted: tuple[int, int] | None
    """The input (width, height) that would do; None where no larger input can."""


def tiny_defects(samples: Sequence[Sample], spec: Preprocess) -> TinyDefects | None:
    """What to say where defects with a mask become less than 2 x 2 pixels of ``spec``'s input.

    An image counts by its largest mark: by that one it can be told.

    Raises:
        DatasetError: a mask can't be read any more.
    """
    masked = [sample for sample in samples if sample.defect and sample.mask is not None]
    tiny = sorted(
        (one for sample in masked if (one := _tiny(sample, spec))), key=lambda one: one.shown
    )
    if not tiny:
        return None
    first, wanted = tiny[0], _wanted(tiny, spec)
    text = (
        f"{len(tiny)} of {len(masked)} defects with a mask are smaller than 2 x 2 pixels of the "
        f"network's input, {spec.width} x {spec.height} (such as {first.name}: {first.pixels} "
        f"pixels of {first.width} x {first.height}): the network can hardly see them. "
        f"{_advice(tiny, spec, wanted)}"
    )
    names = tuple((one.name,) for one in tiny[:_SHOWN])
    return TinyDefects(Finding("tiny defects", True, text, len(tiny), names), wanted)


def warn_of_tiny(samples: Sequence[Sample], spec: Preprocess) -> None:
    """Say it on stderr, before hours are spent."""
    if tiny := tiny_defects(samples, spec):
        say(printable(f"warning: {tiny.finding.text}", 4000), stream=sys.stderr, flush=True)


def _tiny(sample: Sample, spec: Preprocess) -> _Tiny | None:
    mask = load_mask(sample)
    height, width = mask.shape
    across, down = scales(spec, width, height)
    enough = math.ceil(_LEAST / (across * down))
    pixels = largest_mark(mask, enough)
    if not 0 < pixels < enough:
        return None
    return _Tiny(sample.name, pixels, width, height, pixels * across * down)


def _wanted(tiny: Sequence[_Tiny], spec: Preprocess) -> tuple[int, int] | None:
    """The input that would do for all that the images themselves show large enough."""
    visible = [one.shown for one in tiny if one.pixels >= _LEAST]
    if not visible:
        return None
    times = math.sqrt(_LEAST / min(visible))
    width, height = _rounded(spec.width * times), _rounded(spec.height * times)
    return (width, height) if max(width, height) <= _LARGEST else None


def _advice(tiny: Sequence[_Tiny], spec: Preprocess, wanted: tuple[int, int] | None) -> str:
    said = []
    hidden = sum(one.pixels < _LEAST for one in tiny)
    if wanted:
        work = wanted[0] * wanted[1] / (spec.width * spec.height)
        said.append(f"--size {wanted[0]}x{wanted[1]} would do, at about {work:.0f} times the work")
    elif hidden < len(tiny):
        said.append("cut the images into smaller ones, or take a part of them")
    if hidden:
        said.append(
            f"{hidden} with fewer than {_LEAST} pixels in the image itself: is the mask right? "
            "Else take the part closer"
        )
    return "; ".join(said)


def _rounded(side: float) -> int:
    """Up to a multiple of 32; rounding errors of a side that is one already don't count."""
    return STEP * math.ceil(side / STEP - 1e-9)
