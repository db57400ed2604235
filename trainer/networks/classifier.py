"""The seed recipe's network: a whole ImageNet classifier, its last layer made anew for one logit.

Global average pooling followed by a linear layer is the mean of a 1x1 convolution's map (class
activation mapping: Zhou et al. 2016, Learning Deep Features for Discriminative Localization). So
the heatmap is exact: its mean, before the sigmoid, is the score's logit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from trainer.networks.model import BACKBONES, pad_statically

if TYPE_CHECKING:
    from collections.abc import Sequence

FEATURES = 1280
"""Channels of the last map, of B0 and Lite0 alike."""
STRIDE = 32
STAGE7 = 7
"""The first part of the trunk that ``--unfreeze stage7`` trains: stem, stages 1 to 7, top."""


class LastLayer(nn.Module):
    """Dropout and one linear unit: pooled features (N, 1280) to image logits (N,)."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(FEATURES, 1)

    def forward(self, pooled: Tensor) -> Tensor:
        return cast("Tensor", self.linear(self.dropout(pooled)).squeeze(1))


class Classifier(nn.Module):
    """Uint8 RGB (N, H, W, 3) to image logits (N,); only the last layer is trained, unless asked.

    Normalisation by batch stays at ImageNet's statistics, also where its layers are trained: a
    batch drawn with as many defects as ok images is not what the line will show.
    """

    def __init__(self, name: str, parts: Sequence[nn.Module], dropout: float) -> None:
        super().__init__()
        spec = BACKBONES[name]
        self.trunk = nn.Sequential(*parts)
        self.last = LastLayer(dropout)
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1), persistent=False)
        pad_statically(self.trunk)
        self.trunk.requires_grad_(requires_grad=False)
        self.train(mode=False)

    def unfreeze(self, what: str | None) -> None:
        """Have ``stage7``, ``all`` or, with None, nothing of the trunk trained too."""
        self.trunk.requires_grad_(requires_grad=False)
        if what is not None:
            parts = self.trunk if what == "all" else self.trunk[STAGE7:]
            parts.requires_grad_(requires_grad=True)

    def train(self, mode: bool = True) -> Classifier:  # noqa: FBT001, FBT002  nn.Module's
        """Switch dropout; the trunk stays in eval mode."""
        super().train(mode)
        self.trunk.eval()
        return self

    def maps(self, image: Tensor) -> Tensor:
        """Uint8 RGB (N, H, W, 3) to the last map (N, 1280, H/32, W/32)."""
        x = image.permute(0, 3, 1, 2).to(torch.float32)
        return cast("Tensor", self.trunk((x - self.mean) / self.std))

    def forward(self, image: Tensor) -> Tensor:
        return cast("Tensor", self.last(pooled(self.maps(image))))


class Activation(nn.Module):
    """What is exported: uint8 NHWC image to ``score`` (N,) and ``heatmap`` (N, h, w), both 0-1."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier
        self.logit = nn.Conv2d(FEATURES, 1, 1)
        self.logit.load_state_dict(logit_state(classifier.last))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.logit(self.classifier.maps(image)).squeeze(1)
        return torch.sigmoid(logits.mean(dim=(1, 2))), torch.sigmoid(logits)


def logit_state(last: LastLayer) -> dict[str, Tensor]:
    """A last layer as the weights of a 1x1 convolution."""
    weight = last.linear.weight.detach()[:, :, None, None]
    return {"weight": weight, "bias": last.linear.bias.detach()}


def pooled(maps: Tensor) -> Tensor:
    """Global average pooling: (N, C, h, w) to (N, C)."""
    return maps.mean(dim=(2, 3))
