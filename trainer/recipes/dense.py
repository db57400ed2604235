"""The ``dense`` recipe: a frozen ImageNet backbone, a small head trained on its cached maps.

Every image goes through the backbone once; what is trained, fold by fold, is a head that says
of each place how likely it is a defect. The image's score is the mean of the largest places.

The bundle gets one head, trained on all images for as many epochs as the folds' heads were. Its
threshold comes from the out-of-fold scores: of images that the model in question did not see.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edge_agent.bundle import Preprocess
from trainer.data import make_folds
from trainer.data.framefile import store_frames
from trainer.data.frames import choose_size, survey, target_map
from trainer.data.tiny import warn_of_tiny
from trainer.graphs.export import to_onnx, with_head
from trainer.graphs.prove import torch_scores
from trainer.networks.backbones import build_backbone
from trainer.networks.checkpoint import FILE, save_model
from trainer.networks.features import compute_features
from trainer.networks.fit import Learnable, evaluate, fit_head, loss_on
from trainer.networks.model import Inspector
from trainer.progress import progress
from trainer.recipes.budget import cheapest, judge_rungs, ladder, time_rungs
from trainer.run.finish import RecipeResult, finish
from trainer.run.folder import Stopwatch, write_json
from trainer.stats.crossval import held_out
from trainer.stats.metrics import average_precision

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trainer.config import DenseConfig
    from trainer.data import HeldBack, LearningSet
    from trainer.data.framefile import FrameStore
    from trainer.networks.model import Backbone, Head


def train(config: DenseConfig, dataset: LearningSet, test: HeldBack, run: Path) -> dict[str, Any]:
    """Train, prove, calibrate and write everything of a run; return what is in metrics.json.

    Args:
        config: what the one who trains asked for.
        dataset: all that is learned from.
        test: the test split, judged once, by the finished bundle.
        run: an empty folder.

    Raises:
        UsageError: the weights can't be had, or the cache does not fit on the disk.
        DatasetError: an image can't be read any more, or there are too few for the folds.
        ParityError: an exported graph's score differs from PyTorch's.
    """
    watch = Stopwatch()
    samples = dataset.samples
    labels = np.array([sample.defect for sample in samples], bool)
    folds = np.array(make_folds(samples, config.folds, config.seed))
    with watch.step("survey"):
        config, spec = settle(config, dataset)
    search: dict[str, Any] = {}
    if config.budget_ms is not None:
        with watch.step("budget"):
            config, spec, search = search_cheapest(config, spec, dataset, folds, run)
    warn_of_tiny(samples, spec)
    backbone = _backbone(config)
    write_json(run / "config.json", config.model_dump(mode="json"))

    with TemporaryDirectory(dir=run, prefix=".work-") as work:
        with watch.step("frames"):
            frames = store_frames(samples, spec, Path(work) / "frames")
        with TemporaryDirectory(dir=work) as cache:
            with watch.step("features"):
                data = learnable(config, frames, labels, backbone, Path(cache))
            with watch.step("fit"):
                heads, final, history = fit_all(config, data, folds)
        write_json(run / "history.json", history)
        save_model(run / FILE, config, backbone, final, heads)
        with watch.step("export"):
            model = to_onnx(Inspector(backbone, final, config.top_k), spec)
            files = [Path(work) / f"{n}.onnx" for n in range(config.folds + 1)]
            for head, file in zip([*heads, final], files, strict=True):
                file.write_bytes(with_head(model, head).SerializeToString(deterministic=True))
            expected = torch_scores(backbone, [*heads, final], config.top_k, frames)
        result = RecipeResult(
            config=config,
            dataset=dataset,
            test=test,
            folds=folds,
            frames=frames,
            fold_models=tuple(files[:-1]),
            model=files[-1],
            expected=expected,
            targets=data.targets,
            search=search,
        )
        return finish(run, result, watch)


def settle(config: DenseConfig, dataset: LearningSet) -> tuple[DenseConfig, Preprocess]:
    """Decide from the images what was left open."""
    seen = survey(dataset.samples)
    size = config.size or choose_size(dataset.width, dataset.height)
    fit = config.fit or ("stretch" if seen.uniform else "letterbox")
    spec = Preprocess(
        width=size[0],
        height=size[1],
        colour="grey" if seen.grey else "rgb",
        fit=fit,
        interpolation=config.interpolation,
    )
    cells = (size[0] // config.strides[0]) * (size[1] // config.strides[0])
    top_k = min(config.top_k, cells)
    return config.model_copy(update={"size": size, "fit": fit, "top_k": top_k}), spec


def search_cheapest(
    config: DenseConfig,
    spec: Preprocess,
    dataset: LearningSet,
    folds: NDArray[np.int64],
    run: Path,
) -> tuple[DenseConfig, Preprocess, dict[str, Any]]:
    """Replace size, strides and width by the cheapest that do; and say what was tried.

    Raises:
        UsageError: nothing is within the budget.
    """
    assert config.budget_ms is not None  # noqa: S101  for mypy
    samples = dataset.samples
    labels = np.array([sample.defect for sample in samples], bool)

    def data_of(config: DenseConfig, spec: Preprocess, cache: Path) -> Learnable:
        frames = store_frames(samples, spec, cache / "frames")
        return learnable(config, frames, labels, _backbone(config), cache)

    timed = time_rungs(ladder(config, spec), samples, config.budget_ms)
    judged = judge_rungs(timed, data_of, folds, config.margin, run)
    chosen = cheapest(judged, config.margin)
    search = {
        "budget": {
            "ms": config.budget_ms,
            "margin": config.margin,
            "tried": [rung.figures() for rung in judged],
        },
        "frontier": [
            {"name": rung.name, "ms": rung.ms, "ap": rung.ap, "chosen": rung.name == chosen.name}
            for rung in judged
            if rung.ap is not None
        ],
    }
    # Without the budget: with these settings, the run is made again without a search.
    return chosen.config.model_copy(update={"budget_ms": None}), chosen.spec, search


def _backbone(config: DenseConfig) -> Backbone:
    weights = Path(config.weights) if config.weights else None
    backbone = build_backbone(config.backbone, config.strides, weights)
    backbone.to(memory_format=torch.channels_last)
    return backbone


def learnable(
    config: DenseConfig,
    frames: FrameStore,
    labels: NDArray[np.bool_],
    backbone: Backbone,
    cache: Path,
) -> Learnable:
    """What the heads learn from: the backbone's maps of every image, and where its defect is."""
    samples, spec = frames.samples, frames.spec
    with progress("computing features", len(samples)) as advance:
        features = compute_features(frames.pixels(), backbone, spec, cache, config.views, advance)
    targets = np.stack([target_map(sample, spec, config.strides[0]) for sample in samples])
    # Without a single mask even the ok images' maps are left alone: the image's label says it.
    masks = bool(targets.any())
    drawn = np.array([masks and (not s.defect or s.mask is not None) for s in samples], bool)
    return Learnable(features, labels, targets, drawn)


