"""Arrays larger than memory: files that are mapped, with their room on the disk taken at once."""

from __future__ import annotations

import os
import shutil
from math import prod
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from trainer.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import DTypeLike


def new_arrays(
    folder: Path, shapes: Mapping[str, tuple[int, ...]], kind: DTypeLike, what: str, advice: str
) -> tuple[np.memmap[Any, Any], ...]:
    """Make a file below ``folder`` for each of ``shapes``, all zeros, and map it.

    A mapped file only seems to be as long as it is. What is written into it when the disk has
    become full has nowhere to go, and the system kills the process without a word (SIGBUS): so the
    room is taken here, where that can be said.

    Args:
        folder: an existing one.
        shapes: by the file's name.
        kind: of all of them.
        what: "the feature cache takes", for the message.
        advice: what else to do than to make room.

    Raises:
        UsageError: there is not enough room.
    """
    sizes = {name: prod(shape) * np.dtype(kind).itemsize for name, shape in shapes.items()}
    need, free = sum(sizes.values()), shutil.disk_usage(folder).free
    full = need > free
    if not full:
        try:
            for name, size in sizes.items():
                with (folder / name).open("wb") as stream:
                    _take_room(stream, size)
        except OSError:  # a quota, or somebody was faster
            full, free = True, shutil.disk_usage(folder).free
    if full:
        raise UsageError(
            f"{what} {need / 1e6:.0f} MB in {folder}, where {free / 1e6:.0f} MB are free: free "
            f"some space, or {advice}"
        )
    return tuple(
        np.memmap(folder / name, kind, "r+", shape=shape) for name, shape in shapes.items()
    )


def _take_room(stream: IO[bytes], size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(stream.fileno(), 0, size)
    else:  # macOS
        stream.truncate(size)
