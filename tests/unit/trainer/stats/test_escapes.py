"""What share of the defects would pass, and how sure that is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trainer.stats.escapes import (
    Escapes,
    advise,
    count_escapes,
    defects_needed,
    escape_bound,
)


@pytest.mark.parametrize(
    ("escapes", "defects", "bound"),
    [  # scipy.stats.beta.ppf(0.95, escapes + 1, defects - escapes)
        (0, 1, 0.95),
        (0, 10, 0.2588656),  # 1 - 0.05 ** (1 / 10)
        (0, 52, 0.0559821),
        (0, 299, 0.0099693),
        (1, 52, 0.0880089),
        (3, 100, 0.0757108),
        (24, 52, 0.5841827),
        (500, 1000, 0.5264823),
        (5, 5, 1.0),
        (0, 0, 1.0),
    ],
)
def test_the_bound_is_clopper_and_pearsons(escapes, defects, bound):
    assert escape_bound(escapes, defects) == pytest.approx(bound, abs=1e-6)


def test_the_bound_holds_as_often_as_it_says():
    rng = np.random.default_rng(0)
    for share in (0.01, 0.1, 0.4):
        bounds = [escape_bound(k, 60) for k in range(61)]
        drawn = rng.binomial(60, share, 4000)
        assert np.mean([bounds[k] >= share for k in drawn]) >= 0.94


def test_how_many_defects_it_takes():
    assert defects_needed() == 299
    assert defects_needed(1) == 473
    assert escape_bound(1, 473) <= 0.01 < escape_bound(1, 472)


LABELS = np.array([True] * 20 + [False] * 20)
SCORES = np.array([0.1, 0.2, *[0.9] * 18, *[0.05] * 19, 0.8])


def test_counts_what_passes_and_the_worse_of_both_ways_to_choose_the_threshold():
    own = [str(n) for n in range(40)]
    assert count_escapes(LABELS, SCORES, own, 0.5) == Escapes(2, 20, escape_bound(2, 20))
    assert count_escapes(LABELS, SCORES, own, 0.5, 1).escapes == 2
    carried = count_escapes(LABELS, SCORES, own, 0.5, 5)
    assert carried == Escapes(5, 20, escape_bound(5, 20), carried_over=True)
    assert "20 defects that neither the model nor its threshold had seen, 5 " in carried.sentence()
    assert Escapes.from_json(carried.as_json()) == carried
    assert count_escapes(LABELS, SCORES, own, 0.05) == Escapes(0, 20, escape_bound(0, 20))


def test_images_of_one_part_are_one_proof():
    pairs = [str(n // 10) for n in range(40)]  # twenty images of two parts
    found = count_escapes(LABELS, SCORES, pairs, 0.05)
    assert (found.escapes, found.bound) == (0, escape_bound(0, 2))
    assert count_escapes(LABELS, SCORES, pairs, 0.5).bound == escape_bound(1, 2)


def test_what_is_not_enough_comes_with_things_to_do():
    found = Escapes(1, 52, escape_bound(1, 52))
    assert found.sentence() == (
        "Of 52 defects that the model had not seen, 1 passed as ok (1.9 %). With 95 % confidence, "
        "at most 8.8 % of the defects will pass (exact binomial bound, Clopper and Pearson 1934)."
    )
    assert not found.fit
    assert "do not let it decide alone on a line" in found.judgement()
    advice = advise(found, Path("runs/my run"), Path("data"), (256, 704), (512, 1408))
    careful = (
        "trainer calibrate 'runs/my run' --rule \"recall>=0.99\" --review 0.9 "
        "--out 'runs/my run-careful'"
    )
    assert [one.command for one in advice] == [
        careful,
        "trainer train data --size 512x1408 --out 'runs/my run-larger'",
        "trainer train data --out 'runs/my run-more'",
    ]
    assert "299 without an escape show one in a hundred, there are 52" in advice[2].why
    assert len(advise(found, Path("r"), Path("d"), (256, 704), (500, 1250))) == 2
    tiny = advise(found, Path("r"), Path("d"), (256, 704), (512, 1408), (384, 1056))
    assert tiny[1].command == "trainer train d --size 384x1056 --out r-larger"


def test_where_nothing_passed_more_proof_is_what_is_missing():
    found = Escapes(0, 200, escape_bound(0, 200))
    assert "no defect passed as ok. With 95 % confidence, at most 1.5 % of" in found.sentence()
    review, proof = advise(found, Path("run"), Path("data"), (64, 64), (640, 640))
    assert review.command == "trainer calibrate run --review 0.9 --out run-careful"
    assert proof.command == "trainer evaluate run/bundle NEW_IMAGES"


def test_what_is_enough_needs_no_advice():
    found = Escapes(0, 299, escape_bound(0, 299))
    assert found.fit
    assert found.judgement().startswith("That is no more than one in a hundred")
    assert advise(found, Path("run"), Path("data")) == []
