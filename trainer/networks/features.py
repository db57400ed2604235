"""The backbone's maps of every image, computed once and kept on disk while the heads train.

Size: 2 bytes x 4 views x images x the elements of one image's maps, that is 2 MB an image at
704 x 256 with strides 8, 16 and 32. The files are mapped: what memory there is serves them, and
no more is taken than there is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from trainer.data.mapped import new_arrays

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from edge_agent.bundle import Preprocess
    from trainer.networks.model import Backbone

BATCH = 4
"""Images a pass: enough to keep the cores busy, few enough to stay in their caches."""
VIEWS = 4
"""An image as it is, mirrored, upside down, and both."""

Array = TypeVar("Array", bound="NDArray[np.generic]")


@dataclass(frozen=True)
class Features:
    """Maps of all images in all views: one array a stride, finest first."""

    maps: tuple[NDArray[np.float16], ...]
    """Each (views, images, h, w, C): channels last is what convolutions on a CPU like best."""

    @property
    def views(self) -> int:
        """How many of the views there are, the first ones."""
        return int(self.maps[0].shape[0])

    def batch(self, images: NDArray[np.int64], views: NDArray[np.int64]) -> list[Tensor]:
        """Float maps (N, C, h, w) of some images, each in its view."""
        return [
            torch.from_numpy(array[views, images]).float().permute(0, 3, 1, 2)
            for array in self.maps
        ]


def flipped(array: Array, view: int) -> Array:
    """One image or map (H, W, ...) in a view."""
    return array[:: -1 if view & 2 else 1, :: -1 if view & 1 else 1]  # type: ignore[return-value]


def compute_features(
    frames: NDArray[np.uint8],
    backbone: Backbone,
    spec: Preprocess,
    folder: Path,
    views: int = VIEWS,
    advance: Callable[[str], None] = lambda _: None,
) -> Features:
    """Run the backbone once over fitted frames (images, H, W, 3), in the first ``views`` views.

    A flipped map is not the map of the flipped image: TensorFlow pads its strided convolutions on
    one side only. So the image is flipped, and what the head learns from is what it will meet.

    Raises:
        UsageError: not enough disk under ``folder``.
    """
    shapes = {
        f"stride{stride}.float16": (
            views,
            len(frames),
            spec.height // stride,
            spec.width // stride,
            channels,
        )
        for stride, channels in zip(backbone.strides, backbone.channels, strict=True)
    }
    advice = "choose a smaller --size, fewer --strides or --views 1"
    maps = new_arrays(folder, shapes, np.float16, "the feature cache takes", advice)
    for some in batches(len(frames)):
        for view in range(views):
            images = np.stack([flipped(frame, view) for frame in frames[some]])
            for array, output in zip(maps, run_backbone(backbone, images), strict=True):
                array[view, some] = output
        for _ in frames[some]:
            advance("")
    return Features(maps)


def batches(count: int) -> list[slice]:
    """``count`` images in groups of ``BATCH``; the last group may be smaller."""
    return [slice(start, min(start + BATCH, count)) for start in range(0, count, BATCH)]


def run_backbone(backbone: Backbone, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    """The maps of uint8 frames (N, H, W, 3), channels last: (N, h, w, C) a stride."""
    with torch.inference_mode():
        return [output.permute(0, 2, 3, 1).numpy() for output in backbone(torch.from_numpy(images))]
