"""The cheapest configuration of the dense recipe that is as good as the best that fits a budget.

A small ladder: the input smaller, the backbone cut earlier, the head narrower. First each is
timed, as a graph with untrained weights; then those within the budget are cross-validated on
cached features, which configurations of one size share: an earlier cut is a part of a later one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.data.frames import choose_size, fitted
from trainer.errors import UsageError
from trainer.graphs.export import to_onnx
from trainer.graphs.latency import time_graphs
from trainer.graphs.quantize import Quantization, quantize
from trainer.networks.backbones import build_backbone
from trainer.networks.features import Features
from trainer.networks.fit import Learnable, evaluate, fit_head
from trainer.networks.model import Head, Inspector
from trainer.progress import progress
from trainer.stats.crossval import held_out
from trainer.stats.metrics import average_precision

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from edge_agent.bundle import Preprocess
    from trainer.config import DenseConfig
    from trainer.data import Sample

SHARES = (1.0, 0.56, 0.36, 0.25)
"""Of the input's pixels."""
_RUNS = 30
_QUANTILE = 0.1
"""Configurations are timed one after the other, for minutes: a low quantile is what they take
when the machine does nothing else."""
_SLACK = 0.02
"""How far below the margin a configuration may be after some folds and not be given up."""
_FOLDS = 2
"""After so many a configuration may be given up."""


@dataclass(frozen=True)
class Rung:
    """A configuration, what it costs, and how good it is."""

    config: DenseConfig
    spec: Preprocess
    ms: float | None = None
    """One inference of the fastest variant on the fastest provider here, one thread; None: not
    measured, since a cheaper one of the same size is over the budget already."""
    ap: float | None = None
    """Over the pooled out-of-fold scores; None where it was not, or not fully, cross-validated."""
    note: str = ""
    """Why there is no AP."""

    @property
    def name(self) -> str:
        """As it stands in the report."""
        strides = ",".join(map(str, self.config.strides))
        return f"{self.spec.width}x{self.spec.height}, strides {strides}, width {self.config.width}"

    def figures(self) -> dict[str, Any]:
        """For metrics.json."""
        return {"name": self.name, "ms": self.ms, "ap": self.ap, "note": self.note}


