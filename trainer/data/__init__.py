"""Labelled images: read, checked, split; and synthetic ones to try things with."""

from trainer.data.dataset import Dataset, DatasetError, Sample, Split
from trainer.data.held_back import HeldBack, LearningSet, hold_back
from trainer.data.read import load_image, load_mask
from trainer.data.readers import fingerprint, open_dataset
from trainer.data.splits import make_folds

__all__ = [
    "Dataset",
    "DatasetError",
    "HeldBack",
    "LearningSet",
    "Sample",
    "Split",
    "fingerprint",
    "hold_back",
    "load_image",
    "load_mask",
    "make_folds",
    "open_dataset",
]
