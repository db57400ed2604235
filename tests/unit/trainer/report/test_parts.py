"""The report's parts: which images it shows, recall by size, axes, layers."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("jinja2")

from edge_agent.bundle import Preprocess
from tests.runs import make_images, make_run, scores_for
from trainer.data import open_dataset
from trainer.report.figures import headline, percents
from trainer.report.files import read_run
from trainer.report.gallery import MOST, NEAR, choose, heat, make_gallery, outline
from trainer.report.sizes import Flaw, by_size, flaws
from trainer.report.svg import count_axis, even_axis, log_axis, logit, score_axis


def run_of(tmp_path, scores, labels, threshold=0.5):
    named = {
        f"{n:04d}.png": (f"g{n // 2}", bool(label), float(score))
        for n, (score, label) in enumerate(zip(scores, labels, strict=True))
    }
    make_run(tmp_path / "run", named, threshold)
    return read_run(tmp_path / "run")


def test_the_worst_mistakes_come_first_and_the_rest_is_counted(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(400) < 100
    scores = rng.uniform(0.01, 0.99, 400)
    run = run_of(tmp_path, scores, labels)
    shown, left_out = choose(run)
    wrong = (scores >= 0.5) != labels
    assert len(shown) == len(set(shown)) == MOST + 2 * NEAR
    assert wrong[shown[:MOST]].all()
    assert not wrong[shown[MOST:]].any()
    assert left_out == wrong.sum() - MOST
    escapes = [i for i in shown[:MOST] if labels[i]]
    overkills = [i for i in shown[:MOST] if not labels[i]]
    assert len(escapes) == len(overkills) == MOST // 2
    assert scores[escapes].tolist() == sorted(scores[labels & wrong])[: len(escapes)]
    nearest = np.sort(np.abs(scores[labels & ~wrong] - 0.5))[:NEAR]
    assert np.abs(scores[shown[MOST : MOST + NEAR]] - 0.5) == pytest.approx(nearest)


def test_room_that_escapes_do_not_need_goes_to_overkills(tmp_path):
    labels = np.arange(200) < 20
    scores = np.where(labels, 0.9, 0.8)
    scores[:5] = 0.1
    shown, left_out = choose(run_of(tmp_path, scores, labels))
    assert [i for i in shown[:MOST] if labels[i]] == [0, 1, 2, 3, 4]
    assert left_out == 185 - MOST


def test_recall_by_size_parts_the_defects_evenly():
    found = [Flaw(f"{n}", area=10 * (n + 1), score=0.2 if n < 3 else 0.9) for n in range(33)]
    classes = by_size(found[::-1], threshold=0.5)
    assert [one.defects for one in classes] == [9, 8, 8, 8]
    assert [one.found for one in classes] == [6, 8, 8, 8]
    assert (classes[0].smallest, classes[0].largest, classes[-1].largest) == (10, 90, 330)
    assert all(one.low < one.found / one.defects <= one.high for one in classes)
    assert classes[1].low < 0.7  # 8 of 8 do not prove much
    assert len(by_size(found[:10], 0.5)) == 1


def test_sizes_are_the_masks_marked_pixels(tmp_path):
    make_images(tmp_path / "data", images=12, defects=6)
    samples = open_dataset(tmp_path / "data").samples
    make_run(tmp_path / "run", scores_for(samples))
    found = flaws(read_run(tmp_path / "run"), {sample.name: sample for sample in samples})
    assert [flaw.area for flaw in found] == [200 + number + 1 for number in range(6)]


@pytest.mark.parametrize("fit", ["stretch", "letterbox", "crop"])
def test_layers_lie_on_each_other(tmp_path, fit):
    """A square that is marked, and where the heatmap peaks, whatever the network's shape."""
    make_images(tmp_path / "data", images=8, defects=4)
    samples = open_dataset(tmp_path / "data").samples
    make_run(tmp_path / "run", scores_for(samples))
    run = read_run(tmp_path / "run")
    spec = Preprocess(width=96, height=96, fit=fit)
    manifest = run.manifest.model_copy(update={"preprocess": spec})
    object.__setattr__(run, "manifest", manifest)
    gallery = make_gallery(run, {sample.name: sample for sample in samples})
    sizes = {(card.width, card.height) for card in gallery.cards}
    assert sizes == {(64, 96) if fit == "stretch" else (96, 96)}
    assert gallery.masks
    assert gallery.heatmaps
    assert all(bool(card.mask) is card.label for card in gallery.cards)


