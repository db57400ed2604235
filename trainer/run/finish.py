"""The end of every recipe: prove the graphs, choose the threshold, write and judge the bundle."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_agent.engine.worker.predictor import Predictor
from edge_agent.types.target import CPU
from trainer.config import Aim
from trainer.data import fingerprint
from trainer.data.expects import judged_blanks, make_expects
from trainer.data.reference import make_reference
from trainer.graphs.evaluate import evaluate_bundle, judge, localised
from trainer.graphs.prove import hold, judge_held_out
from trainer.graphs.variants import Proven, fastest, make_variants, time_variants
from trainer.progress import progress
from trainer.run.assemble import Trained, assemble
from trainer.run.folder import write_json
from trainer.run.heatmaps import FILE as HEATMAPS
from trainer.run.heatmaps import write_heatmaps
from trainer.stats.bootstrap import figure_intervals
from trainer.stats.calibrate import RuleError, calibrate, carry_over
from trainer.stats.crossval import OutOfFold, fold_accuracies, oof_file, write_oof
from trainer.stats.escapes import count_escapes
from trainer.stats.metrics import accuracy_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edge_agent.bundle import Accuracy
    from edge_agent.bundle.plausible import Sight
    from trainer.config import RunConfig
    from trainer.data import HeldBack, LearningSet, Sample
    from trainer.data.framefile import FrameStore
    from trainer.graphs.evaluate import Judged
    from trainer.graphs.made import Made
    from trainer.run.folder import Stopwatch
    from trainer.stats.calibrate import Calibration, CarriedOver


@dataclass(frozen=True)
class RecipeResult:
    """What a recipe brings: a graph a fold, the one to ship, and what PyTorch says with each."""

    config: RunConfig
    dataset: LearningSet
    """Its samples are in the order of everything below."""
    test: HeldBack
    folds: NDArray[np.int64]
    """(images,): the fold in which each is held out."""
    frames: FrameStore
    fold_models: tuple[Path, ...]
    model: Path
    expected: NDArray[np.float32]
    """(folds + 1, images): PyTorch's scores, of the graph to ship last."""
    targets: NDArray[np.bool_]
    """(images, h, w): the masks in the heatmap's cells."""
    search: dict[str, Any] = field(default_factory=dict)
    """How the configuration was found, where it was: goes into metrics.json."""

    @property
    def labels(self) -> NDArray[np.bool_]:
        """(images,): which are defects."""
        return np.array([sample.defect for sample in self.dataset.samples], bool)

    @property
    def groups(self) -> list[str]:
        """Of each image."""
        return [sample.group for sample in self.dataset.samples]

    @property
    def sights(self) -> list[Sight]:
        """How each image looks, to whoever asks whether it is a picture of the part."""
        return [look.sight for look in self.frames.looks]


def finish(run: Path, result: RecipeResult, watch: Stopwatch) -> dict[str, Any]:
    """Write oof.csv, the bundle and metrics.json; return what is in metrics.json.

    The test split is judged here and nowhere else, once, by the bundle as it ships.

    Raises:
        ParityError: an exported graph's score differs from PyTorch's.
        BundleError: what was written does not verify.
    """
    config, samples, folds = result.config, result.dataset.samples, result.folds
    with watch.step("prove"):
        judged = judge_held_out(result.fold_models, result.frames, folds)
        hold("out of fold", result.expected[folds, np.arange(len(samples))], judged.scores)
    with watch.step("calibrate"):
        out_of_fold = OutOfFold(folds, result.labels, judged.scores)
        write_oof(run / "oof.csv", samples, out_of_fold)
        write_heatmaps(run / HEATMAPS, judged.heatmaps)
        cut = _choose_threshold(result, judged.scores)
    proven = Proven(
        fold_models=result.fold_models,
        model=result.model,
        frames=result.frames,
        labels=result.labels,
        folds=folds,
        held_out=judged.scores,
        shipped=result.expected[-1],
        threshold=cut.calibration.threshold,
        seed=config.seed,
        aim=cut.aim,
    )
    with TemporaryDirectory(dir=run, prefix=".variants-") as folder:
        with watch.step("variants"):
            made = make_variants(proven, config, Path(folder))
            _write_scores_of(made, run, result)
            admitted = tuple(one for one in made if not one.fault)
            times = time_variants(admitted, result.frames.spec)
            runs = next(one for one in admitted if one.name == fastest(times))
        with watch.step("bundle"):
            trained = _trained(result, judged, cut, admitted)
            bundle = assemble(run / "bundle", config, samples, trained)
            variants = {
                one.name: {**one.figures(), "latency_ms": times.get(one.name)} for one in made
            }
    predictor = Predictor(bundle, "fp32")
    with watch.step("verify"):
        for one in admitted:
            Predictor(bundle, one.name).prove()
        with progress("verifying the bundle", len(samples)) as advance:
            shipped = judge(predictor.predict, result.frames.each(), advance)
        parity = hold("the bundle", result.expected[-1], shipped.scores)
    accuracies = fold_accuracies(out_of_fold, cut.calibration.threshold)
    metrics: dict[str, Any] = {
        "pooled": cut.pooled.model_dump(),
        "folds": [one.model_dump() for one in accuracies],
        "intervals": cut.calibration.intervals,
        "calibration": cut.as_json(),
        "escapes": _escapes(result, runs, cut),
        "variants": variants,
        "runs": runs.name,
        "localised": trained.localised,
        "parity": parity,
        "judged_blanks": judged_blanks(result.sights, trained.expects),
        **result.search,
    }
    if result.test.images:
        with watch.step("test"):
            metrics |= _judge_test_split(result.test.open(bundle), predictor, cut)
    metrics["seconds"] = watch.finish()
    write_json(run / "metrics.json", metrics)
    return metrics


