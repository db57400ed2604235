"""How long one inference takes on this machine, by graph and provider."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.engine.runtime.session import CPU, ProviderError, open_session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edge_agent.bundle import Preprocess

PROVIDERS = (CPU, "openvino:CPU")
"""The ones that every line PC may have. What else there is, `edge-agent tune` measures there."""
_WARM_UP = 3
_RUNS = 30


def time_graphs(
    graphs: Mapping[str, Path],
    spec: Preprocess,
    providers: Sequence[str] = PROVIDERS,
    runs: int = _RUNS,
    quantile: float = 0.5,
) -> dict[str, dict[str, float]]:
    """Milliseconds of one inference, one thread, by graph's name and provider.

    The graphs take turns, so that what else the machine does at a time slows all alike. A provider
    that can't be had, or can't run a graph, is left out.

    Args:
        graphs: ONNX files, by name.
        spec: their preprocess.
        providers: as in the settings.
        runs: that count, after a few that don't.
        quantile: of the runs' times; one half is the median.
    """
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (1, spec.height, spec.width, 3), np.uint8)
    sessions = {}
    for name, file in graphs.items():
        model = file.read_bytes()
        for provider in providers:
            with contextlib.suppress(ProviderError):
                sessions[name, provider] = open_session(
                    model, name=name, provider=provider, threads=1
                )
    taken: dict[tuple[str, str], list[float]] = {key: [] for key in sessions}
    for _ in range(_WARM_UP + runs):
        for key, session in sessions.items():
            started = time.perf_counter()
            session.run(["score"], {"image": image})
            taken[key].append(time.perf_counter() - started)
    found: dict[str, dict[str, float]] = {name: {} for name in graphs}
    for (name, provider), seconds in taken.items():
        found[name][provider] = round(1e3 * float(np.quantile(seconds[_WARM_UP:], quantile)), 3)
    return found
