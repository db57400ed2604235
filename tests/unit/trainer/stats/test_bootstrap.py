"""Confidence intervals: resampled by group, the same as one by one, and honest at the border."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.stats import bootstrap, metrics
from trainer.stats.bootstrap import (
    auroc,
    average_precision,
    cost_at,
    figure_intervals,
    interval,
    share_at,
    wilson,
)


def make(count=60, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.random(count) < 0.3
    scores = np.round(np.clip(0.4 * labels + 0.7 * rng.random(count), 0, 1), 2)  # with ties
    return labels, scores


def test_weights_are_repetitions():
    """Each figure under weights is that of the images written out as often as they were drawn."""
    labels, scores = make()
    weights = np.random.default_rng(1).integers(0, 4, (20, len(labels)))
    everything = [average_precision, auroc]
    names = ["ap", "auroc"]
    for name in bootstrap.SHARES:
        everything.append(share_at(0.5, name))
        names.append(name)
    for statistic, name in zip(everything, names, strict=True):
        found = statistic(labels, scores, weights.astype(float))
        for row, figure in zip(weights, found, strict=True):
            one = metrics.accuracy_at(np.repeat(labels, row), np.repeat(scores, row), 0.5)
            assert figure == pytest.approx(getattr(one, name)), name
    passing = share_at(0.5, "specificity")(labels, scores, weights.astype(float))
    one = metrics.accuracy_at(np.repeat(labels, weights[0]), np.repeat(scores, weights[0]), 0.5)
    assert passing[0] == pytest.approx(1 - one.overkills / (one.images - one.defects))
    cost = cost_at(0.5, 10, 1)(labels, scores, weights.astype(float))
    one = metrics.accuracy_at(np.repeat(labels, weights[0]), np.repeat(scores, weights[0]), 0.5)
    assert cost[0] == pytest.approx((10 * one.escapes + one.overkills) / one.images)


def test_is_about_as_wide_as_theory_says():
    """Recall 0.8 of 400 defects, each its own group: a normal interval of +-0.039."""
    labels, scores = np.ones(400, bool), (np.arange(400) >= 80).astype(float)
    low, high = interval(labels, scores, [str(n) for n in range(400)], share_at(0.5, "recall"))
    assert low == pytest.approx(0.761, abs=0.006)
    assert high == pytest.approx(0.839, abs=0.006)


def test_alike_images_of_a_group_say_less():
    """The same 400, ten and ten alike: as sure as 40 would be, so sqrt(10) times as wide."""
    labels, scores = np.ones(400, bool), (np.arange(400) >= 80).astype(float)
    groups = [str(n // 10) for n in range(400)]
    low, high = interval(labels, scores, groups, share_at(0.5, "recall"))
    assert high - low == pytest.approx(0.078 * 10**0.5, rel=0.1)


def test_holds_the_truth_about_as_often_as_it_says():
    """Of 300 samples of 60 images with a recall of 0.7, about 19 in 20 intervals hold it."""
    rng = np.random.default_rng(5)
    labels, groups = np.ones(60, bool), [str(n) for n in range(60)]
    hold = 0
    for trial in range(300):
        scores = (rng.random(60) < 0.7).astype(float)
        low, high = interval(
            labels, scores, groups, share_at(0.5, "recall"), resamples=400, seed=trial
        )
        hold += low <= 0.7 <= high
    assert 0.90 <= hold / 300 <= 0.98


def test_same_seed_same_interval_however_it_is_cut(monkeypatch):
    labels, scores = make()
    groups = [str(n // 3) for n in range(len(labels))]
    once = interval(labels, scores, groups, average_precision)
    assert interval(labels, scores, groups, average_precision) == once
    assert interval(labels, scores, groups, average_precision, seed=1) != once
    monkeypatch.setattr(bootstrap, "CELLS", 700)
    assert interval(labels, scores, groups, average_precision) == once


def test_resamples_without_a_defect_are_left_out():
    labels = np.array([True] + [False] * 9)
    scores = np.array([0.9] + [0.1] * 9)
    groups = [str(n) for n in range(10)]
    assert interval(labels, scores, groups, share_at(0.5, "recall")) == (1.0, 1.0)
    nothing = np.zeros(10, bool)
    assert interval(nothing, scores, groups, share_at(0.5, "recall")) == (0.0, 1.0)


def test_no_error_seen_does_not_mean_none_to_come():
    """52 of 52 defects found: the rule of three says a recall of 0.94 is still possible."""
    labels = np.arange(400) < 52
    scores = np.where(labels, 0.9, 0.1)
    found = figure_intervals(labels, scores, [str(n) for n in range(400)], 0.5)
    assert found["recall"][0] == pytest.approx(52 / (52 + 1.96**2), abs=1e-3)
    assert found["recall"][1] == 1
    assert set(found) == {"ap", "auroc", "recall", "precision", "f1", "accuracy"}


def test_wilsons_interval():
    """As statsmodels gives it for 8 of 10."""
    assert wilson(8, 10) == pytest.approx((0.490162, 0.943318), abs=1e-6)
    assert wilson(0, 0) == (0, 1)
    assert wilson(10, 10)[1] == 1
