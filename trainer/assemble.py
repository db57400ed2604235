"""Put a bundle together from what a recipe found."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.bundle import (
    Accuracy,
    Decision,
    Golden,
    Manifest,
    Preprocess,
    Reference,
    Training,
    Variant,
    sha256_of,
    write_bundle,
)
from edge_agent.bundle.preprocess import decode, fit
from trainer.golden import choose_golden, golden_png
from trainer.prove import open_graph

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edge_agent.bundle import Bundle
    from trainer.calibrate import Calibration
    from trainer.config import RunConfig
    from trainer.data import Sample
    from trainer.variants import Made

TOLERANCE = 0.02
"""How far a score on another provider may be from the score here."""
WIDEST = 0.2
"""Of any tolerance: a provider that is further off computes something else."""
LIBRARIES = ("numpy", "onnx", "pillow", "timm", "torch", "torchvision")


@dataclass(frozen=True)
class Trained:
    """What a recipe hands over."""

    variants: tuple[Made, ...]
    """Those that passed the gate, FP32 first."""
    spec: Preprocess
    calibration: Calibration
    pooled: Accuracy
    """Over the out-of-fold scores."""
    localised: float | None
    reference: Reference
    scores: NDArray[np.floating]
    """(images,): of the final model."""
    fingerprint: str


def assemble(path: Path, config: RunConfig, samples: Sequence[Sample], trained: Trained) -> Bundle:
    """Write the bundle ``path``; its golden images are taken from ``samples``.

    Raises:
        BundleError: what was written does not verify.
    """
    labels = np.array([sample.defect for sample in samples], bool)
    predict = {one.name: open_graph(one.file) for one in trained.variants}
    files: dict[str, Path | bytes] = {file_of(one): one.file for one in trained.variants}
    golden = []
    chosen = choose_golden(labels, trained.scores, trained.calibration.threshold)
    for number, image in enumerate(chosen):
        png = golden_png(samples[image])
        # From the PNG, not the file that it was made from: this is what the agent will have.
        frame = fit(decode(png), trained.spec).tensor
        name = f"golden/{number}-{'defect' if labels[image] else 'ok'}.png"
        files[name] = png
        scores = {one: float(run(frame[None]).score[0]) for one, run in predict.items()}
        golden.append(
            Golden(
                file=name,
                sha256=hashlib.sha256(png).hexdigest(),
                scores=scores,
                tolerance=tolerance(scores),
            )
        )
    manifest = Manifest(
        name=config.name,
        version=config.version,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        notice=config.notice,
        preprocess=trained.spec,
        decision=Decision(
            threshold=trained.calibration.threshold,
            review=trained.calibration.review,
            rule=trained.calibration.rule,
            figures=trained.calibration.figures,
        ),
        variants=tuple(describe(one) for one in trained.variants),
        golden=tuple(golden),
        training=Training(
            recipe=config.recipe,
            parameters=config.model_dump(mode="json"),
            dataset={
                "fingerprint": trained.fingerprint,
                "images": len(samples),
                "defects": int(labels.sum()),
                "groups": len({sample.group for sample in samples}),
            },
            folds=config.folds,
            seed=config.seed,
            libraries={name: version(name) for name in LIBRARIES},
            metrics={"pooled": trained.pooled.model_dump(), "localised": trained.localised},
        ),
        reference=trained.reference,
    )
    return write_bundle(path, manifest, files)


def file_of(variant: Made) -> str:
    """The name of its model in a bundle."""
    return f"model.{variant.name}.onnx"


def describe(variant: Made) -> Variant:
    """What the manifest says of a variant."""
    return Variant(
        name=variant.name,
        precision=variant.precision,
        file=file_of(variant),
        sha256=sha256_of(variant.file),
        size=variant.file.stat().st_size,
        accuracy=variant.held_out.accuracy,
    )


def tolerance(scores: Mapping[str, float]) -> float:
    """How far a golden image's score may be off on another provider.

    Each provider rounds 8 bits in its own places. So an image whose score rounding has moved here
    may move as far elsewhere, in the other direction; one that stands firm is held firmly.
    """
    moved = max(abs(score - scores["fp32"]) for score in scores.values())
    return min(WIDEST, max(TOLERANCE, 2 * moved))
