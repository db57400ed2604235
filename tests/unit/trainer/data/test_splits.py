"""Properties that hold for whatever groups a factory brings."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from trainer.data import DatasetError, Sample, make_folds

if TYPE_CHECKING:
    import random

FOLDS = st.integers(2, 6)
SEEDS = st.integers(0, 2**32)
GROUPS = st.lists(  # defects and ok images of each group
    st.tuples(st.integers(0, 5), st.integers(0, 9)).filter(any), min_size=1, max_size=40
)


def samples_of(groups: list[tuple[int, int]]) -> list[Sample]:
    return [
        Sample(f"{g}-{i}.png", Path(f"{g}-{i}.png"), None, defect=i < defects, group=f"g{g}")
        for g, (defects, oks) in enumerate(groups)
        for i in range(defects + oks)
    ]


def folded(samples: list[Sample], k: int, seed: int) -> tuple[int, ...]:
    try:
        return make_folds(samples, k, seed)
    except DatasetError:
        reject()


def test_names_that_are_not_utf8() -> None:
    names = [os.fsdecode(b"part \xff%d" % number) for number in range(8)]
    samples = [Sample(name, Path(name), None, n % 2 == 0, name) for n, name in enumerate(names)]
    assert set(make_folds(samples, 2, seed=0)) == {0, 1}


@given(GROUPS, FOLDS, SEEDS)
def test_a_group_is_never_torn(groups: list[tuple[int, int]], k: int, seed: int) -> None:
    samples = samples_of(groups)
    folds = folded(samples, k, seed)
    assert len(folds) == len(samples)
    assert set(folds) == set(range(k))
    of_group = defaultdict(set)
    for sample, fold in zip(samples, folds, strict=True):
        of_group[sample.group].add(fold)
    assert all(len(where) == 1 for where in of_group.values())


@given(GROUPS, FOLDS, SEEDS)
def test_defects_and_ok_images_are_balanced(
    groups: list[tuple[int, int]], k: int, seed: int
) -> None:
    samples = samples_of(groups)
    folds = folded(samples, k, seed)
    defects = Counter(dict.fromkeys(range(k), 0))
    oks = Counter(dict.fromkeys(range(k), 0))
    for sample, fold in zip(samples, folds, strict=True):
        (defects if sample.defect else oks)[fold] += 1
    assert min(defects.values()) > 0
    assert min(oks.values()) > 0
    assert max(defects.values()) - min(defects.values()) <= max(d for d, _ in groups)


@given(st.lists(st.integers(1, 3), min_size=6, max_size=20), FOLDS, SEEDS)
def test_enough_groups_of_each_are_enough(sizes: list[int], k: int, seed: int) -> None:
    groups = [(size, 0) for size in sizes] + [(0, size) for size in sizes]
    folds = make_folds(samples_of(groups), k, seed)
    assert set(folds) == set(range(k))


@given(st.lists(st.integers(1, 4), min_size=12, max_size=40), SEEDS)
def test_ok_images_are_balanced(sizes: list[int], seed: int) -> None:
    samples = samples_of([(1, 0)] * 4 + [(0, size) for size in sizes])
    folds = make_folds(samples, 4, seed)
    oks = Counter(fold for sample, fold in zip(samples, folds, strict=True) if not sample.defect)
    assert max(oks.values()) - min(oks.values()) <= max(sizes)


@given(GROUPS, FOLDS, SEEDS, st.randoms(use_true_random=False))
def test_the_order_of_the_samples_does_not_matter(
    groups: list[tuple[int, int]], k: int, seed: int, shuffler: random.Random
) -> None:
    samples = samples_of(groups)
    folds = dict(zip([s.name for s in samples], folded(samples, k, seed), strict=True))
    shuffler.shuffle(samples)
    again = dict(zip([s.name for s in samples], make_folds(samples, k, seed), strict=True))
    assert folds == again


def test_the_seed_matters_and_its_folds_stay_for_ever() -> None:
    samples = samples_of([(1, 2)] * 12)
    assert make_folds(samples, 3, seed=0) != make_folds(samples, 3, seed=1)
    assert make_folds(samples, 3, seed=0)[::3] == (1, 0, 1, 2, 0, 1, 0, 0, 2, 1, 2, 2)


@pytest.mark.parametrize(
    ("groups", "k", "said"),
    [
        ([(1, 1)], 1, "at least 2"),
        ([(1, 1)] * 2, 3, "2 groups with defective images and 2 with ok ones"),
        ([(3, 0), (2, 0), (0, 9)], 2, "2 groups with defective images and 1 with ok ones"),
        ([], 2, "0 groups"),
    ],
)
def test_too_few_groups(groups: list[tuple[int, int]], k: int, said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        make_folds(samples_of(groups), k, seed=0)
