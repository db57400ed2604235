"""All fitted images of a run in one file, decoded once, that every process of it maps."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.bundle import Preprocess
from trainer.data.expects import look_at
from trainer.data.frames import seen
from trainer.data.mapped import new_arrays
from trainer.progress import progress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from trainer.data import Sample
    from trainer.data.expects import Look

_PIXELS = "frames.uint8"
_SPEC = "spec.json"


def store_frames(samples: Sequence[Sample], spec: Preprocess, folder: Path) -> tuple[Look, ...]:
    """Fit every image once, into a file that all processes map; measure how it looks."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shape = (len(samples), spec.height, spec.width, 3)
    advice = "choose a smaller --size"
    (frames,) = new_arrays(folder, {_PIXELS: shape}, np.uint8, "the fitted images take", advice)
    looks = []
    with progress("looking at the images", len(samples)) as advance:
        for number, (frame, fitted) in enumerate(seen(samples, spec)):
            frames[number] = fitted.tensor
            looks.append(look_at(frame, fitted))
            advance("")
    frames.flush()
    (folder / _SPEC).write_text(spec.model_dump_json(), encoding="utf-8")
    return tuple(looks)


def open_frames(folder: Path, count: int) -> tuple[Preprocess, NDArray[np.uint8]]:
    """What ``store_frames`` stored: how they were fitted, and the frames (count, H, W, 3)."""
    spec = Preprocess.model_validate_json((folder / _SPEC).read_bytes())
    shape = (count, spec.height, spec.width, 3)
    # Copy on write: torch wants an array that it could write to.
    return spec, np.memmap(folder / _PIXELS, np.uint8, "c", shape=shape)
