"""RUN/heatmaps.npz: where the models of the folds saw a defect, in the order of oof.csv."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trainer.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FILE = "heatmaps.npz"


def write_heatmaps(file: Path, heatmaps: NDArray[np.floating]) -> None:
    """Keep heatmaps, (N, h, w) in 0-1, in steps of 1/255: they are for looking at."""
    np.savez_compressed(file, heatmaps=np.rint(heatmaps * 255).astype(np.uint8))


def read_heatmaps(file: Path) -> NDArray[np.uint8]:
    """Read them again: (N, h, w), 255 for 1.

    Raises:
        UsageError: the file is damaged, or of another kind.
    """
    try:
        with np.load(file, allow_pickle=False) as kept:
            heatmaps: NDArray[np.uint8] = kept["heatmaps"]
    except Exception as error:  # zip, numpy's format and its keys all raise their own
        raise UsageError(f"{file} can't be read ({error}): train again, or remove it") from None
    if heatmaps.ndim != 3 or heatmaps.dtype != np.uint8:
        raise UsageError(f"{file} does not hold heatmaps: train again, or remove it")
    return heatmaps
