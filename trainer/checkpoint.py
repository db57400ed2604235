"""RUN/model.pt: the PyTorch modules of a run, loadable without running any code from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from trainer.backbones import blank_backbone
from trainer.errors import UsageError
from trainer.model import Head, Inspector

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from trainer.config import DenseConfig
    from trainer.model import Backbone

FILE = "model.pt"


def save_model(
    file: Path, config: DenseConfig, backbone: Backbone, head: Head, folds: Sequence[Head]
) -> None:
    """Keep the final head and each fold's beside the backbone that they share."""
    torch.save(
        {
            "format": 1,
            "config": config.model_dump_json(),
            "backbone": backbone.state_dict(),
            "head": head.state_dict(),
            "folds": [fold.state_dict() for fold in folds],
        },
        file,
    )


def load_model(run: Path, config: DenseConfig, fold: int | None = None) -> Inspector:
    """Build the inspector of a run again: the final one, or the one of a fold.

    Raises:
        UsageError: RUN/model.pt is missing or of another kind.
    """
    file = run / FILE
    try:
        kept = torch.load(file, map_location="cpu", weights_only=True)
        state = kept["head"] if fold is None else kept["folds"][fold]
        backbone = blank_backbone(config.backbone, config.strides)
        backbone.load_state_dict(kept["backbone"])
        head = Head(backbone.channels, config.width)
        head.load_state_dict(state)
    except FileNotFoundError:
        raise UsageError(f"{file} is missing: {run} is not what `trainer train` wrote") from None
    except Exception as error:  # unpickling raises of everything
        raise UsageError(f"{file} can't be used: {str(error).splitlines()[0]}") from None
    return Inspector(backbone, head, config.top_k).eval()
