"""From a score to a verdict: the borders are where they are said to be."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.bundle import Decision
from edge_agent.decide import decide, own_decisions
from edge_agent.settings import DecisionSettings, SettingsError
from edge_agent.types import Verdict
from tests.bundles import make_manifest, make_model

if TYPE_CHECKING:
    from edge_agent.bundle import Manifest

SCORES = st.floats(0, 1)


@pytest.mark.parametrize(
    ("score", "verdict"),
    [(0.0, "ok"), (math.nextafter(0.5, 0), "ok"), (0.5, "defect"), (1.0, "defect")],
)
def test_without_a_band(score, verdict):
    assert decide(score, Decision(threshold=0.5, rule="by hand")).value == verdict


@pytest.mark.parametrize(
    ("score", "verdict"),
    [
        (0.0, "ok"),
        (math.nextafter(0.4, 0), "ok"),
        (0.4, "review"),
        (0.5, "review"),
        (math.nextafter(0.7, 0), "review"),
        (0.7, "defect"),
        (1.0, "defect"),
    ],
)
def test_with_a_band(score, verdict):
    decision = Decision(threshold=0.5, review=(0.4, 0.7), rule="by hand")

    assert decide(score, decision).value == verdict


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_extreme_thresholds(threshold):
    decision = Decision(threshold=threshold, rule="by hand")

    assert decide(1.0, decision) is Verdict.DEFECT
    assert decide(0.0, decision) is (Verdict.OK if threshold else Verdict.DEFECT)


def test_an_empty_band_reviews_nothing():
    decision = Decision(threshold=0.5, review=(0.5, 0.5), rule="by hand")

    assert decide(0.5, decision) is Verdict.DEFECT
    assert decide(math.nextafter(0.5, 0), decision) is Verdict.OK


def test_no_number_is_never_ok():
    decision = Decision(threshold=0.5, review=(0.0, 1.0), rule="by hand")

    assert decide(math.nan, decision) is Verdict.ERROR


@given(scores=st.tuples(SCORES, SCORES), limits=st.tuples(SCORES, SCORES, SCORES))
def test_a_higher_score_is_never_a_better_verdict(scores, limits):
    low, threshold, high = sorted(limits)
    decision = Decision(threshold=threshold, review=(low, high), rule="by hand")
    order = [Verdict.OK, Verdict.REVIEW, Verdict.DEFECT]

    first, second = (order.index(decide(score, decision)) for score in sorted(scores))

    assert first <= second


DECISION = Decision(threshold=0.5, review=(0.4, 0.7), rule="by hand")


@pytest.mark.parametrize("score", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("instead", ["error", "review"])
def test_what_is_no_picture_of_the_part_is_never_ok_whatever_its_score(score, instead):
    assert decide(score, DECISION, "brightness 0", instead).value == instead


@given(score=SCORES)
def test_where_that_is_all_right_or_it_is_one_the_score_decides(score):
    alone = decide(score, DECISION)

    assert decide(score, DECISION, "brightness 0", "ok") is alone
    assert decide(score, DECISION, "", "error") is alone


def two_variants(**int8: object) -> Manifest:
    manifest, _ = make_manifest(make_model())
    (fp32,) = manifest.variants
    golden = [
        one.model_copy(update={"scores": {"fp32": 0.5, "int8": 0.5}}) for one in manifest.golden
    ]
    other = fp32.model_copy(update={"name": "int8", **int8})
    return manifest.model_copy(update={"variants": (fp32, other), "golden": tuple(golden)})


def test_each_variant_has_its_own_decision_or_the_bundles():
    own = Decision(threshold=0.3, review=(0.2, 0.4), rule="max-f1")

    assert own_decisions(two_variants(decision=own), DecisionSettings()) == {
        "fp32": Decision(threshold=0.5, rule="by hand"),
        "int8": own,
    }
    assert {d.threshold for d in own_decisions(two_variants(), DecisionSettings()).values()} == {
        0.5
    }


def test_what_a_person_has_set_goes_before_both():
    own = Decision(threshold=0.3, rule="max-f1")
    wanted = DecisionSettings(threshold=0.7, review=(0.6, 0.8))
    for one in own_decisions(two_variants(decision=own), wanted).values():
        assert (one.threshold, one.review) == (0.7, (0.6, 0.8))
    banded = two_variants(decision=Decision(threshold=0.3, review=(0.2, 0.4), rule="max-f1"))
    with pytest.raises(SettingsError, match=r"threshold 0\.7 lies outside of the review band"):
        own_decisions(banded, DecisionSettings(threshold=0.7))
