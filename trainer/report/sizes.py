"""How large the defects are, by their masks, and how well each size is found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trainer.data import load_mask
from trainer.stats.bootstrap import wilson

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trainer.data import Sample
    from trainer.report.files import RunFiles

_LEAST = 8
"""Defects in a class of sizes: fewer say nothing."""
_CLASSES = 4


@dataclass(frozen=True)
class Flaw:
    """A defective image with a mask."""

    name: str
    area: int
    """Marked pixels of the image as it was taken."""
    score: float


@dataclass(frozen=True)
class SizeClass:
    """Defects of about one size."""

    smallest: int
    """Marked pixels."""
    largest: int
    defects: int
    found: int
    low: float
    """Wilson's interval of the recall, at 95 %."""
    high: float


def flaws(run: RunFiles, samples: Mapping[str, Sample]) -> list[Flaw]:
    """The size and score of every defect that has a mask.

    Raises:
        DatasetError: a mask can't be read any more.
    """
    found = []
    for name, label, score in zip(run.names, run.labels, run.scores, strict=True):
        sample = samples.get(name)
        if label and sample is not None and sample.mask is not None:
            area = int(load_mask(sample).sum())
            if area:
                found.append(Flaw(name, area, float(score)))
    return found


def by_size(found: Sequence[Flaw], threshold: float) -> list[SizeClass]:
    """Recall at a threshold, for up to four classes of about as many defects each."""
    ordered = sorted(found, key=lambda flaw: flaw.area)
    classes = max(1, min(_CLASSES, len(ordered) // _LEAST))
    parts = [part for part in np.array_split(np.arange(len(ordered)), classes) if len(part)]
    result = []
    for part in parts:
        inside = [ordered[i] for i in part]
        hits = sum(flaw.score >= threshold for flaw in inside)
        result.append(
            SizeClass(
                inside[0].area, inside[-1].area, len(inside), hits, *wilson(hits, len(inside))
            )
        )
    return result
