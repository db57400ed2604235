"""The dense inspector: a frozen backbone, a small head over its maps, one score an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Sequence

STRIDES = (8, 16, 32)


@dataclass(frozen=True)
class BackboneSpec:
    """What a backbone expects of its input, and what its maps look like."""

    mean: tuple[float, float, float]
    """Subtracted from RGB in 0..255."""
    std: tuple[float, float, float]
    channels: dict[int, int]
    """Channels of the map by stride."""
    stages: dict[int, int]
    """Number of blocks, after the stem, up to the map of that stride."""


BACKBONES = {
    # TensorFlow's own normalisation for the Lite family.
    "efficientnet_lite0": BackboneSpec(
        mean=(127.0, 127.0, 127.0),
        std=(128.0, 128.0, 128.0),
        channels={8: 40, 16: 112, 32: 320},
        stages={8: 3, 16: 5, 32: 7},
    ),
    "efficientnet_b0": BackboneSpec(
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
        channels={8: 40, 16: 112, 32: 320},
        stages={8: 3, 16: 5, 32: 7},
    ),
}


class Backbone(nn.Module):
    """An ImageNet network cut after its last wanted stride; never trained, always in eval mode."""

    def __init__(
        self, name: str, strides: Sequence[int], stem: nn.Module, blocks: nn.Module
    ) -> None:
        super().__init__()
        spec = BACKBONES[name]
        self.name = name
        self.strides = tuple(sorted(strides))
        self.channels = tuple(spec.channels[stride] for stride in self.strides)
        ends = [spec.stages[stride] for stride in self.strides]
        starts = [0, *ends[:-1]]
        every = list(blocks.children())
        groups = [nn.Sequential(*every[start:end]) for start, end in zip(starts, ends, strict=True)]
        groups[0].insert(0, stem)
        self.groups = nn.ModuleList(groups)
        # As buffers they would be in every checkpoint; they belong to the architecture.
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1), persistent=False)
        pad_statically(self)
        self.requires_grad_(requires_grad=False)
        super().train(mode=False)

    def train(self, mode: bool = True) -> Backbone:  # noqa: ARG002, FBT001, FBT002  nn.Module's
        """Stay in eval mode: batch statistics of a few defect images would wreck the features."""
        return self

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map uint8 RGB (N, H, W, 3) to float maps (N, C, H/stride, W/stride), finest first."""
        x = image.permute(0, 3, 1, 2).to(torch.float32)
        x = (x - self.mean) / self.std
        maps = []
        for group in self.groups:
            x = group(x)
            maps.append(x)
        return maps


class Head(nn.Module):
    """1x1 projections, brought to the finest stride and added; two 3x3 convolutions; one logit."""

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.project = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, width, 1, bias=False), nn.BatchNorm2d(width))
            for c in channels
        )
        self.convs = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.logit = nn.Conv2d(width, 1, 1)
        # A defect is rare at any one place: start there, not at one half.
        nn.init.constant_(cast("Tensor", self.logit.bias), -3.0)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Map features (N, C, h, w), finest first, to logits (N, h, w) of the finest."""
        # From the coarsest upwards, so that each step enlarges by the ratio of neighbours alone.
        fused: Tensor | None = None
        for features, project in zip(reversed(maps), reversed(self.project), strict=True):
            x = project(features)
            if fused is not None:
                ratio = x.shape[-1] // fused.shape[-1]
                x = x + F.interpolate(fused, scale_factor=float(ratio), mode="nearest")
            fused = x
        x = torch.relu(fused)
        return cast("Tensor", self.logit(self.convs(x)).squeeze(1))


def pool(logits: Tensor, top_k: int) -> Tensor:
    """Image logit (N,): the mean of the ``top_k`` largest logits of each map (N, h, w)."""
    return logits.flatten(1).topk(top_k, dim=1).values.mean(dim=1)


class Inspector(nn.Module):
    """What is exported: uint8 NHWC image to ``score`` (N,) and ``heatmap`` (N, h, w), both 0-1."""

    def __init__(self, backbone: Backbone, head: Head, top_k: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.top_k = top_k

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.head(self.backbone(image))
        return torch.sigmoid(pool(logits, self.top_k)), torch.sigmoid(logits)


def pad_statically(module: nn.Module) -> None:
    """Turn TensorFlow's SAME padding, computed from each input's size, into constants.

    Exact for every even map size; inputs are multiples of 32, so all of them are.
    """
    for name, child in module.named_children():
        if type(child).__name__ == "Conv2dSame":
            kernel, stride = child.kernel_size[0], child.stride[0]
            total = kernel - stride
            before = total // 2
            plain = nn.Conv2d(
                child.in_channels,
                child.out_channels,
                kernel,
                stride,
                groups=child.groups,
                bias=child.bias is not None,
            )
            plain.load_state_dict(child.state_dict())
            padding = (before, total - before) * 2
            setattr(module, name, nn.Sequential(nn.ZeroPad2d(padding), plain))
        else:
            pad_statically(child)
