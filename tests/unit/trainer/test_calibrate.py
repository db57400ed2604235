"""The threshold: best, in the middle of its gap, and on the safe side."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.calibrate import max_f1
from trainer.metrics import accuracy_at


def test_in_the_middle_of_the_gap():
    found = max_f1(np.array([True, True, False]), np.array([0.9, 0.8, 0.2]))
    assert found.threshold == pytest.approx(0.5)
    assert found.figures == pytest.approx({"f1": 1.0, "gap_low": 0.2, "gap_high": 0.8})
    assert found.rule == "max-f1"


def test_of_equals_the_one_with_fewer_escapes():
    # At 0.85: 1 hit, 1 escape: F1 2/3. At 0.35: 2 hits, 2 overkills: F1 4/6.
    labels = np.array([True, False, False, True, False])
    scores = np.array([0.9, 0.8, 0.7, 0.4, 0.3])
    assert accuracy_at(labels, scores, 0.85).f1 == accuracy_at(labels, scores, 0.35).f1
    assert max_f1(labels, scores).threshold == pytest.approx(0.35)


def test_all_scores_equal_calls_everything_a_defect():
    labels, scores = np.array([True, False]), np.array([0.4, 0.4])
    assert accuracy_at(labels, scores, max_f1(labels, scores).threshold).escapes == 0


def test_without_a_defect_there_is_nothing_to_choose():
    with pytest.raises(ValueError, match="single defect"):
        max_f1(np.zeros(3, bool), np.array([0.1, 0.2, 0.3]))


def test_neighbouring_floats_are_still_told_apart():
    high = 0.5
    low = np.nextafter(high, 0)
    found = max_f1(np.array([True, False]), np.array([high, low]))
    assert low < found.threshold <= high


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=1, max_size=40).filter(
        lambda pairs: any(label for label, _ in pairs)
    )
)
def test_no_other_threshold_does_better(pairs):
    labels = np.array([label for label, _ in pairs])
    scores = np.array([score / 20 for _, score in pairs])
    found = max_f1(labels, scores)
    reached = accuracy_at(labels, scores, found.threshold).f1
    assert reached == pytest.approx(found.figures["f1"])
    for other in np.append(scores, 1.0):
        assert accuracy_at(labels, scores, float(other)).f1 <= reached + 1e-12
