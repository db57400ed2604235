"""What a worker is at, in a byte that it shares with the daemon: known also after its death.

A worker that dies in the decoder died of its frame. One that dies in the session, whose inputs are
all of one shape, may have died of the provider. A message would say the same at the price of waking
the daemon once more for every frame.
"""

from __future__ import annotations

import mmap
import os


class Stage:
    """One worker's; the daemon has it from `create`, the worker by the descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._byte = mmap.mmap(descriptor, 1)

    @property
    def inferring(self) -> bool:
        """Whether it is in the session."""
        return self._byte[0] != 0

    @inferring.setter
    def inferring(self, inferring: bool) -> None:
        self._byte[0] = inferring

    def close(self) -> None:
        """Unmap it."""
        self._byte.close()


def create() -> int:
    """Memory for a `Stage`, as a descriptor that a worker can be given; the caller closes it."""
    descriptor = os.memfd_create("stage")
    try:
        os.ftruncate(descriptor, 1)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