def ladder(config: DenseConfig, spec: Preprocess) -> list[Rung]:
    """Every configuration, by size from the largest, and within a size from the cheapest.

    Args:
        config: the dearest, with size and top-k decided.
        spec: its preprocess.
    """
    pixels = spec.width * spec.height
    sizes = dict.fromkeys(
        choose_size(spec.width, spec.height, int(share * pixels)) for share in SHARES
    )
    cuts = [config.strides[:count] for count in range(1, len(config.strides) + 1)]
    widths = dict.fromkeys((max(4, config.width // 2), config.width))
    rungs = []
    for (width, height), strides, channels in product(sizes, cuts, widths):
        cells = (width // strides[0]) * (height // strides[0])
        changed = {
            "size": (width, height),
            "strides": strides,
            "width": channels,
            "top_k": min(config.top_k, cells),
        }
        rungs.append(
            Rung(
                config.model_copy(update=changed),
                spec.model_copy(update={"width": width, "height": height}),
            )
        )
    return rungs


def time_rungs(rungs: Sequence[Rung], samples: Sequence[Sample], budget_ms: float) -> list[Rung]:
    """Say what each costs; within a size no further than the first that is over the budget.

    Raises:
        UsageError: none is within the budget.
    """
    found = []
    over: set[tuple[int, int]] = set()
    with progress("timing configurations", len(rungs)) as advance:
        for rung in rungs:
            size = (rung.spec.width, rung.spec.height)
            ms = None if size in over else time_rung(rung, samples)
            note = ""
            if ms is None or ms > budget_ms:
                over.add(size)
                note = "over the budget"
            found.append(Rung(rung.config, rung.spec, ms, None, note))
            advance(f"{rung.name}: {ms:.1f} ms" if ms else "")
    if all(rung.note for rung in found):
        times = [rung.ms for rung in found if rung.ms is not None]
        raise UsageError(
            f"--budget-ms {budget_ms:g} can't be met on this machine: the cheapest configuration "
            f"takes {min(times):.1f} ms. Allow more time, or give a smaller --size"
        )
    return found


def judge_rungs(
    rungs: Sequence[Rung],
    learnable: Callable[[DenseConfig, Preprocess, Path], Learnable],
    folds: NDArray[np.int64],
    margin: float,
    scratch: Path,
) -> list[Rung]:
    """Cross-validate those within the budget, the dearest first.

    Args:
        rungs: timed.
        learnable: computes features, in a folder, of a configuration with every stride.
        folds: (images,).
        margin: a configuration that can't come this close to the best is given up.
        scratch: where features are cached, one size at a time.
    """
    judged: dict[str, Rung] = {rung.name: rung for rung in rungs}
    best: NDArray[np.float64] | None = None
    best_ap = -1.0
    by_size: dict[tuple[int, int], list[Rung]] = {}
    for rung in rungs:
        if not rung.note:
            by_size.setdefault((rung.spec.width, rung.spec.height), []).append(rung)
    for some in by_size.values():
        longest = max(some, key=lambda rung: len(rung.config.strides))
        with TemporaryDirectory(dir=scratch, prefix=".features-") as cache:
            data = learnable(longest.config, longest.spec, Path(cache))
            for rung in sorted(some, key=lambda one: -(one.ms or 0.0)):
                logits = _cross_validate(rung, data, folds, best, margin)
                if logits is None:
                    judged[rung.name] = Rung(
                        rung.config, rung.spec, rung.ms, None, "given up: far below the best"
                    )
                    continue
                ap = average_precision(data.labels, logits)
                judged[rung.name] = Rung(rung.config, rung.spec, rung.ms, ap)
                if ap > best_ap:
                    best, best_ap = logits, ap
    return list(judged.values())


def cheapest(rungs: Sequence[Rung], margin: float) -> Rung:
    """The one that takes the least time of those whose AP is within ``margin`` of the best."""
    known = [rung for rung in rungs if rung.ap is not None]
    best = max(rung.ap or 0.0 for rung in known)
    good = [rung for rung in known if (rung.ap or 0.0) >= best - margin]
    return min(good, key=lambda rung: rung.ms or 0.0)


def time_rung(rung: Rung, samples: Sequence[Sample]) -> float:
    config, spec = rung.config, rung.spec
    weights = Path(config.weights) if config.weights else None
    backbone = build_backbone(config.backbone, config.strides, weights)
    inspector = Inspector(backbone, Head(backbone.channels, config.width), config.top_k).eval()
    with TemporaryDirectory(prefix="budget-") as folder:
        graphs = {"fp32": Path(folder) / "fp32.onnx"}
        graphs["fp32"].write_bytes(to_onnx(inspector, spec).SerializeToString())
        if "int8" in config.variants:
            graphs["int8"] = Path(folder) / "int8.onnx"
            frames = fitted(samples[:2], spec)  # ranges don't change the time
            quantize(graphs["fp32"], graphs["int8"], frames, Quantization())
        times = time_graphs(graphs, spec, runs=_RUNS, quantile=_QUANTILE)
    return min(ms for by_provider in times.values() for ms in by_provider.values())


def _cross_validate(
    rung: Rung,
    data: Learnable,
    folds: NDArray[np.int64],
    best: NDArray[np.float64] | None,
    margin: float,
) -> NDArray[np.float64] | None:
    """Out-of-fold logits (images,), or None where it was given up."""
    config = rung.config
    maps = data.features.maps[: len(config.strides)]
    part = Learnable(Features(maps), data.labels, data.targets, data.drawn)
    logits = np.zeros(len(folds))
    seen = np.zeros(len(folds), bool)
    with progress(rung.name, config.folds * config.epochs) as advance:
        for fold, (learn, held) in enumerate(held_out(folds)):
            head = fit_head(config, part, learn, config.seed + fold, lambda *_: advance(""))
            logits[held] = evaluate(part, head, held, config.top_k).logits
            seen[held] = True
            if best is not None and fold + 1 >= _FOLDS:
                reference = average_precision(data.labels[seen], best[seen])
                here = average_precision(data.labels[seen], logits[seen])
                if here < reference - margin - _SLACK:
                    return None
    return logits
