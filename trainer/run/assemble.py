"""Put a bundle together from what a recipe found."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.bundle import (
    Accuracy,
    Expects,
    Manifest,
    Preprocess,
    Reference,
    Training,
    Variant,
    sha256_of,
    write_bundle,
)
from trainer.data.learned import list_images
from trainer.graphs.golden import make_golden

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edge_agent.bundle import Bundle
    from trainer.config import RunConfig
    from trainer.data import Sample
    from trainer.graphs.made import Made
    from trainer.stats.calibrate import Calibration

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
    expects: Expects
    scores: NDArray[np.floating]
    """(images,): of the final model."""
    fingerprint: str


def assemble(path: Path, config: RunConfig, samples: Sequence[Sample], trained: Trained) -> Bundle:
    """Write the bundle ``path``; its golden images are taken from ``samples``.

    Raises:
        BundleError: what was written does not verify.
    """
    labels = np.array([sample.defect for sample in samples], bool)
    files: dict[str, Path | bytes] = {file_of(one): one.file for one in trained.variants}
    golden, pngs = make_golden(
        samples, trained.scores, trained.calibration.threshold, trained.variants, trained.spec
    )
    entry, listed = list_images(samples)
    files |= pngs | listed
    manifest = Manifest(
        name=config.name,
        version=config.version,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        notice=config.notice,
        preprocess=trained.spec,
        decision=trained.calibration.decision,
        variants=tuple(describe(one) for one in trained.variants),
        golden=golden,
        training=Training(
            recipe=config.recipe,
            parameters=config.model_dump(mode="json"),
            dataset={
                "fingerprint": trained.fingerprint,
                "images": len(samples),
                "defects": int(labels.sum()),
                "groups": len({sample.group for sample in samples}),
                **entry,
            },
            folds=config.folds,
            seed=config.seed,
            libraries={name: version(name) for name in LIBRARIES},
            metrics={"pooled": trained.pooled.model_dump(), "localised": trained.localised},
        ),
        reference=trained.reference,
        expects=trained.expects,
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
        gate={} if variant.name == "fp32" else variant.gate,
        decision=variant.decision,
    )
