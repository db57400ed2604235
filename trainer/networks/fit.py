"""Train a head on cached features: one pass over the images, and one look at what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from trainer.networks.features import flipped
from trainer.networks.losses import image_loss, map_loss
from trainer.networks.model import Head, pool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.random import Generator
    from numpy.typing import NDArray

    from trainer.config import DenseConfig
    from trainer.networks.features import Features

_EVALUATION_BATCH = 16


@dataclass(frozen=True)
class Learnable:
    """Everything that a head is trained on or scored with; image ``i`` is the same in each."""

    features: Features
    labels: NDArray[np.bool_]
    """(images,)"""
    targets: NDArray[np.bool_]
    """(images, h, w): where the defect is."""
    drawn: NDArray[np.bool_]
    """(images,): whether the target is known; a defective image without a mask has none."""


@dataclass(frozen=True)
class Outputs:
    """What a head says of some images."""

    logits: NDArray[np.float32]
    """(N,): image logits."""
    maps: NDArray[np.float32]
    """(N, h, w): logits by place."""


def fit_head(
    config: DenseConfig,
    data: Learnable,
    images: NDArray[np.int64],
    seed: int,
    after_epoch: Callable[[int, float, Head], None],
) -> Head:
    """Train a new head on ``images``; the same seed gives the same head, bit for bit.

    Args:
        config: of the run.
        data: of all images.
        images: which to learn from: indices into ``data``.
        seed: for the first weights and the order of images.
        after_epoch: told the epoch (from 1), the mean training loss, and the head.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    head = Head([array.shape[-1] for array in data.features.maps], config.width)
    head.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(head.parameters(), config.learning_rate, weight_decay=0.01)
    steps = steps_per_epoch(data.labels[images], config.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=steps * config.epochs, pct_start=0.15
    )
    stream = balanced(rng, images[data.labels[images]], images[~data.labels[images]], config.batch)
    for epoch in range(1, config.epochs + 1):
        loss = train_one_epoch(config, data, head, optimizer, schedule, stream, steps, rng)
        after_epoch(epoch, loss, head)
    return head.eval()


def train_one_epoch(
    config: DenseConfig,
    data: Learnable,
    head: Head,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    stream: Iterator[NDArray[np.int64]],
    steps: int,
    rng: Generator,
) -> float:
    """Take ``steps`` steps; return the mean loss."""
    head.train()
    total = 0.0
    for _ in range(steps):
        images = next(stream)
        views = rng.integers(0, data.features.views, len(images))
        logits = head(data.features.batch(images, views))
        loss = _loss(config, data, logits, images, views)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        total += loss.item()
    return total / steps


def evaluate(data: Learnable, head: Head, images: NDArray[np.int64], top_k: int) -> Outputs:
    """Look at ``images`` as they are, unflipped."""
    head.eval()
    scores, maps = [], []
    with torch.inference_mode():
        for start in range(0, len(images), _EVALUATION_BATCH):
            some = images[start : start + _EVALUATION_BATCH]
            logits = head(data.features.batch(some, np.zeros_like(some)))
            scores.append(pool(logits, top_k).numpy())
            maps.append(logits.numpy())
    return Outputs(np.concatenate(scores), np.concatenate(maps))


def loss_on(
    config: DenseConfig, data: Learnable, outputs: Outputs, images: NDArray[np.int64]
) -> float:
    """The training loss of outputs that ``evaluate`` gave for ``images``."""
    logits = torch.from_numpy(outputs.maps)
    return _loss(config, data, logits, images, np.zeros_like(images)).item()


def steps_per_epoch(labels: NDArray[np.bool_], batch: int) -> int:
    """Enough steps to see each ok image once, but each defect no more than four times."""
    defects = int(labels.sum())
    return max(1, -(-min(len(labels) - defects, 4 * defects) // (batch // 2)))


def balanced(
    rng: Generator, defects: NDArray[np.int64], oks: NDArray[np.int64], batch: int
) -> Iterator[NDArray[np.int64]]:
    """Batches, half defects and half ok images, each class in an order shuffled again and again."""

    def endless(images: NDArray[np.int64]) -> Iterator[np.int64]:
        while True:
            yield from rng.permutation(images)

    bad, good = endless(defects), endless(oks)
    while True:
        yield np.array([next(bad if slot < batch // 2 else good) for slot in range(batch)])


def _loss(
    config: DenseConfig,
    data: Learnable,
    logits: torch.Tensor,
    images: NDArray[np.int64],
    views: NDArray[np.int64],
) -> torch.Tensor:
    labels = torch.from_numpy(data.labels[images].astype(np.float32))
    loss = image_loss(pool(logits, config.top_k), labels)
    drawn = data.drawn[images]
    if not drawn.any():
        return loss  # from image labels alone: the largest places of the map are the instances
    target = np.stack(
        [flipped(data.targets[i], v) for i, v in zip(images[drawn], views[drawn], strict=True)]
    )
    return loss + map_loss(
        logits[torch.from_numpy(drawn)],
        torch.from_numpy(target.astype(np.float32)),
        config.positive_weight,
    )
