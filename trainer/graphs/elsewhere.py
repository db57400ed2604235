"""What graphs say on another execution provider than the CPU's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_agent.engine.runtime.inventory import take_inventory
from edge_agent.engine.runtime.session import CPU
from trainer.apart import apart
from trainer.graphs.evaluate import judge, open_graph

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from trainer.data.framefile import Frames


def other_providers() -> tuple[str, ...]:
    """Names, as in a station's settings, of what this machine offers beside the CPU provider."""
    return tuple(name for name in take_inventory().offered if name != CPU)


def scores_elsewhere(
    provider: str, frames: Frames, jobs: Sequence[tuple[Path, NDArray[np.int64]]]
) -> list[NDArray[np.float64]] | str:
    """Scores of each job's images by its graph, in a process of its own; or why there are none."""
    return apart(_scores, provider, frames, jobs)


def _scores(
    provider: str, frames: Frames, jobs: Sequence[tuple[Path, NDArray[np.int64]]]
) -> list[NDArray[np.float64]]:
    return [
        judge(open_graph(file, provider), frames.each(images), lambda _: None).scores
        for file, images in jobs
    ]