def fit_all(
    config: DenseConfig, data: Learnable, folds: NDArray[np.int64]
) -> tuple[list[Head], Head, dict[str, Any]]:
    """Train a head a fold, then the one on everything; with the losses by epoch."""
    everything = np.arange(len(folds))
    history: dict[str, Any] = {"folds": [], "final": []}
    heads = []
    with progress("training", (config.folds + 1) * config.epochs) as advance:
        for fold, (learn, held) in enumerate(held_out(folds)):
            epochs: list[dict[str, float]] = []
            history["folds"].append(epochs)

            def note(
                epoch: int,
                loss: float,
                head: Head,
                fold: int = fold,
                held: NDArray[np.int64] = held,
                epochs: list[dict[str, float]] = epochs,
            ) -> None:
                outputs = evaluate(data, head, held, config.top_k)
                line = {
                    "epoch": epoch,
                    "loss": loss,
                    "validation_loss": loss_on(config, data, outputs, held),
                    "validation_ap": average_precision(data.labels[held], outputs.logits),
                }
                epochs.append(line)
                advance(f"fold {fold + 1}/{config.folds}, AP {line['validation_ap']:.3f}")

            heads.append(fit_head(config, data, learn, config.seed + fold, note))

        def note_final(epoch: int, loss: float, _: Head) -> None:
            history["final"].append({"epoch": epoch, "loss": loss})
            advance(f"on all images, loss {loss:.3f}")

        final = fit_head(config, data, everything, config.seed + config.folds, note_final)
    return heads, final, history
