"""PyTorch beside every variant on every provider of this machine, over one data set.

Each is measured in a process of its own, one after the other, in several rounds whose order
changes, so that a slow moment of the machine does not fall on the same one every time.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_agent.bundle import open_bundle
from edge_agent.engine.runtime.inventory import take_inventory
from trainer.apart import apart
from trainer.errors import UsageError
from trainer.graphs.contender import Contender, Measured, measure
from trainer.graphs.gate import compare_scores
from trainer.stats.metrics import accuracy_at

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from edge_agent.bundle import Accuracy
    from trainer.data import Sample

TIMED = 100
"""Images in the rounds after the first, which judges all."""


@dataclass(frozen=True)
class Row:
    """One contender's figures; all None but the fault where it could not run."""

    name: str
    fault: str = ""
    accuracy: Accuracy | None = None
    max_difference: float | None = None
    """Of a score to PyTorch eager's."""
    flips: int | None = None
    """Verdicts, each by its own threshold, that differ from PyTorch eager's."""
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    images_per_second: float | None = None
    peak_mb: float | None = None

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {**asdict(self), "accuracy": self.accuracy and self.accuracy.model_dump()}


def compare(
    run: Path,
    samples: Sequence[Sample],
    advance: Callable[[str], None],
    *,
    bundle: Path,
    threads: int = 1,
    rounds: int = 3,
) -> list[Row]:
    """Measure every contender; the first row is PyTorch eager's.

    Args:
        run: what `trainer train` wrote.
        samples: the images.
        advance: called after each measurement, of which there are ``rounds`` a contender.
        bundle: its bundle, or another one made from it.
        threads: for one inference; 0: one a core.
        rounds: times are medians over so many.

    Raises:
        UsageError: PyTorch itself can't run: there is nothing to compare with.
    """
    every = contenders(bundle)
    found: dict[str, list[Measured]] = {one.name: [] for one in every}
    faults: dict[str, str] = {}
    for turn in range(rounds):
        shift = turn * len(every) // rounds
        some = samples if turn == 0 else samples[:TIMED]
        for one in [*every[shift:], *every[:shift]]:
            if one.name not in faults:
                answer = apart(measure, one, run, bundle, some, threads)
                if isinstance(answer, Measured):
                    found[one.name].append(answer)
                else:
                    faults[one.name] = answer
            advance(one.name)
    eager = every[0].name
    if eager in faults:
        raise UsageError(f"{run}: {eager} can't run: {faults[eager]}")
    manifest = open_bundle(bundle, graphs=False).manifest
    threshold = manifest.decision.threshold
    reference = np.array(found[eager][0].scores)
    labels = np.array([sample.defect for sample in samples], bool)
    rows = []
    for one in every:
        if one.name in faults:
            rows.append(Row(one.name, faults[one.name]))
            continue
        scores = np.array(found[one.name][0].scores)
        own = manifest.decision_of(one.variant).threshold if one.variant else threshold
        beside = compare_scores(labels, reference, scores, threshold, own)
        times = np.array([_times(measured) for measured in found[one.name]])
        p50, p95, p99, mean = np.median(times, axis=0)
        peaks = [measured.peak_mb for measured in found[one.name] if measured.peak_mb is not None]
        rows.append(
            Row(
                name=one.name,
                accuracy=accuracy_at(labels, scores, own),
                max_difference=beside.max_difference,
                flips=beside.flips,
                p50_ms=float(p50),
                p95_ms=float(p95),
                p99_ms=float(p99),
                images_per_second=1e3 / float(mean),
                peak_mb=max(peaks, default=None),
            )
        )
    return rows


def contenders(bundle: Path) -> list[Contender]:
    """PyTorch in two ways, and every variant on every provider that this machine offers."""
    offered = take_inventory().offered
    variants = open_bundle(bundle).manifest.variants
    onnx = [Contender("onnx", one.name, provider) for one in variants for provider in offered]
    return [Contender("eager"), Contender("compiled"), *onnx]


def table(rows: Sequence[Row]) -> str:
    """The rows as text; those that could not run come last, with the reason."""
    head = ["", "accuracy", "AP", "F1", "max diff", "flips", "p50 ms", "p95", "p99", "img/s", "MB"]
    lines = [head, *(_cells(row) for row in rows if row.accuracy is not None)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    widths[0] = max(len(row.name) for row in rows)
    texts = [
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in lines
    ]
    texts += [
        f"{row.name.ljust(widths[0])}  not measured: {row.fault}" for row in rows if row.fault
    ]
    return "\n".join(text.rstrip() for text in texts)


def _cells(row: Row) -> list[str]:
    figures = row.accuracy
    assert figures is not None  # noqa: S101  for mypy
    return [
        *(row.name, f"{figures.accuracy:.4f}", f"{figures.ap:.4f}", f"{figures.f1:.4f}"),
        *(f"{row.max_difference:.1e}", f"{row.flips}", f"{row.p50_ms:.1f}"),
        *(f"{row.p95_ms:.1f}", f"{row.p99_ms:.1f}", f"{row.images_per_second:.1f}"),
        "" if row.peak_mb is None else f"{row.peak_mb:.0f}",
    ]


def _times(measured: Measured) -> tuple[float, float, float, float]:
    """Milliseconds: p50, p95, p99, mean."""
    milliseconds = 1e3 * np.array(measured.seconds)
    p50, p95, p99 = np.percentile(milliseconds, (50, 95, 99))
    return float(p50), float(p95), float(p99), float(milliseconds.mean())
