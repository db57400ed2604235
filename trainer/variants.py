"""Make INT8 and FP16 beside FP32, and let into the bundle what keeps its accuracy.

A model that learned from every image has none left to be judged on. So the folds' models are
converted too, each with ranges from the images that it learned from, and judged on those that it
did not; the model that ships is then converted by the same settings, and its scores of all images
are held against those of its own FP32.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from trainer.crossval import held_out
from trainer.evaluate import judge
from trainer.frames import fitted
from trainer.gate import compare_scores
from trainer.half import halve
from trainer.progress import progress
from trainer.prove import judge_held_out, open_graph
from trainer.quantize import IMAGES, Quantization, choose_images, quantize
from trainer.sensitivity import dearest, quantizable_blocks, scan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edge_agent.bundle import Preprocess
    from trainer.config import Calibrator, RunConfig
    from trainer.data import Sample
    from trainer.gate import Comparison

_SCANNED = 6
"""Training images for the scan: it sorts blocks, and that takes few."""
_SHARES = (0.5, 0.8)
"""Of what all blocks cost together: so much is avoided by leaving the dearest in float32."""


@dataclass(frozen=True)
class Proven:
    """FP32 as a run left it: what variants are made from and held against."""

    fold_models: tuple[Path, ...]
    model: Path
    """The one that ships."""
    spec: Preprocess
    samples: Sequence[Sample]
    labels: NDArray[np.bool_]
    folds: NDArray[np.int64]
    """(images,): the fold in which each is held out."""
    held_out: NDArray[np.float64]
    """(images,): FP32's out-of-fold scores."""
    shipped: NDArray[np.floating]
    """(images,): FP32's scores with the model that ships."""
    threshold: float
    seed: int


@dataclass(frozen=True)
class Made:
    """A variant, whether it passed the gate or not."""

    name: str
    precision: Literal["fp32", "fp16", "int8"]
    file: Path
    held_out: Comparison
    """The folds' models, each on the images that it did not see."""
    shipped: Comparison | None
    """The model that ships, on all images; None where the folds' models failed already."""
    scores: NDArray[np.float64]
    """(images,): out of fold."""
    how: str
    """Settings that led here, in words."""

    @property
    def fault(self) -> str:
        """Why it may not be in the bundle; empty where it may."""
        if self.held_out.fault:
            return f"on held-out images {self.held_out.fault}"
        if self.shipped is not None and self.shipped.fault:
            return f"with the model that ships {self.shipped.fault}"
        return ""

    def figures(self) -> dict[str, Any]:
        """What metrics.json says of it."""
        worst = max(c.max_difference for c in (self.held_out, self.shipped) if c is not None)
        return {
            **self.held_out.accuracy.model_dump(),
            "size": self.file.stat().st_size,
            "max_difference": worst,
            "flips": self.held_out.flips,
            "shipped_flips": None if self.shipped is None else self.shipped.flips,
            "how": self.how,
            "fault": self.fault,
        }


def make_variants(proven: Proven, config: RunConfig, folder: Path) -> list[Made]:
    """FP32 and what else ``config`` asks for, in that order; files lie in ``folder``."""
    made = [fp32(proven)]
    if "int8" in config.variants:
        made.append(make_int8(proven, folder, config.calibrator, seven_bit=config.seven_bit))
    if "fp16" in config.variants:
        made.append(make_fp16(proven, folder / "fp16"))
    return made


def fp32(proven: Proven) -> Made:
    """FP32 itself, which differs from itself in nothing."""
    held, shipped = (
        replace(compare_scores(proven.labels, scores, scores, proven.threshold), fault="")
        for scores in (proven.held_out, proven.shipped)
    )
    return Made("fp32", "fp32", proven.model, held, shipped, proven.held_out, "as trained")


def make_fp16(proven: Proven, folder: Path) -> Made:
    """FP16, judged on the CPU provider, which computes it but is not what it is for."""
    return _judge(proven, folder, "fp16", "half precision", lambda _, model, out: halve(model, out))


