"""Losses on the defect map and on the image score."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_TINY = 1e-7


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


def unified_focal_loss(
    logits: Tensor, label: Tensor, weight: float, delta: float, gamma: float
) -> Tensor:
    """Asymmetric unified focal loss of image logits (N,) against labels 0/1 (N,); a scalar.

    Yeung et al. 2022, Unified Focal loss, Computerized Medical Imaging and Graphics 95, 102026:

        L_aUF  = weight L_maF + (1 - weight) L_maFT                                    (lambda)
        L_maF  = - delta/N sum y log p - (1 - delta)/N sum (1 - y) p^gamma log(1 - p)
        L_maFT = (1 - mTI_ok) + (1 - mTI_defect)^(1 - gamma)
        mTI    = TP / (TP + delta FN + (1 - delta) FP)

    There a pixel is a sample, here an image; TP, FN and FP are sums of probabilities over the
    batch, from the class's own point of view. gamma takes weight from easy ok images, but not from
    easy defects, and makes a batch whose defects are almost right still count. The paper's
    defaults are weight 0.5, delta 0.6, gamma 0.5. gamma = 0 leaves weighted cross-entropy and
    Tversky's loss; delta = 0.5 of the latter is dice.
    """
    entropy_defect, entropy_ok = -F.logsigmoid(logits), -F.logsigmoid(-logits)
    # p^gamma by way of its logarithm: the slope of a root at 0 is not a number.
    ease = torch.exp(-gamma * entropy_defect)
    focal = delta * label * entropy_defect + (1 - delta) * (1 - label) * ease * entropy_ok

    p = torch.sigmoid(logits)
    found, escaped = (p * label).sum(), ((1 - p) * label).sum()
    passed, overkilled = ((1 - p) * (1 - label)).sum(), (p * (1 - label)).sum()
    # 1 - mTI without the difference of two numbers that are almost the same.
    lost_defect = delta * escaped + (1 - delta) * overkilled
    lost_defect = lost_defect / (found + lost_defect + _TINY)
    lost_ok = delta * overkilled + (1 - delta) * escaped
    lost_ok = lost_ok / (passed + lost_ok + _TINY)
    tversky = lost_ok + lost_defect.clamp(min=_TINY) ** (1 - gamma)
    return weight * focal.mean() + (1 - weight) * tversky
