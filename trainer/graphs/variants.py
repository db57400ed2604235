"""Make INT8 and FP16 beside FP32, and let into the bundle what keeps its accuracy.

A model that learned from every image has none left to be judged on. So the folds' models are
converted too, each with ranges from the images that it learned from, and judged on those that it
did not; the model that ships is then converted by the same settings, and its scores of all images
are held against those of its own FP32.

Each execution provider rounds 8 bits in its own places. So a variant is held against FP32 on every
provider that this machine has: on the CPU's, which every line PC has, it must keep the accuracy to
be in the bundle, and where else it does not, the bundle says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from edge_agent.types.target import CPU
from trainer.graphs.elsewhere import other_providers, scores_elsewhere
from trainer.graphs.evaluate import judge, open_graph
from trainer.graphs.gate import compare_scores, decide_variant
from trainer.graphs.golden import WIDEST
from trainer.graphs.half import halve
from trainer.graphs.latency import time_graphs
from trainer.graphs.made import Check, Made
from trainer.graphs.prove import judge_held_out
from trainer.graphs.quantize import IMAGES, Quantization, choose_images, quantize
from trainer.graphs.sensitivity import dearest, quantizable_blocks, scan
from trainer.progress import progress
from trainer.stats.crossval import held_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edge_agent.bundle import Decision, Preprocess
    from trainer.config import Aim, Calibrator, RunConfig
    from trainer.data.framefile import FrameStore
    from trainer.graphs.gate import Comparison

_SCANNED = 6
"""Training images for the scan: it sorts blocks, and that takes few."""
_CPUS = (CPU, "openvino:CPU")
SHARES = (0.5, 0.8)
"""Of what all blocks cost together: so much is avoided by leaving the dearest in float32."""


@dataclass(frozen=True)
class Proven:
    """FP32 as a run left it: what variants are made from and held against."""

    fold_models: tuple[Path, ...]
    model: Path
    """The one that ships."""
    frames: FrameStore
    """All images that the run learned from."""
    labels: NDArray[np.bool_]
    folds: NDArray[np.int64]
    """(images,): the fold in which each is held out."""
    held_out: NDArray[np.float64]
    """(images,): FP32's out-of-fold scores."""
    shipped: NDArray[np.floating]
    """(images,): FP32's scores with the model that ships."""
    threshold: float
    seed: int
    aim: Aim | None = None
    """The rule that a variant's own threshold is chosen by; None: all have FP32's."""

    def decide(self, scores: NDArray[np.float64]) -> tuple[Decision | None, Comparison]:
        """A variant's own decision, by its out-of-fold scores, and what comes of it."""
        if self.aim is None:
            return None, compare_scores(self.labels, self.held_out, scores, self.threshold)
        groups = [sample.group for sample in self.frames.samples]
        return decide_variant(self.labels, self.held_out, scores, self.threshold, groups, self.aim)


def make_variants(proven: Proven, config: RunConfig, folder: Path) -> list[Made]:
    """FP32 and what else ``config`` asks for, in that order; files lie in ``folder``."""
    made = [fp32(proven)]
    elsewhere = other_providers() if len(config.variants) > 1 else ()
    if "int8" in config.variants:
        calibrator, seven_bit = config.calibrator, config.seven_bit
        made.append(make_int8(proven, folder, calibrator, elsewhere, seven_bit=seven_bit))
    if "fp16" in config.variants:
        made.append(make_fp16(proven, folder / "fp16", elsewhere))
    return made


def time_variants(variants: Sequence[Made], spec: Preprocess) -> dict[str, dict[str, float]]:
    """Milliseconds as `time_graphs` takes them, but of no variant where it may not be used."""
    gates = {one.name: one.gate for one in variants}
    times = time_graphs({one.name: one.file for one in variants}, spec)
    return {
        name: {provider: ms for provider, ms in taken.items() if not gates[name].get(provider)}
        for name, taken in times.items()
    }


def fastest(times: Mapping[str, Mapping[str, float]]) -> str:
    """Of `time_variants`, the variant that a station like this machine would run.

    As the agent's `list_candidates`: FP16 is for GPUs and NPUs, no CPU computes in it.
    """
    best = {
        name: min(ms.values())
        for name, taken in times.items()
        if (ms := {on: t for on, t in taken.items() if name != "fp16" or on not in _CPUS})
    }
    return min(best, key=best.__getitem__, default="fp32")


