"""What a run left in its folder, read back for the report. Most of it may be missing."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_agent.bundle import BundleError, Manifest, read_manifest
from trainer.errors import UsageError
from trainer.run.heatmaps import FILE as HEATMAPS
from trainer.run.heatmaps import read_heatmaps

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True)
class RunFiles:
    """A run, as the report needs it. Arrays are in the order of oof.csv."""

    path: Path
    metrics: dict[str, Any]
    config: dict[str, Any]
    history: dict[str, Any]
    command: dict[str, Any]
    """How the run was started; {} where that was not noted."""
    manifest: Manifest | None
    names: tuple[str, ...]
    groups: tuple[str, ...]
    folds: NDArray[np.int64]
    labels: NDArray[np.bool_]
    scores: NDArray[np.float64]
    heatmaps: NDArray[np.uint8] | None
    """(N, h, w), or None where the recipe has none."""

    @property
    def threshold(self) -> float:
        """The calibrated one."""
        return float(self.metrics["pooled"]["threshold"])


def read_run(run: Path) -> RunFiles:
    """Read RUN.

    Raises:
        UsageError: metrics.json or oof.csv is missing, or a file is damaged; it says which.
    """
    metrics = _json(run / "metrics.json")
    if not metrics:
        raise UsageError(
            f"{run} has no metrics.json: give the folder of a finished `trainer train`"
        )
    if not isinstance(metrics.get("pooled"), dict) or "threshold" not in metrics["pooled"]:
        raise UsageError(f"{run / 'metrics.json'} has no pooled figures: train again")
    rows = _rows(run / "oof.csv")
    try:
        scores = np.array([float(row["score"]) for row in rows])
        labels = np.array([bool(int(row["label"])) for row in rows])
        folds = np.array([int(row["fold"]) for row in rows])
        names = tuple(row["image"] for row in rows)
        groups = tuple(row["group"] for row in rows)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{run / 'oof.csv'} is damaged ({error}): train again") from None
    if not rows:
        raise UsageError(f"{run / 'oof.csv'} holds no score: train again")
    heatmaps = read_heatmaps(run / HEATMAPS) if (run / HEATMAPS).exists() else None
    if heatmaps is not None and len(heatmaps) != len(rows):
        raise UsageError(
            f"{run / HEATMAPS} has {len(heatmaps)} heatmaps, oof.csv {len(rows)} images: they are "
            "of different runs"
        )
    return RunFiles(
        path=run,
        metrics=metrics,
        config=_json(run / "config.json"),
        history=_json(run / "history.json"),
        command=_json(run / "command.json"),
        manifest=_manifest(run / "bundle"),
        names=names,
        groups=groups,
        folds=folds,
        labels=labels,
        scores=scores,
        heatmaps=heatmaps,
    )


def shown(name: str) -> str:
    """A file's name as text that can be shown: bytes that are no UTF-8 become question marks."""
    return os.fsencode(name).decode("utf-8", "replace")


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} can't be read: {error}") from None
    if not isinstance(content, dict):
        raise UsageError(f"{file} was not written by `trainer train`")
    return content


def _rows(file: Path) -> list[dict[str, str]]:
    try:
        with file.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
            return list(csv.DictReader(stream))
    except FileNotFoundError:
        raise UsageError(f"{file} is missing: the report is made from the scores in it") from None
    except (OSError, csv.Error) as error:
        raise UsageError(f"{file} can't be read: {error}") from None


def _manifest(bundle: Path) -> Manifest | None:
    if not bundle.exists():
        return None
    try:
        return read_manifest(bundle)
    except BundleError as error:
        raise UsageError(str(error)) from None
