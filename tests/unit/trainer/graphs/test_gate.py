"""The gate: how much accuracy a variant may lose, and how many verdicts may change."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.config import Aim
from trainer.graphs.gate import compare_scores, decide_variant
from trainer.stats.metrics import average_precision

pytestmark = pytest.mark.slow

LABELS = np.arange(1000) >= 900
FP32 = np.linspace(0.0, 1.0, 1000)
THRESHOLD = 0.9


def changed(count, to):
    """``count`` of the ok images just below the threshold get the score ``to``."""
    scores = FP32.copy()
    scores[899 - count : 899] = to
    return scores


def test_the_same_scores_pass():
    found = compare_scores(LABELS, FP32, FP32, THRESHOLD)
    assert (found.fault, found.flips, found.max_difference, found.ap_fall) == ("", 0, 0.0, 0.0)
    assert found.accuracy.images == 1000


@pytest.mark.parametrize(("flips", "passes"), [(5, True), (6, False)])
def test_half_a_percent_of_the_verdicts_may_change(flips, passes):
    scores = changed(flips, 0.9005)  # over the threshold, but below every defect but one
    found = compare_scores(LABELS, FP32, scores, THRESHOLD)
    assert found.flips == flips
    assert (found.fault == "") == passes
    if not passes:
        assert "6 of 1000 verdicts change" in found.fault
        assert "the limit is 5 " in found.fault


def test_a_verdict_that_gets_right_is_a_change_too():
    fp32 = changed(8, 0.95)
    assert "8 of 1000 verdicts" in compare_scores(LABELS, fp32, FP32, THRESHOLD).fault


def test_ap_may_fall_by_half_a_hundredth():
    # Ok images above all defects cost AP, at a threshold where no verdict changes.
    for count in range(1, 5):
        scores = changed(count, 0.99999)
        fall = average_precision(LABELS, FP32) - average_precision(LABELS, scores)
        found = compare_scores(LABELS, FP32, scores, 0.0)
        assert found.flips == 0
        assert found.ap_fall == pytest.approx(fall)
        assert ("AP falls from 1.0000 to" in found.fault) == (fall > 0.005)
    assert fall > 0.005


def test_no_number_is_no_score():
    scores = FP32.copy()
    scores[3] = np.nan
    assert "1 scores are not numbers" in compare_scores(LABELS, FP32, scores, THRESHOLD).fault


def test_each_is_judged_at_its_own_threshold():
    lower = FP32 / 2  # the same order
    assert "verdicts change" in compare_scores(LABELS, FP32, lower, THRESHOLD).fault
    found = compare_scores(LABELS, FP32, lower, THRESHOLD, THRESHOLD / 2)
    assert (found.fault, found.flips) == ("", 0)
    assert found.accuracy.threshold == THRESHOLD / 2


def test_no_further_defect_may_escape_but_one_in_two_hundred():
    for defects, escapes, passes in ((100, 1, False), (200, 1, True), (200, 2, False)):
        labels = np.arange(1000) >= 1000 - defects
        scores = np.where(labels, 0.9, 0.1)
        missed = scores.copy()
        missed[-escapes:] = 0.4
        found = compare_scores(labels, scores, missed, 0.5)
        assert found.accuracy.escapes == escapes
        assert (found.fault == "") == passes
        if not passes:
            assert f"escapes rise from 0 to {escapes} of {defects}" in found.fault


def test_a_variant_is_decided_by_the_rule_on_its_own_scores():
    groups = [str(number) for number in range(1000)]
    decision, found = decide_variant(LABELS, FP32, FP32 / 2, THRESHOLD, groups, Aim())
    assert decision.threshold == pytest.approx(THRESHOLD / 2, abs=1e-3)
    assert (found.fault, found.accuracy.escapes, found.accuracy.overkills) == ("", 0, 0)


def test_where_the_rule_leads_elsewhere_fp32s_threshold_stands_if_it_holds():
    """At another operating point more than half a percent of the verdicts change."""
    groups = [str(number) for number in range(1000)]
    decision, found = decide_variant(LABELS, FP32, FP32, 0.8, groups, Aim())
    assert (decision, found.fault, found.accuracy.threshold) == (None, "", 0.8)
    below = np.where(LABELS, FP32 - 0.2, FP32)  # neither holds: its own is told
    decision, found = decide_variant(LABELS, FP32, below, THRESHOLD, groups, Aim())
    assert decision is not None
    assert found.fault
