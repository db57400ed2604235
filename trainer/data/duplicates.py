"""Pictures that a data set holds twice: the same bytes, or the same part photographed again."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trainer.data.glance import Glance

_RADIUS = 3
_ALIKE_BITS = 0.7
"""Share of equal bits from which two pictures are compared closely; chance gives 0.5."""
_ALIKE = 0.7
"""Correlation from which they are one. Second photographs of a part reach 0.97 on KolektorSDD,
different parts 0.43 at most."""
_BLOCK = 1024


@dataclass(frozen=True)
class Pair:
    """Two images that show the same."""

    first: int
    """Index of the image, below ``second``."""
    second: int
    exact: bool
    """The same bytes."""
    likeness: float
    """Correlation, 1 for the same bytes."""


def find_pairs(glances: Sequence[Glance]) -> list[Pair]:
    """Byte copies (each with the first of its kind) and near-duplicates, the most alike first."""
    by_hash: dict[str, list[int]] = defaultdict(list)
    for index, glance in enumerate(glances):
        by_hash[glance.sha256].append(index)
    exact = [
        Pair(same[0], other, exact=True, likeness=1.0)
        for same in by_hash.values()
        for other in same[1:]
    ]
    firsts = [same[0] for same in by_hash.values()]
    near = [
        Pair(firsts[one], firsts[other], exact=False, likeness=likeness)
        for one, other, likeness in near_pairs(np.stack([glances[i].thumb for i in firsts]))
    ]
    return exact + sorted(near, key=lambda pair: -pair.likeness)


def near_pairs(thumbs: NDArray[np.float32]) -> list[tuple[int, int, float]]:
    """Pairs of small pictures, (N, 32, 32) grey, that show the same: indices and correlation.

    Images of a line all look alike: what they share (their mean) and the light's slow changes
    (a blur) are taken away first; what is left is what tells one part from another. A difference
    hash of it (dHash, Krawetz 2013: is each cell brighter than its left neighbour?) finds the
    candidates, the correlation decides.
    """
    detail = thumbs - thumbs.mean(axis=0)
    detail = (detail - _blurred(detail)).reshape(len(thumbs), -1)
    detail = detail - detail.mean(axis=1, keepdims=True)
    length = np.linalg.norm(detail, axis=1, keepdims=True)
    # An image without any detail of its own (all alike, or blank) is like none.
    unit = np.where(length > 1.0, detail / np.maximum(length, 1.0), 0.0).astype(np.float32)
    halves = detail.reshape(len(thumbs), 16, 2, 16, 2).mean(axis=2)
    bits = np.where(halves[..., 1] > halves[..., 0], 1, -1).reshape(len(thumbs), -1)
    bits = bits.astype(np.float32)
    pairs = []
    for start in range(0, len(thumbs), _BLOCK):  # all at once would need N x N floats
        rows = slice(start, start + _BLOCK)
        equal = (bits[rows] @ bits.T / bits.shape[1] + 1) / 2
        for one, other in np.argwhere(equal >= _ALIKE_BITS):
            first, second = start + int(one), int(other)
            if first < second:
                likeness = float(unit[first] @ unit[second])
                if likeness >= _ALIKE:
                    pairs.append((first, second, min(1.0, likeness)))
    return pairs


def _blurred(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of the 7 x 7 neighbours, edges repeated."""
    side = 2 * _RADIUS + 1
    padded = np.pad(pictures, ((0, 0), (_RADIUS, _RADIUS), (_RADIUS, _RADIUS)), mode="edge")
    across = sliding_window_view(padded, side, axis=2).mean(axis=3)
    blurred: NDArray[np.float32] = sliding_window_view(across, side, axis=1).mean(axis=3)
    return blurred
