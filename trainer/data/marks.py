"""How large what a mask marks is, in one piece."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def largest_mark(mask: NDArray[np.bool_], enough: int) -> int:
    """Pixels of the largest connected mark of a mask (H, W); corners that touch connect.

    Rows are taken as runs, and runs that touch are joined (Rosenfeld and Pfaltz 1966).

    Args:
        mask: where the defect is.
        enough: from so many pixels on it is not followed further; what is returned is no less.

    Returns:
        0 where nothing is marked.
    """
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(edges == 1)
    ends = np.nonzero(edges == -1)[1]
    parent = list(range(len(rows)))
    sizes = (ends - starts).tolist()

    def find(run: int) -> int:
        while parent[run] != run:
            parent[run] = parent[parent[run]]
            run = parent[run]
        return run

    largest, above = 0, 0  # the first run of the row above that may still touch
    for run, (row, start, end) in enumerate(zip(*_plain(rows, starts, ends), strict=True)):
        while above < run and (rows[above] < row - 1 or _is_left(rows, ends, above, row, start)):
            above += 1
        other = above
        while other < run and rows[other] == row - 1 and starts[other] <= end:
            one, two = find(run), find(other)
            if one != two:
                parent[one] = two
                sizes[two] += sizes[one]
            other += 1
        largest = max(largest, sizes[find(run)])
        if largest >= enough:
            break
    return int(largest)


def _is_left(
    rows: NDArray[np.int64], ends: NDArray[np.int64], above: int, row: int, start: int
) -> bool:
    """Whether a run of the row above ends before ``start``, without even a corner in common."""
    return bool(rows[above] == row - 1 and ends[above] < start)


def _plain(*arrays: NDArray[np.int64]) -> list[list[int]]:
    return [array.tolist() for array in arrays]
