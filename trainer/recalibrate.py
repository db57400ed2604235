"""Choose the threshold of a finished run again: a new bundle, with the same models."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from edge_agent.bundle import Decision, open_bundle, write_bundle
from edge_agent.target import CPU
from trainer.calibrate import calibrate
from trainer.crossval import oof_file, read_oof
from trainer.gate import compare_scores
from trainer.learned import carried
from trainer.metrics import accuracy_at
from trainer.naming import bundle_version

if TYPE_CHECKING:
    from pathlib import Path

    from edge_agent.bundle import Bundle, Manifest, Variant
    from trainer.config import Aim
    from trainer.crossval import OutOfFold


@dataclass(frozen=True)
class Recalibrated:
    """A new bundle, and what of the old one is not in it."""

    bundle: Bundle
    left_out: dict[str, str]
    """Variants that don't pass the gate at the new threshold, and why."""


def recalibrate(run: Path, aim: Aim, out: Path, version: str | None = None) -> Recalibrated:
    """Write the bundle of ``run`` to ``out`` with a threshold chosen by another rule.

    Nothing but the out-of-fold scores decides: which threshold it is, and which variants change
    too many verdicts there, whatever they did at the old one. RUN itself is left as it is.

    Args:
        run: what `trainer train` wrote.
        aim: the rule.
        out: a new directory.
        version: of the new bundle; None: the next after RUN's and those beside, 1.0.0 to 1.0.1.

    Raises:
        UsageError: RUN is not finished, or (`RuleError`) the rule can't be kept.
        BundleError: RUN's bundle is damaged, or ``out`` exists.
    """
    groups, result = read_oof(run / "oof.csv")
    old = open_bundle(run / "bundle")
    manifest = old.manifest
    version, _ = bundle_version(manifest.name, version, out, run, old=manifest.version)
    calibration = calibrate(result.labels, result.scores, groups, aim)
    judged = [_judge(run, one, calibration.threshold, result) for one in manifest.variants]
    variants = tuple(one for one, fault in judged if not fault)
    kept = [one.name for one in variants]
    golden = tuple(
        one.model_copy(update={"scores": {name: one.scores[name] for name in kept}})
        for one in manifest.golden
    )
    training = manifest.training.model_copy(
        update={
            "parameters": {**manifest.training.parameters, **aim.model_dump(include=_AIM)},
            "metrics": {
                **manifest.training.metrics,
                "pooled": accuracy_at(
                    result.labels, result.scores, calibration.threshold
                ).model_dump(),
            },
        }
    )
    changed: Manifest = manifest.model_copy(
        update={
            "version": version,
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "decision": Decision(
                threshold=calibration.threshold,
                review=calibration.review,
                rule=calibration.rule,
                figures=calibration.figures,
            ),
            "variants": variants,
            "golden": golden,
            "training": training,
        }
    )
    # Not the signature: it was given to the other manifest.
    files = {one.file: old.read(one) for one in variants}
    files |= {one.file: old.read(one) for one in golden}
    files |= carried(old)
    bundle = write_bundle(out, changed, files)
    return Recalibrated(bundle, {one.name: fault for one, fault in judged if fault})


_AIM = {"rule", "escape_cost", "overkill_cost", "review"}


def _judge(run: Path, variant: Variant, threshold: float, result: OutOfFold) -> tuple[Variant, str]:
    """A variant with its figures at the new threshold, and why it can't be used there.

    By its own out-of-fold scores, where it was measured so; else it has no figures. What kept it
    from a provider at the old threshold keeps it from it still.
    """
    if variant.name == "fp32":
        figures = accuracy_at(result.labels, result.scores, threshold)
        return variant.model_copy(update={"accuracy": figures}), ""
    beside = {
        provider: compare_scores(result.labels, result.scores, read_oof(own)[1].scores, threshold)
        for provider in (CPU, *variant.gate)
        if (own := oof_file(run, variant.name, provider)).exists()
    }
    faults = {name: f"on held-out images {one.fault}" for name, one in beside.items() if one.fault}
    changed = {
        "accuracy": beside[CPU].accuracy if CPU in beside else None,
        "gate": {name: faults.get(name) or was for name, was in variant.gate.items()},
    }
    return variant.model_copy(update=changed), faults.get(CPU, "")
