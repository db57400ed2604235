"""Train a classifier for one fold: on cached features or on images, alone or in a team.

What is trained is a network that maps rows of ``inputs`` to logits: the last layer alone, on
pooled features, or the whole classifier, on images. All else is the same.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel

from trainer.networks.checkpoint import read_progress, write_progress
from trainer.networks.losses import unified_focal_loss
from trainer.stats.metrics import accuracy_at, average_precision

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from trainer.config import SeedConfig
    from trainer.networks.team import Team

_EVALUATION_BATCH = 64
_LOST = 2.0  # seconds of work, or else one epoch, that a kill may cost
Epoch = dict[str, float]


@dataclass(frozen=True)
class Learned:
    """How a fold's training went."""

    epochs: list[Epoch]
    kept: int
    """The epoch, from 1, whose weights were kept: the last, or the best where patience ran."""

    @property
    def end(self) -> Epoch:
        """The figures of the weights that were kept."""
        return self.epochs[self.kept - 1]


@dataclass(frozen=True)
class Task:
    """One fold: indices of its images."""

    inputs: NDArray[Any]
    """(images, ...): pooled features, or uint8 frames."""
    labels: NDArray[np.bool_]
    learn: NDArray[np.int64]
    held: NDArray[np.int64]
    """Judged after every epoch, for a person to see; nothing is decided by it."""
    watched: NDArray[np.int64]
    """Taken out of what is learned from, to tell when to stop; empty where nothing is to stop."""


def train_fold(
    config: SeedConfig,
    network: nn.Module,
    task: Task,
    seed: int,
    team: Team,
    after_epoch: Callable[[int, Epoch], None],
    file: Path,
    made_for: str,
) -> Learned:
    """Train ``network`` in place; say what was measured after every epoch.

    What is needed to go on is in ``file``, now and then; where it is there already, this goes on
    from it, to the very result of an undisturbed run: each epoch has a seed of its own.

    Args:
        config: of the run.
        network: on the team's device; what has ``requires_grad`` is trained.
        task: images and labels.
        seed: of the fold.
        team: each process has a network of the same weights.
        after_epoch: told the epoch's number, from 1, and its line.
        file: this fold's.
        made_for: what the run is made of; a file of another run is refused.

    Raises:
        UsageError: ``file`` is of another run, or damaged.
    """
    trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(trained.values(), config.learning_rate)
    scaler = _scaler(config, team)
    history: list[Epoch] = []
    best: tuple[float, float] | None = None
    best_weights, kept_epoch = _weights(trained), 0
    if kept := read_progress(file, made_for):
        _put(trained, kept["weights"])
        optimizer.load_state_dict(kept["optimizer"])
        scaler.load_state_dict(kept["scaler"])
        history, kept_epoch, best_weights = kept["history"], kept["kept"], kept["best_weights"]
        best = kept["best"] and tuple(kept["best"])

    def write() -> None:
        if team.leads:
            write_progress(
                *(file, made_for),
                weights=_weights(trained),
                optimizer=optimizer.state_dict(),
                scaler=scaler.state_dict(),
                history=history,
                best=best and list(best),
                best_weights=best_weights,
                kept=kept_epoch,
            )

    wrapped = _shared(network, team)
    patience = config.patience if len(task.watched) else None
    written = time.monotonic()
    for epoch in range(len(history) + 1, config.epochs + 1):
        if patience is not None and epoch - 1 - kept_epoch >= patience:
            break
        _seed_epoch(seed, epoch, team)
        order = task.learn[weighted_order(task.labels[task.learn], config.batch, seed, epoch)]
        line = {"epoch": float(epoch)}
        line |= train_one_epoch(config, wrapped, optimizer, scaler, task, order, team)
        line |= evaluate(config, network, task, task.held, team, "validation")
        if patience is not None:
            line |= evaluate(config, network, task, task.watched, team, "watched")
            reached = line["watched_f1"], -line["watched_loss"]
            if best is None or reached > best:
                best, best_weights, kept_epoch = reached, _weights(trained), epoch
        history.append(line)
        if time.monotonic() - written >= _LOST:
            write()
            written = time.monotonic()
        after_epoch(epoch, line)
    write()
    if best is not None:
        _put(trained, best_weights)
    network.eval()
    return Learned(history, kept_epoch or len(history))


def _scaler(config: SeedConfig, team: Team) -> torch.amp.GradScaler:
    """Of gradients in half precision: needed on a GPU alone."""
    scaled = config.precision == "mixed" and team.device.type == "cuda"
    return torch.amp.GradScaler(team.device.type, enabled=scaled)


