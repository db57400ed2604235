"""Cross-validation: every image scored once, by a model that did not see its group."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.types.target import CPU
from trainer.errors import UsageError
from trainer.stats.metrics import accuracy_at

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edge_agent.bundle import Accuracy
    from trainer.data import Sample


@dataclass(frozen=True)
class OutOfFold:
    """Scores of every image, and which fold's model gave them."""

    folds: NDArray[np.int64]
    """(images,): the fold in which the image was held out."""
    labels: NDArray[np.bool_]
    scores: NDArray[np.float64]


def held_out(folds: NDArray[np.int64]) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """By fold: indices of the images to learn from, and of those held out."""
    return [
        (np.flatnonzero(folds != fold), np.flatnonzero(folds == fold))
        for fold in range(int(folds.max()) + 1)
    ]


def fold_accuracies(result: OutOfFold, threshold: float) -> list[Accuracy]:
    """Each fold's own figures, at the threshold that was chosen over all of them."""
    return [
        accuracy_at(result.labels[images], result.scores[images], threshold)
        for _, images in held_out(result.folds)
    ]


def oof_file(run: Path, variant: str = "fp32", provider: str = CPU) -> Path:
    """Where a variant's out-of-fold scores lie; those on the CPU provider have its name alone."""
    parts = [] if variant == "fp32" else [variant]
    parts += [] if provider == CPU else [provider.replace(":", "-")]
    return run / ".".join(["oof", *parts, "csv"])


def write_oof(file: Path, samples: Sequence[Sample], result: OutOfFold) -> None:
    """Write ``oof.csv``: image, group, fold, label, score."""
    with file.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "group", "fold", "label", "score"])
        for sample, fold, label, score in zip(
            samples, result.folds, result.labels, result.scores, strict=True
        ):
            # repr: the shortest text that reads back as the very same number
            writer.writerow([sample.name, sample.group, int(fold), int(label), repr(float(score))])


def read_oof(file: Path) -> tuple[list[str], OutOfFold]:
    """The groups, and the scores, that ``write_oof`` wrote.

    Raises:
        UsageError: the file is missing or something else.
    """
    try:
        with file.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
            rows = list(csv.DictReader(stream))
        result = OutOfFold(
            np.array([int(row["fold"]) for row in rows]),
            np.array([row["label"] == "1" for row in rows]),
            np.array([float(row["score"]) for row in rows]),
        )
        groups = [row["group"] for row in rows]
    except OSError as error:
        raise UsageError(
            f"{file} can't be read ({error.strerror}): give the folder of a finished run"
        ) from None
    except (KeyError, TypeError, ValueError):
        raise UsageError(f"{file} was not written by `trainer train`") from None
    if not result.labels.any():
        raise UsageError(f"{file} holds no defect: a threshold can't be chosen by it")
    return groups, result
