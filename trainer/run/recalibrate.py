"""Choose the threshold of a finished run again: a new bundle, with the same models."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from edge_agent.bundle import open_bundle, write_bundle
from edge_agent.types.target import CPU
from trainer.data.learned import carried
from trainer.graphs.gate import compare_scores, decide_variant
from trainer.run.naming import bundle_version
from trainer.stats.calibrate import calibrate
from trainer.stats.crossval import oof_file, read_oof
from trainer.stats.metrics import accuracy_at

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edge_agent.bundle import Bundle, Manifest, Variant
    from trainer.config import Aim
    from trainer.stats.crossval import OutOfFold


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
    judged = [
        _judge(run, one, calibration.threshold, result, groups, aim) for one in manifest.variants
    ]
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
            "decision": calibration.decision,
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


def _judge(
    run: Path,
    variant: Variant,
    threshold: float,
    result: OutOfFold,
    groups: Sequence[str],
    aim: Aim,
) -> tuple[Variant, str]:
    """A variant with its new decision and its figures by it, and why it can't be used so.

    By its own out-of-fold scores, where it was measured so; else it has FP32's decision and no
    figures. What kept it from a provider before keeps it from it still.
    """
    if variant.name == "fp32":
        figures = accuracy_at(result.labels, result.scores, threshold)
        return variant.model_copy(update={"accuracy": figures}), ""
    scores = {
        provider: read_oof(file)[1].scores
        for provider in (CPU, *variant.gate)
        if (file := oof_file(run, variant.name, provider)).exists()
    }
    labels, fp32, decision, own = result.labels, result.scores, None, threshold
    if CPU in scores:
        decision, _ = decide_variant(labels, fp32, scores[CPU], threshold, groups, aim)
        own = decision.threshold if decision else threshold
    beside = {
        provider: compare_scores(labels, fp32, found, threshold, own)
        for provider, found in scores.items()
    }
    faults = {name: f"on held-out images {one.fault}" for name, one in beside.items() if one.fault}
    changed = {
        "decision": decision,
        "accuracy": beside[CPU].accuracy if CPU in beside else None,
        "gate": {name: faults.get(name) or was for name, was in variant.gate.items()},
    }
    return variant.model_copy(update=changed), faults.get(CPU, "")