def _shared(network: nn.Module, team: Team) -> nn.Module:
    """The network, with gradients averaged over the team's processes."""
    if team.size == 1:
        return network
    ids = [team.device] if team.device.type == "cuda" else None
    return DistributedDataParallel(network, device_ids=ids, broadcast_buffers=False)


def train_one_epoch(
    config: SeedConfig,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    task: Task,
    order: NDArray[np.int64],
    team: Team,
) -> Epoch:
    """Go through ``order``, whole batches of images; return mean loss, accuracy and F1."""
    network.train()
    losses, said = [], []
    for start in range(0, len(order), config.batch):
        images = order[start : start + config.batch]
        with _autocast(config, team):
            logits = network(_rows(task, team.mine(images), team))
        logits = team.together(logits.float())
        # On the whole batch, in every process: the Tversky term is no mean over images. The mean
        # over the team that follows is of slopes that each have only their own images in them.
        loss = _loss(config, task, logits, images)
        optimizer.zero_grad()
        scaler.scale(loss * team.size).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
        said.append(logits.detach().cpu().numpy())
    figures = accuracy_at(task.labels[order], np.concatenate(said), 0.0)
    return {"loss": float(np.mean(losses)), "accuracy": figures.accuracy, "f1": figures.f1}


def evaluate(
    config: SeedConfig,
    network: nn.Module,
    task: Task,
    images: NDArray[np.int64],
    team: Team,
    prefix: str,
) -> Epoch:
    """Loss, AP, and accuracy and F1 at a probability of one half, on ``images``.

    Each of the team judges a part; all have the same figures.
    """
    network.eval()
    step = _EVALUATION_BATCH * team.size
    said = []
    with torch.inference_mode():
        for start in range(0, len(images), step):
            some = images[start : start + step]
            # Everyone's part must be of one length: the last batch is filled up, then cut.
            filled = np.resize(some, -(-len(some) // team.size) * team.size)
            with _autocast(config, team):
                mine = network(_rows(task, team.mine(filled), team)).float()
            said.append(team.together(mine)[: len(some)])
        logits = torch.cat(said)
        loss = _loss(config, task, logits, images).item()
    values, labels = logits.cpu().numpy(), task.labels[images]
    figures = accuracy_at(labels, values, 0.0)
    return {
        f"{prefix}_loss": loss,
        f"{prefix}_accuracy": figures.accuracy,
        f"{prefix}_f1": figures.f1,
        f"{prefix}_ap": average_precision(labels, values),
    }


def weighted_order(
    labels: NDArray[np.bool_], batch: int, seed: int, epoch: int
) -> NDArray[np.int64]:
    """As many draws as there are images, up to whole batches, with replacement.

    By inverse class frequency, so that a defect and an ok image are equally likely. Everyone in a
    team draws the same and takes a part of each batch: so the weights hold for all of it.
    """
    rng = np.random.default_rng([seed, epoch])
    weight = np.where(labels, 0.5 / labels.sum(), 0.5 / (~labels).sum())
    count = -(-len(labels) // batch) * batch
    return rng.choice(len(labels), count, p=weight / weight.sum())


def _seed_epoch(seed: int, epoch: int, team: Team) -> None:
    """For dropout: another in each epoch and process, the same after a restart."""
    (number,) = np.random.SeedSequence([seed, epoch, team.rank]).generate_state(1)
    torch.manual_seed(int(number))


def _rows(task: Task, images: NDArray[np.int64], team: Team) -> Tensor:
    return torch.from_numpy(task.inputs[images]).to(team.device)


def _loss(config: SeedConfig, task: Task, logits: Tensor, images: NDArray[np.int64]) -> Tensor:
    labels = torch.from_numpy(task.labels[images].astype(np.float32)).to(logits.device)
    weight, delta, gamma = config.focal_weight, config.focal_delta, config.focal_gamma
    return unified_focal_loss(logits, labels, weight, delta, gamma)


def _autocast(config: SeedConfig, team: Team) -> torch.autocast:
    """Half precision where it is wanted: float16 on a GPU; a CPU has bfloat16 at best."""
    kind = torch.float16 if team.device.type == "cuda" else torch.bfloat16
    return torch.autocast(team.device.type, kind, enabled=config.precision == "mixed")


def _weights(trained: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    return {name: p.detach().cpu().clone() for name, p in trained.items()}


def _put(trained: dict[str, nn.Parameter], weights: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, p in trained.items():
            p.copy_(weights[name])
