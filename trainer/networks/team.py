"""Several processes training one model, as torchrun starts them; or one alone."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import distributed

from trainer.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


@dataclass(frozen=True)
class Team:
    """This process among those that train together."""

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether it is the one that reads, writes and speaks."""
        return self.rank == 0

    def mine(self, images: NDArray[np.int64]) -> NDArray[np.int64]:
        """This process's part of a batch whose length is a multiple of ``size``."""
        return images[self.rank :: self.size]

    def together(self, mine: Tensor) -> Tensor:
        """The whole batch's values (N,), in the batch's order, from everyone's part of it.

        Slopes flow into one's own part alone: what the others' is to them.
        """
        if self.size == 1:
            return mine
        parts = [torch.empty_like(mine) for _ in range(self.size)]
        distributed.all_gather(parts, mine.detach().contiguous())
        parts[self.rank] = mine
        return torch.stack(parts, dim=1).flatten()

    def wait(self) -> None:
        """Until everyone is here."""
        if self.size > 1:
            distributed.barrier()


@contextmanager
def join() -> Iterator[Team]:
    """Join the processes that torchrun started; without it, be the only one."""
    size, rank = (_given(name, fallback) for name, fallback in _VARIABLES)
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", _given("LOCAL_RANK", "0"))
        torch.cuda.set_device(device)
    if size == 1:
        yield Team(0, 1, device)
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Team(rank, size, device)
    finally:
        distributed.destroy_process_group()


def _given(name: str, fallback: str) -> int:
    text = os.environ.get(name, fallback)
    if not (text.isdecimal() and len(text) <= 6):
        raise UsageError(f"{name} is {text[:40]!r}: torchrun sets it, to a number")
    return int(text)


_VARIABLES = (("WORLD_SIZE", "1"), ("RANK", "0"))
