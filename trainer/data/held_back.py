"""The test split, taken away before anything is learned and given out once, at the very end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainer.data.dataset import Dataset, DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.bundle import Bundle
    from trainer.data.dataset import Sample


@dataclass(frozen=True)
class LearningSet(Dataset):
    """A data set without its test split: all that a recipe gets to see.

    Raises:
        ValueError: there is a test image in it.
    """

    def __post_init__(self) -> None:
        if self.subset("test"):
            raise ValueError("a test image among those to learn from: see `hold_back`")


class HeldBack:
    """The test split, under seal.

    It opens once, and only to a bundle that is written: then nothing is left to choose by it.
    Knowing how many images there are is all that can be had before.
    """

    def __init__(self, samples: tuple[Sample, ...]) -> None:
        self.images = len(samples)
        self._opened = False
        # In a closure, not an attribute: what looks through attributes doesn't come upon it.
        self._give: Callable[[], tuple[Sample, ...]] = lambda: samples

    def open(self, bundle: Bundle) -> tuple[Sample, ...]:
        """Give out the test samples for the final evaluation of ``bundle``.

        Raises:
            DatasetError: it was opened before, or the bundle is not on the disk yet.
        """
        if not (bundle.path / "manifest.json").is_file():
            raise DatasetError("the test split opens to a finished bundle, and there is none yet")
        if self._opened:
            raise DatasetError("the test split was opened before: its figures count only once")
        self._opened = True
        return self._give()


def hold_back(dataset: Dataset) -> tuple[LearningSet, HeldBack]:
    """Part a data set into what may be learned from, and its test split (which may be empty)."""
    test = dataset.subset("test")
    learned = tuple(sample for sample in dataset.samples if sample.split != "test")
    return LearningSet(**{**vars(dataset), "samples": learned}), HeldBack(test)
