"""From files to fitted frames and map-sized targets; and which size to fit them to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from edge_agent.bundle.preprocess import fit
from trainer.data.glance import glance_of
from trainer.data.read import load_frame, load_mask

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from edge_agent.bundle import Preprocess
    from edge_agent.bundle.preprocess import Fitted, Frame
    from trainer.data.dataset import Sample

PIXELS = 704 * 256
"""Default budget of input pixels: a defect must cover a few of them to be found."""
STEP = 32
"""Sides are multiples of the coarsest stride, so that every map has an even size."""
_DISTORTION = 1.1
_LARGEST = 4096
_UNIFORM = 1.25


def choose_size(width: int, height: int, pixels: int = PIXELS) -> tuple[int, int]:
    """The input's (width, height) for images of ``width`` x ``height``.

    The largest within ``pixels`` whose ratio of sides differs from the images' by at most a
    tenth and that enlarges neither side by more than it takes to reach a multiple of 32; of
    equals the one with the least distortion. Very long images have no such size: then the
    distortion decides alone.
    """
    ratio = width / height
    best: tuple[float, float, float] | None = None
    chosen = (STEP, STEP)
    for w in range(STEP, min(_round_up(width), _LARGEST) + 1, STEP):
        for h in range(STEP, min(_round_up(height), _LARGEST) + 1, STEP):
            if w * h > pixels:
                break
            distortion = max(w / h / ratio, ratio / (w / h))
            excess = max(distortion - _DISTORTION, 0.0)
            rank = (-excess, w * h, -distortion)
            if best is None or rank > best:
                best, chosen = rank, (w, h)
    return chosen


@dataclass(frozen=True)
class Survey:
    """What the images have in common."""

    grey: bool
    """All are grey: a colour image that turns up on the line is judged by its grey."""
    uniform: bool
    """All have about the same ratio of sides, so that stretching distorts all alike."""


def survey(samples: Sequence[Sample]) -> Survey:
    """What mode and size of all images tell."""
    glances = [glance_of(sample) for sample in samples]
    ratios = [glance.width / glance.height for glance in glances]
    grey = all(glance.grey for glance in glances)
    return Survey(grey, max(ratios) / min(ratios) <= _UNIFORM)


def fitted(samples: Iterable[Sample], spec: Preprocess) -> Iterator[NDArray[np.uint8]]:
    """Decode and fit one image after the other: (height, width, 3), RGB."""
    for _, found in seen(samples, spec):
        yield found.tensor


def seen(samples: Iterable[Sample], spec: Preprocess) -> Iterator[tuple[Frame, Fitted]]:
    """Decode and fit one image after the other."""
    for sample in samples:
        frame = load_frame(sample, spec)
        yield frame, fit(frame, spec)


def target_map(sample: Sample, spec: Preprocess, stride: int) -> NDArray[np.bool_]:
    """Which cells of the map (height / stride, width / stride) touch the defect.

    The mask goes through the very ``fit`` of the image. Any coverage counts, however thin: a
    scratch one pixel wide must not vanish when it is made smaller.
    """
    height, width = spec.height // stride, spec.width // stride
    if sample.mask is None:
        return np.zeros((height, width), bool)
    mask = load_mask(sample)
    drawn = Image.fromarray(mask.astype(np.uint8) * 255)
    placed = fit(drawn, spec.model_copy(update={"colour": "grey", "interpolation": "box"}))
    marked = placed.tensor[..., 0] > 0
    left, top = max(0, round(placed.offset_x)), max(0, round(placed.offset_y))
    inside = np.zeros_like(marked)  # letterbox pads with grey, which is no defect
    bottom = round(placed.offset_y + mask.shape[0] / placed.scale_y)
    right = round(placed.offset_x + mask.shape[1] / placed.scale_x)
    inside[top:bottom, left:right] = True
    marked &= inside
    blocks = marked.reshape(height, stride, width, stride)
    return np.asarray(blocks.any(axis=(1, 3)))


def _round_up(side: int) -> int:
    return -(-side // STEP) * STEP
