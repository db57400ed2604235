"""The threshold: what each rule asks for, in the middle of its gap, and on the safe side."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.config import Aim, aim_of
from trainer.errors import UsageError
from trainer.stats.calibrate import RuleError, calibrate, carry_over, make_cuts, review_band
from trainer.stats.metrics import accuracy_at

MAX_F1 = Aim()
pairs_with_a_defect = st.lists(
    st.tuples(st.booleans(), st.integers(0, 20)), min_size=1, max_size=30
).filter(lambda pairs: any(label for label, _ in pairs))


def choose(labels, scores, aim=MAX_F1):
    labels = np.array(labels, bool)
    return calibrate(labels, np.array(scores), [str(n) for n in range(len(labels))], aim)


def arrays(pairs):
    return np.array([label for label, _ in pairs]), np.array([score / 20 for _, score in pairs])


# Two escapes for free of the first threshold, two overkills for all of them.
LABELS = np.array([True, True, False, True, False, True, False, False])
SCORES = np.array([0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.3, 0.1])


def test_in_the_middle_of_the_gap():
    found = choose([True, True, False], [0.9, 0.8, 0.2])
    assert found.threshold == pytest.approx(0.5)
    assert (found.figures["gap_low"], found.figures["gap_high"]) == (0.2, 0.8)
    assert found.figures["f1"] == found.figures["recall"] == found.figures["precision"] == 1
    assert found.rule == "max-f1"
    assert found.review is None


def test_of_equals_the_one_with_fewer_escapes():
    # At 0.85: 1 hit, 1 escape: F1 2/3. At 0.35: 2 hits, 2 overkills: F1 4/6.
    labels, scores = [True, False, False, True, False], [0.9, 0.8, 0.7, 0.4, 0.3]
    assert choose(labels, scores).threshold == pytest.approx(0.35)


def test_all_scores_equal_calls_everything_a_defect():
    labels, scores = np.array([True, False]), np.array([0.4, 0.4])
    assert accuracy_at(labels, scores, choose(labels, scores).threshold).escapes == 0


def test_without_a_defect_there_is_nothing_to_choose():
    with pytest.raises(ValueError, match="single defect"):
        choose([False] * 3, [0.1, 0.2, 0.3])


def test_neighbouring_floats_are_still_told_apart():
    high = 0.5
    low = np.nextafter(high, 0)
    assert low < choose([True, False], [high, low]).threshold <= high


@given(pairs_with_a_defect)
def test_no_other_threshold_has_a_better_f1(pairs):
    labels, scores = arrays(pairs)
    found = choose(labels, scores)
    reached = accuracy_at(labels, scores, found.threshold).f1
    assert reached == pytest.approx(found.figures["f1"])
    for other in np.append(scores, 1.0):
        assert accuracy_at(labels, scores, float(other)).f1 <= reached + 1e-12


@pytest.mark.parametrize(
    ("rule", "threshold"),
    [("recall>=0.5", 0.85), ("recall>=0.51", 0.65), ("recall>=0.75", 0.65), ("recall>=1", 0.4)],
)
def test_recall_is_reached_with_as_few_overkills_as_can_be(rule, threshold):
    assert choose(LABELS, SCORES, Aim(rule=rule)).threshold == pytest.approx(threshold)


@pytest.mark.parametrize(
    ("rule", "threshold"),
    [
        ("precision>=1", 0.85),
        ("precision>=0.75", 0.65),
        ("precision>=0.66", 0.4),
        ("precision>=0.1", 0.4),
    ],
)
def test_precision_is_reached_with_as_few_escapes_as_can_be(rule, threshold):
    """Also where finding more costs no precision: and with no overkill that buys nothing."""
    assert choose(LABELS, SCORES, Aim(rule=rule)).threshold == pytest.approx(threshold)


def test_a_precision_that_cant_be_had_is_told_with_what_can():
    with pytest.raises(RuleError) as caught:
        choose([False, True, True, False], [0.9, 0.8, 0.7, 0.1], Aim(rule="precision>=0.9"))
    assert "best precision is 0.6667" in str(caught.value)
    assert "2 of 2 defects with 1 overkills" in str(caught.value)


def test_a_defect_that_costs_no_overkill_is_found_though_the_recall_is_reached_without_it():
    labels, scores = [True, True, True, True, False], [0.95, 0.9, 0.8, 0.7, 0.1]
    found = choose(labels, scores, Aim(rule="recall>=0.5"))
    assert found.threshold == pytest.approx(0.4)
    assert found.figures["recall"] == found.figures["precision"] == 1


@given(pairs_with_a_defect, st.integers(1, 20))
def test_no_other_threshold_with_that_recall_has_fewer_overkills(pairs, twentieths):
    labels, scores = arrays(pairs)
    least = twentieths / 20
    found = choose(labels, scores, Aim(rule=f"recall>={least}"))
    reached = accuracy_at(labels, scores, found.threshold)
    assert reached.recall >= least - 1e-9
    for other in scores:
        one = accuracy_at(labels, scores, float(other))
        assert one.recall < least - 1e-9 or one.overkills >= reached.overkills
        assert one.overkills > reached.overkills or one.escapes >= reached.escapes


@given(pairs_with_a_defect, st.integers(1, 9), st.integers(1, 9))
def test_no_other_threshold_costs_less(pairs, escape, overkill):
    labels, scores = arrays(pairs)
    found = choose(labels, scores, Aim(rule="cost", escape_cost=escape, overkill_cost=overkill))

    def cost(threshold):
        one = accuracy_at(labels, scores, threshold)
        return (escape * one.escapes + overkill * one.overkills) / len(labels)

    assert cost(found.threshold) == pytest.approx(found.figures["cost"])
    for other in np.append(scores, 1.0):
        assert found.figures["cost"] <= cost(float(other)) + 1e-12
    assert found.figures["cost_low"] <= found.figures["cost_high"]


def test_a_dear_escape_lowers_the_threshold():
    dear = Aim(rule="cost", escape_cost=100, overkill_cost=1)
    cheap = Aim(rule="cost", escape_cost=1, overkill_cost=100)
    assert choose(LABELS, SCORES, dear).threshold == pytest.approx(0.4)
    assert choose(LABELS, SCORES, cheap).threshold == pytest.approx(0.85)


@pytest.mark.parametrize(("escape", "overkill"), [(0.3, 0.1), (0.6, 0.2), (2.1, 0.7)])
def test_of_thresholds_that_cost_the_same_it_is_the_one_with_fewer_escapes(escape, overkill):
    """Three overkills for one escape, at prices that no float holds exactly."""
    labels, scores = [True, False, False, False, True], [0.9, 0.8, 0.7, 0.6, 0.4]
    found = choose(labels, scores, Aim(rule="cost", escape_cost=escape, overkill_cost=overkill))
    assert found.figures["recall"] == 1


def test_where_overkills_are_dear_nothing_may_be_called_a_defect():
    aim = Aim(rule="cost", escape_cost=1, overkill_cost=10)
    found = choose([False, True], [0.9, 0.2], aim)
    assert 0.9 < found.threshold < 1


def test_cuts_are_every_way_to_part_the_images():
    cuts = make_cuts(np.array([True, False, True]), np.array([0.5, 0.5, 0.2]))
    assert cuts.hits.tolist() == [0, 1, 2]
    assert cuts.alarms.tolist() == [0, 2, 3]
    assert cuts.high.tolist() == [1.0, 0.5, 0.2]
    assert cuts.low.tolist() == [0.5, 0.2, 0.0]
    certain = make_cuts(np.array([True, False]), np.array([1.0, 0.2]))
    assert certain.alarms.tolist() == [1, 2]  # no threshold lets a score of 1 pass


def test_figures_come_with_intervals_that_hold_them():
    figures = choose(LABELS, SCORES).figures
    for name in ("f1", "recall", "precision"):
        assert 0 <= figures[f"{name}_low"] <= figures[name] <= figures[f"{name}_high"] <= 1
        assert figures[f"{name}_low"] < figures[f"{name}_high"]


def test_without_an_error_the_band_is_the_gap():
    found = choose([True, True, False], [0.9, 0.8, 0.2], Aim(review=0.9))
    low, high = found.review
    assert 0.2 < low < 0.2 + 1e-9
    assert high == 0.8
    assert found.figures["review_images"] == 0
    assert found.figures["review_errors"] == 1


def test_the_band_holds_the_share_of_errors_with_the_fewest_images():
    # At 0.55: overkills at 0.6 and 0.8; one escape, at 0.5.
    found = choose(LABELS, SCORES, Aim(rule="recall>=0.75", review=1))
    assert found.threshold == pytest.approx(0.65)  # overkill 0.8; escape 0.5
    low, high = found.review
    assert (low, high) == pytest.approx((0.4, 0.85))
    assert found.figures["review_images"] == 4 / 8
    half = choose(LABELS, SCORES, Aim(rule="recall>=0.75", review=0.5)).review
    # The escape takes the image at 0.6 along, the overkill the one at 0.7: the narrower band.
    assert half == pytest.approx((0.6, 0.85))


@given(pairs_with_a_defect, st.integers(1, 10))
def test_a_band_encloses_the_threshold_and_keeps_its_share(pairs, tenths):
    labels, scores = arrays(pairs)
    found = choose(labels, scores, Aim(review=tenths / 10))
    low, high = found.review
    assert 0 <= low <= found.threshold <= high <= 1
    wrong = (scores >= found.threshold) != labels
    can = wrong & ~(~labels & (scores == 1))  # a band can't hold a score of 1
    inside = wrong & (scores >= low) & (scores < high)
    assert inside.sum() >= min(np.ceil(tenths / 10 * wrong.sum() - 1e-9), can.sum())


def test_no_band_with_as_many_errors_is_smaller():
    rng = np.random.default_rng(0)
    labels = rng.random(40) < 0.4
    scores = np.clip(np.round(labels * 0.3 + rng.random(40) * 0.7, 2), 0, 0.99)
    threshold = 0.505
    band = review_band(labels, scores, threshold, (0.5, 0.51), 0.6)
    wrong = (scores >= threshold) != labels

    def counts(low, high):
        inside = (scores >= low) & (scores < high)
        return int((inside & wrong).sum()), int(inside.sum())

    errors, images = counts(*band)
    assert errors >= 0.6 * wrong.sum()
    edges = np.arange(0, 1.01, 0.005)
    for low in edges[edges <= threshold]:
        for high in edges[edges >= threshold]:
            other_errors, other_images = counts(low, high)
            assert other_errors < errors or other_images >= images


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rule": "best"}, "--rule: unknown rule 'best': give max-f1"),
        ({"rule": "recall>=1.2"}, "--rule"),
        ({"rule": "recall>=nan"}, "--rule"),
        ({"rule": "cost"}, "needs both --escape-cost and --overkill-cost"),
        ({"rule": "cost", "escape_cost": 5}, "needs both"),
        ({"escape_cost": 5}, "go with --rule cost, not max-f1"),
        ({"review": 1.5}, "--review"),
        ({"rule": "cost", "escape_cost": -1, "overkill_cost": 1}, "--escape-cost"),
    ],
)
def test_a_wrong_aim_is_named(settings, said):
    with pytest.raises(UsageError, match=said):
        aim_of(settings)


def test_an_aim_is_read_as_a_person_writes_it():
    assert Aim(rule="recall >= 0.99").bound == ("recall", 0.99)
    assert Aim(rule="cost", escape_cost=50, overkill_cost=2).prices == (50, 2)


# -- carried over -----------------------------------------------------------------------------


def test_each_fold_is_judged_by_a_threshold_that_it_had_no_say_in():
    labels = np.array([False, True, False, True, False, True])
    scores = np.array([0.1, 0.9, 0.15, 0.8, 0.1, 0.3])
    folds = np.array([0, 0, 1, 1, 2, 2])

    carried = carry_over(labels, scores, folds, Aim())

    # Without the last fold the gap is between 0.15 and 0.8: its defect at 0.3 is below the middle.
    assert carried is not None
    assert carried.thresholds == pytest.approx((0.225, 0.2, 0.475))
    assert (carried.escapes, carried.overkills) == (1, 0)
    # Chosen with that image, the threshold has no error: that is what it would look like.
    assert choose(labels, scores).figures["f1"] == 1


def test_overkills_are_counted_too():
    labels = np.array([False, True, False, True, False, True])
    scores = np.array([0.1, 0.9, 0.2, 0.8, 0.6, 0.9])
    carried = carry_over(labels, scores, np.array([0, 0, 1, 1, 2, 2]), Aim())
    assert carried is not None
    assert (carried.escapes, carried.overkills) == (0, 1)


def test_nothing_is_said_where_the_rule_can_not_be_kept_without_a_fold():
    scores = np.array([0.1, 0.9, 0.2, 0.3])
    folds = np.array([0, 0, 1, 1])
    one = np.array([False, True, False, False])
    assert carry_over(one, scores, folds, Aim()) is None
    mixed = np.array([False, True, True, False])
    assert carry_over(mixed, scores, folds, Aim(rule="precision>=0.9")) is None
