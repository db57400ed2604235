"""From a score to a verdict: the borders are where they are said to be."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.bundle import Bundle, Decision
from edge_agent.line.decide import decide, decisions_for, in_words
from edge_agent.settings import DecisionSettings, SettingsError
from edge_agent.types import Verdict
from tests.bundles import make_manifest, make_model

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


# -- what a station's settings say instead -------------------------------------------------------

DIGEST = "3f2a91c07d5e" + 52 * "0"
OWN = Decision(threshold=0.4, rule="by hand")


def bundle(**changes):
    manifest, _ = make_manifest(make_model(), **{"decision": OWN, "name": "brackets", **changes})
    return Bundle(Path("/b"), manifest, DIGEST)


def test_what_is_said_of_this_bundle_counts():
    for known_as in (DIGEST, DIGEST[:12], DIGEST[:20]):
        wanted = DecisionSettings(bundle=known_as, threshold=0.34)
        assert decisions_for(bundle(), wanted)["fp32"].threshold == 0.34
    band = DecisionSettings(bundle=DIGEST[:12], review=(0.3, 0.6))
    assert decisions_for(bundle(), band)["fp32"].review == (0.3, 0.6)


def test_what_is_said_of_another_bundle_is_refused_with_the_line_that_would_do():
    wanted = DecisionSettings(bundle="77aa00000000", threshold=0.34, review=(0.3, 0.6))
    with pytest.raises(SettingsError) as caught:
        decisions_for(bundle(), wanted)
    assert str(caught.value) == (
        "[decision] threshold = 0.34 and review = [0.3, 0.6] is for the bundle 77aa00000000, and "
        "this is brackets 1.0.0 (3f2a91c07d5e). If it was chosen for this one, write "
        'bundle = "3f2a91c07d5e" into [decision]; else remove threshold and review there: the '
        "bundle's own threshold is 0.4000"
    )


@pytest.mark.parametrize("said", [{"threshold": 0.34}, {"review": (0.3, 0.6)}])
def test_what_names_no_bundle_is_refused(said):
    with pytest.raises(SettingsError, match=r"names no bundle, and this is brackets 1\.0\.0 \(3f2"):
        decisions_for(bundle(), DecisionSettings(**said))


def test_where_nothing_is_said_the_bundle_decides():
    assert decisions_for(bundle(), DecisionSettings())["fp32"] == OWN
    assert decisions_for(bundle(), DecisionSettings(bundle="77aa00000000"))["fp32"] == OWN


def test_what_judges_is_told_with_its_digest_and_threshold():
    assert in_words(bundle(), OWN) == "brackets 1.0.0 (3f2a91c07d5e), threshold 0.4000"
    band = OWN.model_copy(update={"review": (0.3, 0.6)})
    assert in_words(bundle(), band).endswith("threshold 0.4000, review 0.3 to 0.6")


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


def two_variants(**int8: object) -> Bundle:
    manifest, _ = make_manifest(make_model())
    (fp32,) = manifest.variants
    golden = [
        one.model_copy(update={"scores": {"fp32": 0.5, "int8": 0.5}}) for one in manifest.golden
    ]
    other = fp32.model_copy(update={"name": "int8", **int8})
    both = manifest.model_copy(update={"variants": (fp32, other), "golden": tuple(golden)})
    return Bundle(Path("/b"), both, DIGEST)


def test_each_variant_has_its_own_decision_or_the_bundles():
    own = Decision(threshold=0.3, review=(0.2, 0.4), rule="max-f1")

    assert decisions_for(two_variants(decision=own), DecisionSettings()) == {
        "fp32": Decision(threshold=0.5, rule="by hand"),
        "int8": own,
    }
    assert {d.threshold for d in decisions_for(two_variants(), DecisionSettings()).values()} == {
        0.5
    }


def test_what_a_person_has_set_goes_before_both():
    own = Decision(threshold=0.3, rule="max-f1")
    wanted = DecisionSettings(bundle=DIGEST, threshold=0.7, review=(0.6, 0.8))
    for one in decisions_for(two_variants(decision=own), wanted).values():
        assert (one.threshold, one.review) == (0.7, (0.6, 0.8))
    banded = two_variants(decision=Decision(threshold=0.3, review=(0.2, 0.4), rule="max-f1"))
    with pytest.raises(SettingsError, match=r"threshold 0\.7 lies outside of the review band"):
        decisions_for(banded, DecisionSettings(bundle=DIGEST, threshold=0.7))
