"""Metrics, against scikit-learn where it is installed and against hand-made cases everywhere."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.stats.metrics import accuracy_at, auroc, average_precision


def labelled_scores(minimum: int = 1):
    """Labels with scores from a small set, so that ties are common."""
    pair = st.tuples(st.booleans(), st.integers(0, 12))
    return st.lists(pair, min_size=minimum, max_size=60).map(
        lambda pairs: (
            np.array([label for label, _ in pairs]),
            np.array([score / 12 for _, score in pairs], np.float32),
        )
    )


@given(labelled_scores(minimum=2))
def test_agrees_with_scikit_learn(case):
    sklearn = pytest.importorskip("sklearn.metrics")
    labels, scores = case
    figures = accuracy_at(labels, scores, 0.5)
    found = scores >= 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's own, where a class is missing
        assert figures.f1 == pytest.approx(sklearn.f1_score(labels, found, zero_division=0))
        assert figures.precision == pytest.approx(
            sklearn.precision_score(labels, found, zero_division=0)
        )
        assert figures.recall == pytest.approx(sklearn.recall_score(labels, found, zero_division=0))
        assert figures.accuracy == pytest.approx(sklearn.accuracy_score(labels, found))
        if labels.any():
            assert figures.ap == pytest.approx(sklearn.average_precision_score(labels, scores))
        if labels.any() and not labels.all():
            assert figures.auroc == pytest.approx(sklearn.roc_auc_score(labels, scores))


def test_average_precision_by_hand():
    # defect, ok, defect: precision 1/1 at recall 1/2, 2/3 at recall 1
    labels = np.array([True, False, True])
    scores = np.array([0.9, 0.8, 0.7])
    assert average_precision(labels, scores) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_equal_scores_are_one_threshold_whatever_their_order():
    labels = np.array([True, False, False, False])
    same = np.full(4, 0.5)
    assert average_precision(labels, same) == average_precision(labels[::-1], same) == 0.25
    assert auroc(labels, same) == 0.5


def test_a_score_at_the_threshold_is_a_defect():
    figures = accuracy_at(np.array([True, False]), np.array([0.5, 0.4999]), 0.5)
    assert (figures.escapes, figures.overkills) == (0, 0)


def test_counts_escapes_and_overkills():
    labels = np.array([True, True, True, False, False])
    figures = accuracy_at(labels, np.array([0.9, 0.2, 0.1, 0.8, 0.0]), 0.5)
    assert (figures.escapes, figures.overkills) == (2, 1)
    assert (figures.images, figures.defects) == (5, 3)


@given(labelled_scores())
def test_every_figure_is_within_its_range(case):
    accuracy_at(*case, 0.5)  # the model refuses what is outside 0..1, or not a number


def test_one_class_alone_has_a_defined_answer():
    nothing = accuracy_at(np.zeros(3, bool), np.array([0.1, 0.2, 0.3]), 0.5)
    assert (nothing.ap, nothing.auroc, nothing.f1, nothing.accuracy) == (0.0, 0.5, 0.0, 1.0)
