"""What a run keeps of its PyTorch modules, loadable without running any code from it."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

import torch

from trainer.config import DenseConfig, SeedConfig
from trainer.errors import UsageError
from trainer.networks.backbones import blank_backbone, blank_classifier
from trainer.networks.classifier import Activation
from trainer.networks.model import Head, Inspector

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor, nn

    from trainer.config import RunConfig
    from trainer.networks.classifier import Classifier
    from trainer.networks.model import Backbone

FILE = "model.pt"


def save_model(
    file: Path, config: DenseConfig, backbone: Backbone, head: Head, folds: Sequence[Head]
) -> None:
    """Keep the dense recipe's final head and each fold's beside the backbone that they share."""
    _save(
        {
            "format": 1,
            "config": config.model_dump_json(),
            "backbone": backbone.state_dict(),
            "head": head.state_dict(),
            "folds": [fold.state_dict() for fold in folds],
        },
        file,
    )


def save_classifier(
    file: Path, config: SeedConfig, shipped: Classifier, folds: Sequence[Mapping[str, Tensor]]
) -> None:
    """Keep the seed recipe's best classifier, and of each fold's what was trained."""
    _save(
        {
            "format": 1,
            "config": config.model_dump_json(),
            "classifier": shipped.state_dict(),
            "folds": [dict(fold) for fold in folds],
        },
        file,
    )


def load_model(run: Path, config: RunConfig, fold: int | None = None) -> nn.Module:
    """Build a run's module again: uint8 NHWC images to score and heatmap.

    Args:
        run: its folder.
        config: RUN/config.json.
        fold: which fold's; None: the one that is shipped.

    Raises:
        UsageError: RUN/model.pt is missing or of another kind.
    """
    file = run / FILE
    try:
        kept = torch.load(file, map_location="cpu", weights_only=True)
        if isinstance(config, DenseConfig):
            return _inspector(kept, config, fold)
        if isinstance(config, SeedConfig):
            return _activation(kept, config, fold)
        raise TypeError(f"{config.recipe} is no recipe")
    except FileNotFoundError:
        raise UsageError(f"{file} is missing: {run} was not written by `trainer train`") from None
    except Exception as error:  # unpickling raises of everything
        raise UsageError(f"{file} can't be used: {str(error).splitlines()[0]}") from None


def write_progress(file: Path, made_for: str, **state: Any) -> None:
    """Keep what a fold needs to go on: the whole of it or nothing, whenever the kill comes."""
    _save({"made_for": made_for, **state}, file)


def read_progress(file: Path, made_for: str) -> dict[str, Any] | None:
    """Read it again; None where there is none yet.

    Raises:
        UsageError: it is damaged, or of a run with other images or settings.
    """
    if not file.exists():
        return None
    try:
        kept: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        same = kept["made_for"] == made_for
    except Exception as error:  # unpickling raises of everything
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"{file} can't be read ({reason}): remove it, its fold begins again"
        ) from None
    if not same:
        raise UsageError(
            f"{file} was made with other images or settings: give --out another folder"
        )
    return kept


def _save(content: Mapping[str, Any], file: Path) -> None:
    """Write the whole of it or nothing. Through memory: torch itself reports no full disk."""
    stream = io.BytesIO()
    torch.save(dict(content), stream)
    partial = file.with_suffix(".partial")
    with partial.open("wb") as written:
        written.write(stream.getbuffer())
        written.flush()
        os.fsync(written.fileno())
    partial.replace(file)


def _inspector(kept: Mapping[str, Any], config: DenseConfig, fold: int | None) -> Inspector:
    backbone = blank_backbone(config.backbone, config.strides)
    backbone.load_state_dict(kept["backbone"])
    head = Head(backbone.channels, config.width)
    head.load_state_dict(kept["head"] if fold is None else kept["folds"][fold])
    return Inspector(backbone, head, config.top_k).eval()


def _activation(kept: Mapping[str, Any], config: SeedConfig, fold: int | None) -> Activation:
    classifier = blank_classifier(config.backbone, config.dropout)
    classifier.load_state_dict(kept["classifier"])
    if fold is not None:
        classifier.load_state_dict(kept["folds"][fold], strict=False)
    return Activation(classifier).eval()
