"""Folders as `trainer train` leaves them, made without torch in a moment, with their images."""

from __future__ import annotations

import csv
import io
import json
import os
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from edge_agent.bundle import Preprocess
from tests.bundles import make_bundle
from trainer.run.heatmaps import write_heatmaps
from trainer.stats.metrics import accuracy_at

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from trainer.data import Sample

WIDTH, HEIGHT = 64, 96
MARK = (slice(30, 40), slice(10, 30))


def make_images(
    root: Path, images: int = 40, defects: int = 12, stems: dict[int, bytes] | None = None
) -> None:
    """Images in ``ok`` and ``defect``, the latter with ``masks``; the first ones are defective.

    ``stems`` gives some of the images another name, as bytes: a disk takes anything.
    """
    for folder in ("ok", "defect", "masks"):
        (root / folder).mkdir(parents=True)
    for number in range(images):
        rng = np.random.default_rng(number)
        coarse = Image.fromarray(rng.uniform(90, 200, (12, 8)).astype(np.float32))
        pixels = np.array(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
        file = os.fsdecode((stems or {}).get(number, f"{number:03d}".encode())) + ".png"
        if number < defects:
            pixels[MARK] = 20
            marked = np.zeros((HEIGHT, WIDTH), np.uint8)
            marked[MARK] = 255
            marked[50, : number + 1] = 255  # no two of one size
            (root / "masks" / file).write_bytes(_png(marked))
        folder = "defect" if number < defects else "ok"
        (root / folder / file).write_bytes(_png(pixels.clip(0, 255).astype(np.uint8)))


def _png(pixels: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def make_run(run: Path, scores: dict[str, tuple[str, bool, float]], threshold: float = 0.5) -> None:
    """A run of two folds over images: group, label and score by name."""
    run.mkdir(parents=True)
    names = list(scores)
    groups = [scores[name][0] for name in names]
    labels = np.array([scores[name][1] for name in names])
    values = np.array([scores[name][2] for name in names])
    order = {group: number % 2 for number, group in enumerate(dict.fromkeys(groups))}
    folds = np.array([order[group] for group in groups])
    with (run / "oof.csv").open(
        "w", newline="", encoding="utf-8", errors="surrogateescape"
    ) as stream:
        rows = zip(
            names, groups, folds, labels.astype(int), map(repr, values.tolist()), strict=True
        )
        csv.writer(stream).writerows([["image", "group", "fold", "label", "score"], *rows])
    pooled = accuracy_at(labels, values, threshold).model_dump()
    parts = [accuracy_at(labels[folds == f], values[folds == f], threshold) for f in (0, 1)]
    epochs = [{"epoch": e, "loss": 2 / e, "validation_loss": 2.5 / e} for e in range(1, 6)]
    heatmaps = np.zeros((len(names), HEIGHT // 8, WIDTH // 8), np.float32)
    heatmaps[:, 4, 2] = values
    write_heatmaps(run / "heatmaps.npz", heatmaps)
    for file, content in (
        (
            "metrics.json",
            {
                "pooled": pooled,
                "folds": [part.model_dump() for part in parts],
                "variants": {"fp32": pooled},
                "localised": 1.0,
                "parity": 1e-6,
                "seconds": {"fit": 2.5, "total": 3.0},
            },
        ),
        ("history.json", {"folds": [epochs, epochs], "final": []}),
        ("config.json", {"recipe": "dense", "seed": 7, "size": [WIDTH, HEIGHT], "weights": None}),
        ("command.json", {"command": "trainer train DATA --out RUN", "processors": 2}),
    ):
        (run / file).write_text(json.dumps(content))
    make_bundle(run / "bundle", preprocess=Preprocess(width=WIDTH, height=HEIGHT, colour="grey"))


def scores_for(
    samples: Sequence[Sample], wrong: dict[str, float] | None = None
) -> dict[str, tuple[str, bool, float]]:
    """Good scores for samples, but for those that ``wrong`` gives by name."""
    found = {}
    for place, sample in enumerate(samples):
        right = 0.9 + place / 1000 if sample.defect else 0.02 + place / 1000
        score = (wrong or {}).get(sample.name, right)
        found[sample.name] = (sample.group, sample.defect, score)
    return found
