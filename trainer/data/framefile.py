"""All fitted images of a run in one file, decoded once, that every later step and process maps."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.bundle import Preprocess
from trainer.data.expects import look_at
from trainer.data.frames import seen
from trainer.data.mapped import new_arrays
from trainer.progress import progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from trainer.data import Sample
    from trainer.data.expects import Look

_PIXELS = "frames.uint8"
_SPEC = "spec.json"


@dataclass(frozen=True)
class Frames:
    """Where the images lie as a graph sees them: little to send to another process."""

    folder: Path
    spec: Preprocess
    count: int

    def pixels(self) -> NDArray[np.uint8]:
        """All frames, mapped: (images, height, width, 3), RGB."""
        shape = (self.count, self.spec.height, self.spec.width, 3)
        # Copy on write: torch wants an array that it could write to.
        return np.memmap(self.folder / _PIXELS, np.uint8, "c", shape=shape)

    def each(self, images: Iterable[int] | None = None) -> Iterator[NDArray[np.uint8]]:
        """The frames (height, width, 3) of some images, or of all, one after the other."""
        pixels = self.pixels()
        return (pixels[image] for image in (range(len(pixels)) if images is None else images))


@dataclass(frozen=True)
class FrameStore(Frames):
    """The frames, and what they were made from."""

    samples: tuple[Sample, ...]
    looks: tuple[Look, ...] = ()
    """How each looks; empty in a process that has not stored them."""

    @property
    def bare(self) -> Frames:
        """The frames alone."""
        return Frames(self.folder, self.spec, self.count)


def store_frames(samples: Sequence[Sample], spec: Preprocess, folder: Path) -> FrameStore:
    """Decode and fit every image once; measure how it looks.

    Args:
        samples: the images.
        spec: how they are fitted.
        folder: is made; what is there is deleted.

    Raises:
        DatasetError: an image can't be read.
        UsageError: there is not enough room.
    """
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
    return FrameStore(folder, spec, len(samples), tuple(samples), tuple(looks))


def open_frames(samples: Sequence[Sample], folder: Path) -> FrameStore:
    """What another process has stored by `store_frames`."""
    spec = Preprocess.model_validate_json((folder / _SPEC).read_bytes())
    return FrameStore(folder, spec, len(samples), tuple(samples))