def test_a_heatmap_is_clear_where_it_is_cold():
    drawn = np.asarray(heat(np.array([[0, 5, 128, 255]], np.uint8)))
    assert drawn[0, :2, 3].tolist() == [0, 0]
    assert 0 < drawn[0, 2, 3] < drawn[0, 3, 3]


def test_an_outline_surrounds_the_mask():
    mask = np.zeros((20, 20), bool)
    mask[8:12, 8:12] = True
    drawn = np.asarray(outline(mask))
    assert not drawn[mask].any()
    assert drawn[7, 9]
    assert drawn[6, 9]
    assert not drawn[5, 9]
    assert outline(mask).info["transparency"] == 0


def test_the_score_axis_spreads_the_ends():
    assert logit(0.5) == 0
    assert logit(0.0) == -logit(1.0) == logit(1e-9)
    axis = score_axis([0.001, 0.2, 0.999999])
    assert axis.at(0.001) < axis.at(0.2) < axis.at(0.9) < axis.at(0.999) <= 1
    assert [text for _, text in axis.ticks][:2] == ["0.001", "0.01"]


@pytest.mark.parametrize(
    ("low", "high"), [(0, 2.3), (0.455, 1), (0, 1e-5), (3, 3), (0, 0), (-2, 7), (1e6, 5e6)]
)
def test_an_even_axis_has_round_ticks_around_its_range(low, high):
    axis = even_axis(low, high, "")
    slack = 1e-9 * (axis.high - axis.low)
    assert axis.low - slack <= low <= high <= axis.high + slack
    assert 2 <= len(axis.ticks) <= 7
    assert axis.ticks[0][0] == axis.low
    assert axis.ticks[-1][0] == axis.high
    step = axis.ticks[1][0] - axis.ticks[0][0]
    digits = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert any(digits == pytest.approx(nice) for nice in (1, 2, 2.5, 5, 10))


def test_logarithmic_axes():
    assert [text for _, text in log_axis(700, 9000, "").ticks] == ["1,000", "2,000", "5,000"]
    assert [text for _, text in log_axis(1, 2e5, "").ticks][:3] == ["1", "10", "100"]
    assert [text for _, text in count_axis(347, "").ticks] == ["1", "10", "100"]


def test_headline_figures_have_intervals(tmp_path):
    labels = np.arange(60) < 20
    figures = {f.name: f for f in headline(run_of(tmp_path, np.where(labels, 0.9, 0.1), labels))}
    assert figures["Escapes"].value == "0 of 20"
    assert figures["Escapes"].interval.startswith("0 % to 16")  # none seen is not none ever
    assert figures["Overkills"].interval.startswith("0 % to 8.8")
    assert figures["AP"].value == "1.0000"


def test_overkills_of_one_part_are_as_sure_as_one_part_is(tmp_path):
    """Ten of 100 good images in error, all of one batch of ten, or of ten batches: not the same."""
    labels = np.arange(120) >= 100
    scores = np.where(labels | (np.arange(120) < 10), 0.9, 0.1)
    ends = {}
    for kind in ("one", "ten"):
        groups = [n // 10 if kind == "one" else n % 10 for n in range(100)] + [*range(100, 120)]
        named = {
            f"{n}.png": (f"g{group}", bool(labels[n]), float(scores[n]))
            for n, group in enumerate(groups)
        }
        make_run(tmp_path / kind, named)
        (overkills,) = (f for f in headline(read_run(tmp_path / kind)) if f.name == "Overkills")
        ends[kind] = float(overkills.interval.split()[-2])
    assert ends["ten"] == pytest.approx(17.4, abs=0.3)  # Wilson's, of 10 in 100
    assert ends["one"] > 25


def test_percents():
    assert percents(0.0005, 0.162) == "0.05 % to 16.2 %"
