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
from trainer.graphs.evaluate import evaluate_bundle, localised
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
    from numpy.typing import NDArray

    from edge_agent.bundle import Preprocess
    from trainer.config import RunConfig
    from trainer.data import HeldBack, LearningSet
    from trainer.data.expects import Look
    from trainer.run.folder import Stopwatch


@dataclass(frozen=True)
class Fruits:
    """What a recipe brings: a graph a fold, the one to ship, and what PyTorch says with each."""

    config: RunConfig
    dataset: LearningSet
    """Its samples are in the order of everything below."""
    test: HeldBack
    folds: NDArray[np.int64]
    """(images,): the fold in which each is held out."""
    spec: Preprocess
    fold_models: tuple[Path, ...]
    model: Path
    expected: NDArray[np.float32]
    """(folds + 1, images): PyTorch's scores, of the graph to ship last."""
    targets: NDArray[np.bool_]
    """(images, h, w): the masks in the heatmap's cells."""
    looks: tuple[Look, ...]
    search: dict[str, Any] = field(default_factory=dict)
    """How the configuration was found, where it was: goes into metrics.json."""


def finish(run: Path, fruits: Fruits, watch: Stopwatch) -> dict[str, Any]:
    """Write oof.csv, the bundle and metrics.json; return what is in metrics.json.

    The test split is judged here and nowhere else, once, by the bundle as it ships.

    Raises:
        ParityError: an exported graph's score differs from PyTorch's.
        BundleError: what was written does not verify.
    """
    config, samples, folds = fruits.config, fruits.dataset.samples, fruits.folds
    labels = np.array([sample.defect for sample in samples], bool)
    with watch.step("prove"):
        judged = judge_held_out(fruits.fold_models, samples, folds, fruits.spec)
        hold("out of fold", fruits.expected[folds, np.arange(len(samples))], judged.scores)
    with watch.step("calibrate"):
        result = OutOfFold(folds, labels, judged.scores)
        write_oof(run / "oof.csv", samples, result)
        write_heatmaps(run / HEATMAPS, judged.heatmaps)
        groups = [sample.group for sample in samples]
        unmet: str | None = None
        aim: Aim = config
        try:
            calibration = calibrate(labels, judged.scores, groups, aim)
        except RuleError as error:  # hours of training are not thrown away for it
            unmet, aim = str(error), Aim(review=config.review)
            calibration = calibrate(labels, judged.scores, groups, aim)
        carried = carry_over(labels, judged.scores, folds, aim)
        pooled = accuracy_at(labels, judged.scores, calibration.threshold)
    proven = Proven(
        fold_models=fruits.fold_models,
        model=fruits.model,
        spec=fruits.spec,
        samples=samples,
        labels=labels,
        folds=folds,
        held_out=judged.scores,
        shipped=fruits.expected[-1],
        threshold=calibration.threshold,
        seed=config.seed,
        aim=aim,
    )
    with TemporaryDirectory(dir=run, prefix=".variants-") as folder:
        with watch.step("variants"):
            made = make_variants(proven, config, Path(folder))
            for one in made[1:]:
                for provider, check in one.checks.items():
                    own = OutOfFold(folds, labels, check.scores)
                    write_oof(oof_file(run, one.name, provider), samples, own)
            admitted = tuple(one for one in made if not one.fault)
            times = time_variants(admitted, fruits.spec)
            runs = next(one for one in admitted if one.name == fastest(times))
        with watch.step("bundle"):
            sights = [look.sight for look in fruits.looks]
            expects = make_expects(sights, groups)
            trained = Trained(
                variants=admitted,
                spec=fruits.spec,
                calibration=calibration,
                pooled=pooled,
                localised=localised(judged.heatmaps, fruits.targets),
                reference=make_reference(
                    [sample for sample in samples if not sample.defect],
                    [
                        look.appearance
                        for look, flawed in zip(fruits.looks, labels, strict=True)
                        if not flawed
                    ],
                    judged.scores[~labels],
                ),
                expects=expects,
                scores=fruits.expected[-1],
                fingerprint=fingerprint(fruits.dataset),
            )
            bundle = assemble(run / "bundle", config, samples, trained)
            variants = {
                one.name: {**one.figures(), "latency_ms": times.get(one.name)} for one in made
            }

    predictor = Predictor(bundle, "fp32")
    with watch.step("verify"):
        for one in admitted:
            Predictor(bundle, one.name).prove()
        with progress("verifying the bundle", len(samples)) as advance:
            shipped, _ = evaluate_bundle(predictor, samples, advance)
        parity = hold("the bundle", fruits.expected[-1], shipped.scores)
    metrics: dict[str, Any] = {
        "pooled": pooled.model_dump(),
        "folds": [one.model_dump() for one in fold_accuracies(result, calibration.threshold)],
        "intervals": calibration.intervals,
        "calibration": {
            "rule": calibration.rule,
            "unmet": unmet,
            "review": calibration.review,
            "figures": calibration.figures,
            "carried_over": asdict(carried) if carried else None,
        },
        "escapes": count_escapes(
            labels,
            runs.checks[CPU].scores,
            groups,
            runs.decision.threshold if runs.decision else pooled.threshold,
            carried.escapes if carried else None,
        ).as_json(),
        "variants": variants,
        "runs": runs.name,
        "localised": trained.localised,
        "parity": parity,
        "judged_blanks": judged_blanks(sights, expects),
        **fruits.search,
    }
    if fruits.test.images:
        test = fruits.test.open(bundle)
        with watch.step("test"), progress("judging the test split", len(test)) as advance:
            tested, accuracy = evaluate_bundle(predictor, test, advance)
        metrics["test"] = accuracy.model_dump()
        metrics["test_implausible"] = tested.odd(test)
        metrics["test_intervals"] = figure_intervals(
            np.array([sample.defect for sample in test], bool),
            tested.scores,
            [sample.group for sample in test],
            calibration.threshold,
        )
    metrics["seconds"] = watch.finish()
    write_json(run / "metrics.json", metrics)
    return metrics