def fp32(proven: Proven) -> Made:
    """FP32 itself, which differs from itself in nothing."""
    held, shipped = (
        replace(compare_scores(proven.labels, scores, scores, proven.threshold), fault="")
        for scores in (proven.held_out, proven.shipped)
    )
    checks = {CPU: Check(held, proven.held_out, shipped)}
    return Made("fp32", "fp32", proven.model, checks, "as trained")


def make_fp16(proven: Proven, folder: Path, elsewhere: Sequence[str] = ()) -> Made:
    """FP16; the CPU provider, which computes it, is not what it is for."""

    def convert(_: NDArray[np.int64], model: Path, out: Path) -> None:
        halve(model, out)

    return _judge(proven, folder, "fp16", "half precision", convert, elsewhere)


def make_int8(
    proven: Proven,
    folder: Path,
    calibrator: Calibrator | Literal["auto"],
    elsewhere: Sequence[str] = (),
    *,
    seven_bit: bool,
) -> Made:
    """INT8 by the first settings that pass the gate everywhere, or else those that came closest.

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
            quantize(model, out, proven.frames.each(chosen), how)

        target = folder / _describe(settings).replace(" ", "-")
        made = _judge(proven, target, "int8", _describe(settings), convert, elsewhere)
        if best is None or _rank(made) < _rank(best):
            best = made
        if not any(made.gate.values()):
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
    frames = list(proven.frames.each(chosen))
    model = proven.fold_models[0]
    with progress("looking for what INT8 costs", len(quantizable_blocks(model))) as advance:
        costs = scan(model, frames, plain, advance)
    for share in SHARES:
        yield replace(plain, in_float=dearest(costs, share))


def _rank(made: Made) -> tuple[bool, int, float]:
    """The less, the better: in the bundle at all, on more providers, with more of the AP."""
    return bool(made.fault), sum(map(bool, made.gate.values())), made.held_out.ap_fall


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
    elsewhere: Sequence[str],
) -> Made:
    """Convert and judge the folds' models, and if they pass, the one that ships; then elsewhere."""
    folder.mkdir(parents=True, exist_ok=True)
    everything = np.arange(len(proven.labels))
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
    judged = judge_held_out(files, proven.frames, proven.folds)
    decision, held = proven.decide(judged.scores)
    own = decision.threshold if decision else proven.threshold

    def held_to(fp32: NDArray[np.floating], scores: NDArray[np.float64]) -> Comparison:
        return compare_scores(proven.labels, fp32, scores, proven.threshold, own)

    checks = {CPU: Check(held, judged.scores)}
    untried: dict[str, str] = {}
    if not held.fault:
        with progress(f"scoring with {precision}", len(everything)) as advance:
            scored = judge(open_graph(shipped_file), proven.frames.each(), advance)
        shipped = held_to(proven.shipped, scored.scores)
        checks[CPU] = replace(checks[CPU], shipped=shipped, shipped_scores=scored.scores)
        for provider in elsewhere if not shipped.fault else ():
            with progress(f"scoring with {precision} on {provider}", 1) as advance:
                check = _check_elsewhere(
                    proven, files, shipped_file, provider, scored.scores, held_to
                )
                advance("")
            if isinstance(check, str):
                untried[provider] = check
            else:
                checks[provider] = check
    return Made(precision, precision, shipped_file, checks, how, decision, untried)


def _check_elsewhere(
    proven: Proven,
    files: Sequence[Path],
    shipped_file: Path,
    provider: str,
    here: NDArray[np.float64],
    held_to: Callable[[NDArray[np.floating], NDArray[np.float64]], Comparison],
) -> Check | str:
    """The same on another provider; or why it can't run there, as a station will see too.

    ``here`` are the shipped model's scores on the CPU provider; ``held_to`` compares with FP32's.
    """
    helds = [held for _, held in held_out(proven.folds)]
    jobs = [*zip(files, helds, strict=True), (shipped_file, np.arange(len(proven.labels)))]
    found = scores_elsewhere(provider, proven.frames.bare, jobs)
    if isinstance(found, str):
        return found
    *parts, shipped = found
    scores = np.concatenate(parts)[np.argsort(np.concatenate(helds))]
    far = float(np.abs(shipped - here).max())
    return Check(
        held_out=held_to(proven.held_out, scores),
        scores=scores,
        shipped=held_to(proven.shipped, shipped),
        shipped_scores=shipped,
        far=f"a score is {far:.2f} from the CPU provider's, {WIDEST:g} may be"
        if far > WIDEST
        else "",
    )