def make_int8(
    proven: Proven, folder: Path, calibrator: Calibrator | Literal["auto"], *, seven_bit: bool
) -> Made:
    """INT8 by the first settings that pass the gate, or else those that came closest.

    ``auto`` tries min-max, then percentile, and then min-max with the dearest blocks in float32;
    a named calibrator is tried alone, and then with blocks in float32.
    """
    best: Made | None = None
    for settings in _attempts(proven, calibrator, seven_bit=seven_bit):

        def convert(
            learn: NDArray[np.int64], model: Path, out: Path, how: Quantization = settings
        ) -> None:
            count = IMAGES[how.calibrator]
            chosen = choose_images(proven.labels, learn, count, proven.seed)
            images = [proven.samples[image] for image in chosen]
            quantize(model, out, fitted(images, proven.spec), how)

        target = folder / _describe(settings).replace(" ", "-")
        made = _judge(proven, target, "int8", _describe(settings), convert)
        if best is None or not made.fault or made.held_out.ap_fall < best.held_out.ap_fall:
            best = made
        if not made.fault:
            break
    assert best is not None  # noqa: S101  there is at least one attempt
    return best


def _attempts(
    proven: Proven, calibrator: Calibrator | Literal["auto"], *, seven_bit: bool
) -> Iterator[Quantization]:
    names: tuple[Calibrator, ...] = (
        ("minmax", "percentile") if calibrator == "auto" else (calibrator,)
    )
    for name in names:
        yield Quantization(name, seven_bit)
    # The scan uses images that the first fold's model learned from, and none that judge it.
    plain = Quantization(names[0], seven_bit)
    learn, _ = held_out(proven.folds)[0]
    chosen = choose_images(proven.labels, learn, _SCANNED, proven.seed)
    frames = list(fitted([proven.samples[image] for image in chosen], proven.spec))
    model = proven.fold_models[0]
    with progress("looking for what INT8 costs", len(quantizable_blocks(model))) as advance:
        costs = scan(model, frames, plain, advance)
    for share in _SHARES:
        yield replace(plain, in_float=dearest(costs, share))


def _describe(settings: Quantization) -> str:
    words: list[str] = [settings.calibrator]
    if settings.seven_bit:
        words.append("7 bit")
    if settings.in_float:
        words.append(f"{len(settings.in_float)} blocks in float")
    return " ".join(words)


def _judge(
    proven: Proven,
    folder: Path,
    precision: Literal["fp16", "int8"],
    how: str,
    convert: Callable[[NDArray[np.int64], Path, Path], None],
) -> Made:
    """Convert and judge the folds' models, and if they pass, the one that ships."""
    folder.mkdir(parents=True, exist_ok=True)
    everything = np.arange(len(proven.samples))
    learned = [learn for learn, _ in held_out(proven.folds)]
    files = [folder / f"fold{fold}.onnx" for fold in range(len(learned))]
    shipped_file = folder / "shipped.onnx"
    with progress(f"making {precision} ({how})", len(files) + 1) as advance:
        for learn, model, file in zip(
            [*learned, everything],
            [*proven.fold_models, proven.model],
            [*files, shipped_file],
            strict=True,
        ):
            convert(learn, model, file)
            advance("")
    judged = judge_held_out(files, proven.samples, proven.folds, proven.spec)
    held = compare_scores(proven.labels, proven.held_out, judged.scores, proven.threshold)
    made = Made(precision, precision, shipped_file, held, None, judged.scores, how)
    if held.fault:
        return made
    with progress(f"scoring with {precision}", len(everything)) as advance:
        scored = judge(open_graph(shipped_file), proven.samples, proven.spec, advance)
    shipped = compare_scores(proven.labels, proven.shipped, scored.scores, proven.threshold)
    return replace(made, shipped=shipped)
