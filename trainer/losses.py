"""Losses on the defect map and on the image score."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def map_loss(logits: Tensor, target: Tensor, positive_weight: float) -> Tensor:
    """Weighted cross-entropy plus soft dice over a batch of maps (N, h, w); a scalar.

    Dice (Milletari et al. 2016, V-Net, with sums instead of squares) is taken over the whole
    batch: a map without a defect has no overlap to measure by itself.
    """
    weight = torch.where(target > 0.5, positive_weight, 1.0)
    entropy = F.binary_cross_entropy_with_logits(logits, target, weight, reduction="sum")
    entropy = entropy / weight.sum()
    probability = torch.sigmoid(logits)
    overlap = (probability * target).sum()
    dice = 1 - (2 * overlap + 1) / (probability.sum() + target.sum() + 1)
    return entropy + dice


def image_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Cross-entropy of image logits (N,) against labels 0/1 (N,); a scalar."""
    return F.binary_cross_entropy_with_logits(logits, label)
