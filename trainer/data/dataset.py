"""What every reader returns: labelled images, whatever folder layout they came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from edge_agent.bundle.preprocess import MAX_PIXELS

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.data.glance import Glance

Split = Literal["train", "test", ""]


class DatasetError(Exception):
    """The images can't be used; the message names every file and what to do."""


@dataclass(frozen=True)
class Sample:
    """One labelled image."""

    name: str
    """Path relative to the root, with ``/``: unique, stable, what reports and CSV files show."""
    image: Path
    mask: Path | None
    """Marks the defect, same size as the image: a file, or a folder of several that are merged.
    None for an ok image (its mask would be black), and for a defective one whose mask is not to be
    had."""
    defect: bool
    group: str
    """Images of one group (one part, one batch) never stand on both sides of a split."""
    split: Split = ""
    """The authors' own split, where the layout has one; "" where it hasn't."""
    max_pixels: int = MAX_PIXELS
    """So many may be decoded of image and mask."""
    glance: Glance | None = field(default=None, compare=False, repr=False)
    """What was seen of the image when the data set was read."""
    marked: float | None = field(default=None, compare=False)
    """Share of the pixels that the mask marks, 0-1; None without a mask."""


@dataclass(frozen=True)
class Dataset:
    """A folder of labelled images, read and checked."""

    root: Path
    layout: str
    """Name of the layout that was recognised."""
    samples: tuple[Sample, ...]
    width: int
    """Median width of the images outside of the test split, pixels."""
    height: int
    notes: tuple[str, ...] = ()
    """What was skipped or decided while reading, worth showing to the one who trains."""

    @property
    def has_masks(self) -> bool:
        """Whether at least one defective image has a mask."""
        return any(sample.defect and sample.mask is not None for sample in self.samples)

    def subset(self, split: Split) -> tuple[Sample, ...]:
        """The samples of one official split."""
        return tuple(sample for sample in self.samples if sample.split == split)
