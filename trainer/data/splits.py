"""Folds for cross-validation: stratified by label, grouped, always the same for a seed."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from typing import TYPE_CHECKING

from trainer.data.dataset import DatasetError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainer.data.dataset import Sample


def make_folds(samples: Sequence[Sample], k: int, seed: int) -> tuple[int, ...]:
    """The fold, 0 to ``k - 1``, of every sample; the samples of a group share one.

    Greedy, the largest first, as scikit-learn's ``StratifiedGroupKFold``: each group with
    defects goes where there are the fewest defects, then each group without where there are the
    fewest ok images. So no two folds differ by more defects than the largest group has. The
    result depends on the groups and the seed, not on the order of the samples, and on no random
    number generator, whose stream may change with a library's version.

    Raises:
        DatasetError: too few groups for every fold to have defective and ok images.
    """
    if k < 2:
        raise DatasetError(f"{k} folds can't be made: it takes at least 2")
    members: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        members[sample.group].append(sample)
    defects = {name: sum(s.defect for s in group) for name, group in members.items()}
    oks = {name: len(group) - defects[name] for name, group in members.items()}

    def order(name: str) -> tuple[int, int, str]:
        shuffled = hashlib.sha256(os.fsencode(f"{seed}:{name}")).hexdigest()
        return -defects[name], -oks[name], shuffled

    in_fold = [[0, 0] for _ in range(k)]  # defects, ok images
    fold_of: dict[str, int] = {}
    for name in sorted(members, key=order):
        if defects[name]:
            fold = min(range(k), key=lambda f: (in_fold[f][0], in_fold[f][1]))
        else:
            fold = min(range(k), key=lambda f: in_fold[f][1])
        in_fold[fold][0] += defects[name]
        in_fold[fold][1] += oks[name]
        fold_of[name] = fold
    if any(0 in counts for counts in in_fold):
        torn = (
            ""
            if len(members) == len(samples)
            else (
                ", or name smaller groups in a manifest.csv: images of one group, such as "
                f"{max(members, key=lambda name: len(members[name]))}, are kept together"
            )
        )
        raise DatasetError(
            f"{k} folds need defective and ok images in each, from different groups: there are "
            f"{sum(map(bool, defects.values()))} groups with defective images and "
            f"{sum(map(bool, oks.values()))} with ok ones. Use fewer folds or add images{torn}"
        )
    return tuple(fold_of[sample.group] for sample in samples)