@dataclass(frozen=True)
class _Threshold:
    """The threshold, and what it was chosen by."""

    calibration: Calibration
    aim: Aim
    """What was asked for; or, where that can't be had, the best F1."""
    unmet: str | None
    """Why what was asked for can't be had."""
    carried: CarriedOver | None
    pooled: Accuracy

    def as_json(self) -> dict[str, Any]:
        return {
            "rule": self.calibration.rule,
            "unmet": self.unmet,
            "review": self.calibration.review,
            "figures": self.calibration.figures,
            "carried_over": asdict(self.carried) if self.carried else None,
        }


def _choose_threshold(result: RecipeResult, scores: NDArray[np.float64]) -> _Threshold:
    labels, groups = result.labels, result.groups
    unmet: str | None = None
    aim: Aim = result.config
    try:
        calibration = calibrate(labels, scores, groups, aim)
    except RuleError as error:  # hours of training are not thrown away for it
        unmet, aim = str(error), Aim(review=aim.review)
        calibration = calibrate(labels, scores, groups, aim)
    carried = carry_over(labels, scores, result.folds, aim)
    pooled = accuracy_at(labels, scores, calibration.threshold)
    return _Threshold(calibration, aim, unmet, carried, pooled)


def _write_scores_of(made: Sequence[Made], run: Path, result: RecipeResult) -> None:
    """The out-of-fold scores of each variant but FP32, by provider."""
    for one in made[1:]:
        for provider, check in one.checks.items():
            own = OutOfFold(result.folds, result.labels, check.scores)
            write_oof(oof_file(run, one.name, provider), result.dataset.samples, own)


def _trained(
    result: RecipeResult, judged: Judged, cut: _Threshold, admitted: tuple[Made, ...]
) -> Trained:
    good = ~result.labels
    looks = zip(result.frames.looks, good, strict=True)
    return Trained(
        variants=admitted,
        spec=result.frames.spec,
        calibration=cut.calibration,
        pooled=cut.pooled,
        localised=localised(judged.heatmaps, result.targets),
        reference=make_reference(
            [sample for sample in result.dataset.samples if not sample.defect],
            [look.appearance for look, is_good in looks if is_good],
            judged.scores[good],
        ),
        expects=make_expects(result.sights, result.groups),
        scores=result.expected[-1],
        fingerprint=fingerprint(result.dataset),
    )


def _escapes(result: RecipeResult, runs: Made, cut: _Threshold) -> dict[str, Any]:
    """Of the variant that a station like this machine would run, at its own threshold."""
    threshold = runs.decision.threshold if runs.decision else cut.pooled.threshold
    carried = cut.carried.escapes if cut.carried else None
    scores = runs.checks[CPU].scores
    return count_escapes(result.labels, scores, result.groups, threshold, carried).as_json()


def _judge_test_split(
    test: Sequence[Sample], predictor: Predictor, cut: _Threshold
) -> dict[str, Any]:
    with progress("judging the test split", len(test)) as advance:
        tested, accuracy = evaluate_bundle(predictor, test, advance)
    return {
        "test": accuracy.model_dump(),
        "test_implausible": tested.odd(test),
        "test_intervals": figure_intervals(
            np.array([sample.defect for sample in test], bool),
            tested.scores,
            [sample.group for sample in test],
            cut.calibration.threshold,
        ),
    }
