"""Drift: an alarm for what really differs, none for chance, and one alarm for one drift."""

from __future__ import annotations

import logging
import math
import random

import pytest

from edge_agent.bundle import Distribution, Reference
from edge_agent.telemetry.drift import CLEAR, FEWEST, RAISE, DriftWatch, Figure, critical, sentence
from edge_agent.types import Appearance, Image, Verdict
from tests.inspections import inspection

TEN = Distribution(edges=tuple(float(edge) for edge in range(11)), counts=(40,) * 10)
FLAT = Distribution(edges=(0.0, 1.0), counts=(1,))


def figure(**options):
    return Figure("brightness", TEN, **options)


def feed(found, values):
    for value in values:
        found.add(value)
    return found.compare()


def drawn(count, seed=0, low=0.0, high=10.0):
    chance = random.Random(seed)
    return [chance.uniform(low, high) for _ in range(count)]


def test_the_distance_is_kolmogorov_and_smirnovs():
    found = feed(figure(), [9.5] * 60 + [0.5] * 40)  # 0.4 below the first edge, where 0.1 should be
    assert found.distance == pytest.approx(0.5)  # at 9: 0.9 should be below, 0.4 are
    assert found.higher


def test_psi_is_the_sum_over_bins():
    found = feed(figure(), [0.5] * 100)
    q = [100.5 / 105, *[0.5 / 105] * 9]
    assert found.psi == pytest.approx(sum((x - 0.1) * math.log(x / 0.1) for x in q))


def test_psi_takes_fine_bins_in_pairs():
    fine = Distribution(edges=tuple(edge / 2 for edge in range(21)), counts=(20,) * 20)
    values = drawn(250, high=6.0)
    found = feed(Figure("brightness", fine), values)
    assert found.psi == pytest.approx(feed(figure(), values).psi, rel=1e-9)


def test_critical_distance_is_the_tables():
    # Smirnov's 1.36 and 1.63 for one sample against a very large one: 5 % and 1 %.
    assert critical(0.05, 100, 10**9) == pytest.approx(0.1358, abs=1e-4)
    assert critical(0.01, 100, 10**9) == pytest.approx(0.1628, abs=1e-4)
    assert critical(0.01, 200, 200) == pytest.approx(0.1628, abs=1e-4)


def test_the_same_distribution_is_no_drift():
    found = figure()
    for value in drawn(20_000):
        found.add(value)
        assert not found.compare().drifting


def test_nothing_is_said_of_a_few_images():
    found = figure()
    assert not feed(found, [9.5] * (FEWEST - 1)).drifting
    assert feed(found, [9.5]).drifting


def test_a_difference_that_is_real_but_small_is_no_alarm():
    steady = Distribution(edges=TEN.edges, counts=(40_000,) * 10)
    found = Figure("brightness", steady, window=20_000)
    compared = feed(found, drawn(20_000, high=9.5))
    assert compared.distance > critical(RAISE, 20_000, 400_000)
    assert compared.psi < 0.25
    assert not compared.drifting


def test_the_window_slides_and_the_alarm_ends_later_than_it_began():
    found = figure()
    feed(found, drawn(250))
    states = []
    for value in [9.9] * 250 + drawn(400, seed=1):
        found.add(value)
        states.append(found.compare())
    drifting = [one.drifting for one in states]
    begin, end = drifting.index(True), len(drifting) - drifting[::-1].index(True)
    assert all(drifting[begin:end]), "an alarm must not flicker"
    assert begin < 100
    assert states[begin].distance > critical(RAISE, 250, 400)
    assert critical(CLEAR, 250, 400) >= states[end].distance
    assert states[end - 1].distance < critical(RAISE, 250, 400)
    assert states[-1].frames == 250


def look(number, *, brightness, **changes):
    looks = Appearance(brightness, 0.5, 0.5)
    return inspection(number, appearance=looks, score=0.5, image=Image("", 1, 8, 1), **changes)


@pytest.fixture
def watch():
    known = Reference(score=FLAT, brightness=TEN, contrast=FLAT, sharpness=FLAT)
    return DriftWatch(lambda: known)


def test_another_bundle_has_a_reference_of_its_own():
    known = [Reference(score=FLAT, brightness=TEN, contrast=FLAT, sharpness=FLAT)]
    watch = DriftWatch(lambda: known[0])
    for number in range(100):
        watch.add(look(number, brightness=9.5))
    assert [one.figure for one in watch.figures if one.drifting] == ["brightness"]
    bright = Distribution(edges=TEN.edges, counts=(0,) * 9 + (400,))
    known[0] = Reference(score=FLAT, brightness=bright, contrast=FLAT, sharpness=FLAT)
    watch.add(look(100, brightness=9.5))
    assert watch.figures == ()
    for number in range(100):
        watch.add(look(number, brightness=9.5))
    assert not [one for one in watch.figures if one.drifting]


def test_an_alarm_is_logged_once_and_so_is_its_end(watch, caplog):
    caplog.set_level(logging.INFO)
    for number in range(100):
        watch.add(look(number, brightness=9.5))
    for number, value in enumerate(drawn(300)):
        watch.add(look(number, brightness=value))
    messages = [record.message for record in caplog.records]
    assert len(messages) == 2
    assert messages[0].startswith("drift: brightness is higher than in the training images: look")
    assert messages[1] == "drift: brightness is as in the training images again"


def test_what_could_not_be_judged_has_no_looks(watch):
    for number in range(100):
        watch.add(inspection(number, Verdict.ERROR))
    assert watch.figures == ()


def test_compression_is_measured_where_the_bundle_knows_it(watch):
    for number in range(10):
        watch.add(look(number, brightness=1.0))
    names = [one.figure for one in watch.figures]
    assert names == ["brightness", "contrast", "sharpness", "score"]

    bits = Distribution(edges=(0.0, 2.0, 64.0), counts=(400, 400))
    whole = Reference(score=FLAT, brightness=TEN, contrast=FLAT, sharpness=FLAT, compression=bits)
    watch = DriftWatch(lambda: whole)
    for number in range(50):  # one byte for eight pixels: one bit each
        watch.add(look(number, brightness=1.0))
    (found,) = [one for one in watch.figures if one.figure == "compression"]
    assert (found.distance, found.higher) == (0.5, False)
    assert found.drifting
    assert "JPEG quality" in sentence(found)


def test_scores_that_differ_as_models_do_are_no_drift_and_others_are():
    low = tuple(number / 1000 for number in range(20))
    known = Distribution(edges=(*low, 0.3, 1.0), counts=(20,) * 21)
    chance = random.Random(0)
    steady = [chance.choice([0.0, 0.1, 0.5]) if chance.random() < 0.07 else 0.0 for _ in range(250)]
    assert not feed(Figure("score", known), steady).drifting
    assert feed(Figure("brightness", known), steady).drifting
    assert feed(Figure("score", known), [0.31] * 125 + steady[:125]).drifting
