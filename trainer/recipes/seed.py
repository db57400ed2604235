"""The ``seed`` recipe: what this project began as, to compare with.

EfficientNet-B0 with ImageNet weights, images stretched to 224 x 224, only the last layer trained:
weighted random sampling, unified focal loss, AdamW at 1e-4, 5 folds. The bundle ships the model of
the fold with the best F1. (The dense recipe ships one that learned from everything.)

What is frozen gives the same features for an image every time, so they are computed once:
training takes seconds and ends where the slow way ends. With ``unfreeze`` there is nothing to
cache but the fitted images, and a GPU, or several, is what it takes.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edge_agent.bundle import Preprocess
from trainer.config import SeedConfig, read_config
from trainer.data import DatasetError, fingerprint, make_folds
from trainer.data.framefile import open_frames, store_frames
from trainer.data.frames import survey, target_map
from trainer.data.tiny import warn_of_tiny
from trainer.errors import UsageError
from trainer.graphs.export import to_onnx, with_weights
from trainer.networks.backbones import build_classifier
from trainer.networks.checkpoint import FILE, save_classifier
from trainer.networks.classifier import STRIDE, Activation, LastLayer, logit_state, pooled
from trainer.networks.team import join
from trainer.progress import progress
from trainer.recipes.finetune import Task, train_fold
from trainer.run.finish import RecipeResult, finish
from trainer.run.folder import Stopwatch, begin, write_json
from trainer.stats.crossval import held_out

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from trainer.data import HeldBack, LearningSet, Sample
    from trainer.networks.classifier import Classifier
    from trainer.networks.team import Team
    from trainer.recipes.finetune import Epoch, Learned

    Part: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]

PATIENCE = 5
"""Where the backbone is trained too: it learns by heart in a few epochs."""
_BATCH = 4  # images a pass: few enough to stay in the caches of a CPU
_WATCHED = 5
"""One in so many of the images to learn from tells when to stop."""
_FRAMES = ".frames"


@dataclass(frozen=True)
class Folds:
    """What came of training."""

    learned: list[Learned]
    weights: list[dict[str, Tensor]]
    """Of each fold, what was trained, by its name in the whole classifier."""

    @property
    def best(self) -> int:
        """The fold with the best F1 on its own held-out images; of equals the least loss."""
        ends = [fold.end for fold in self.learned]
        ranks = [(end["validation_f1"], -end["validation_loss"]) for end in ends]
        return max(range(len(ranks)), key=ranks.__getitem__)

    def history(self) -> dict[str, Any]:
        """What history.json holds."""
        return {
            "folds": [fold.epochs for fold in self.learned],
            "final": [],
            "kept": [fold.kept for fold in self.learned],
            "shipped_fold": self.best,
        }


def train(config: SeedConfig, dataset: LearningSet, test: HeldBack, run: Path) -> dict[str, Any]:
    """Train, prove, calibrate and write everything of a run; return what is in metrics.json.

    Under torchrun every process calls this; all but the first help with the training alone, and
    get an empty result. A run that was killed goes on from its last epoch when this is called
    again with its folder.

    Args:
        config: what the one who trains asked for.
        dataset: all that is learned from.
        test: the test split, judged once, by the finished bundle.
        run: the folder; empty, or of a run with the same settings that was killed.

    Raises:
        UsageError: the weights can't be had, or the folder is of a run with other settings.
        DatasetError: an image can't be read any more, or there are too few for the folds.
        ParityError: an exported graph's score differs from PyTorch's.
    """
    watch = Stopwatch()
    samples = dataset.samples
    labels = np.array([sample.defect for sample in samples], bool)
    folds = np.array(make_folds(samples, config.folds, config.seed))
    if config.unfreeze is not None and config.patience is None:
        config = config.model_copy(update={"patience": PATIENCE})
    parts = set_aside(config, samples, folds)
    weights = Path(config.weights) if config.weights else None
    with join() as team:
        _check_team(config, team)
        classifier = build_classifier(config.backbone, config.dropout, weights)
        classifier.to(team.device, memory_format=torch.channels_last)
        if team.leads:
            with watch.step("survey"):
                config, spec = settle(config, samples, team)
                begin(config, run)
                warn_of_tiny(samples, spec)
            with watch.step("frames"):
                frames = store_frames(samples, spec, run / _FRAMES)
        team.wait()
        config = _settled(run)
        if not team.leads:
            frames = open_frames(samples, run / _FRAMES)
        pixels = frames.pixels()
        with watch.step("fit"):
            made_for = config.model_dump_json() + fingerprint(dataset)
            frozen = config.unfreeze is None
            inputs: NDArray[Any] = compute_pooled(classifier, pixels, team) if frozen else pixels
            tasks = [Task(inputs, labels, *part) for part in parts]
            trained = fit_all(config, tasks, classifier, team, run, made_for)
        team.wait()
    if not team.leads:
        return {}
    best = trained.best
    write_json(run / "history.json", trained.history())
    classifier.to("cpu")
    _take(classifier, trained.weights[best])
    save_classifier(run / FILE, config, classifier, trained.weights)

    with TemporaryDirectory(dir=run, prefix=".export-") as exports:
        with watch.step("export"):
            files = export_folds(config, classifier, trained, frames.spec, Path(exports))
            expected = torch_scores(config, classifier, trained, inputs, folds)
        result = RecipeResult(
            config=config,
            dataset=dataset,
            test=test,
            folds=folds,
            frames=frames,
            fold_models=tuple(files),
            model=files[best],
            expected=expected,
            targets=np.stack([target_map(sample, frames.spec, STRIDE) for sample in samples]),
        )
        metrics = finish(run, result, watch)
    for fold in range(config.folds):
        _progress_file(run, fold).unlink()
    shutil.rmtree(run / _FRAMES)
    return metrics


def settle(
    config: SeedConfig, samples: Sequence[Sample], team: Team
) -> tuple[SeedConfig, Preprocess]:
    """Decide what was left open."""
    precision = config.precision or ("mixed" if team.device.type == "cuda" else "fp32")
    spec = Preprocess(
        width=config.size[0],
        height=config.size[1],
        colour="grey" if survey(samples).grey else "rgb",
        fit=config.fit,
        interpolation=config.interpolation,
    )
    return config.model_copy(update={"precision": precision}), spec


def fit_all(
    config: SeedConfig,
    tasks: Sequence[Task],
    classifier: Classifier,
    team: Team,
    run: Path,
    made_for: str,
) -> Folds:
    """Train a model a fold, each from the same weights.

    Their inputs are the frames or, where only the last layer is trained, what the trunk makes of
    them.
    """
    classifier.unfreeze(config.unfreeze)
    start = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    done = Folds([], [])
    with progress("training", config.folds * config.epochs) as advance:
        for fold, task in enumerate(tasks):
            seed = config.seed * 1000 + fold
            classifier.load_state_dict(start)
            torch.manual_seed(seed)
            classifier.last = LastLayer(config.dropout).to(team.device)
            network: nn.Module = classifier.last if config.unfreeze is None else classifier

            def note(epoch: int, line: Epoch, fold: int = fold) -> None:
                f1 = line["validation_f1"]
                advance(f"fold {fold + 1}/{config.folds}, epoch {epoch}, F1 {f1:.3f}")

            file = _progress_file(run, fold)
            done.learned.append(train_fold(config, network, task, seed, team, note, file, made_for))
            done.weights.append(
                {
                    name: parameter.detach().cpu().clone()
                    for name, parameter in classifier.named_parameters()
                    if parameter.requires_grad
                }
            )
    return done


def set_aside(
    config: SeedConfig, samples: Sequence[Sample], folds: NDArray[np.int64]
) -> list[Part]:
    """Where there is patience, part from what is learned a fifth that tells when to stop.

    Not the held-out images: a model that was stopped when it was best on them would be judged too
    well by them.

    Returns:
        By fold the images to learn from, those held out, and those that tell when to stop.

    Raises:
        DatasetError: too few groups for that; said of every fold before the first is trained.
    """
    if config.patience is None:
        return [(learn, held, learn[:0]) for learn, held in held_out(folds)]
    parts = []
    for fold, (learn, held) in enumerate(held_out(folds), 1):
        try:
            fifths = np.array(make_folds([samples[i] for i in learn], _WATCHED, config.seed))
        except DatasetError:
            kinds = {(samples[i].group, samples[i].defect) for i in learn}
            defects = sum(defect for _, defect in kinds)
            raise DatasetError(
                f"a fifth of what fold {fold} learns from is set aside to decide when to stop, and "
                f"there are too few groups for that: {defects} with defective images, "
                f"{len(kinds) - defects} with ok ones; it takes {_WATCHED} of each. Add "
                "images, or train the last layer alone, without --unfreeze and --patience"
            ) from None
        parts.append((learn[fifths != 0], held, learn[fifths == 0]))
    return parts


def compute_pooled(
    classifier: Classifier, frames: NDArray[np.uint8], team: Team
) -> NDArray[np.float32]:
    """The frozen trunk's features of every image, averaged over places: (images, 1280)."""
    features = []
    with progress("computing features", len(frames)) as advance, torch.inference_mode():
        for start in range(0, len(frames), _BATCH):
            batch = torch.from_numpy(frames[start : start + _BATCH]).to(team.device)
            features.append(pooled(classifier.maps(batch)).cpu().numpy())
            for _ in batch:
                advance("")
    return np.concatenate(features)


def export_folds(
    config: SeedConfig, classifier: Classifier, trained: Folds, spec: Preprocess, folder: Path
) -> list[Path]:
    """A graph a fold. Where only the last layer differs, it is exchanged in a copy."""
    files = [folder / f"{fold}.onnx" for fold in range(config.folds)]
    model = None
    with progress("exporting", len(files)) as advance:
        for file, weights in zip(files, trained.weights, strict=True):
            _take(classifier, weights)
            if model is None or config.unfreeze is not None:
                model = to_onnx(Activation(classifier).eval(), spec)
            state = {f"logit.{name}": w for name, w in logit_state(classifier.last).items()}
            own = with_weights(model, state)
            file.write_bytes(own.SerializeToString(deterministic=True))
            advance("")
    return files


def torch_scores(
    config: SeedConfig,
    classifier: Classifier,
    trained: Folds,
    inputs: NDArray[Any],
    folds: NDArray[np.int64],
) -> NDArray[np.float32]:
    """What PyTorch says, in full precision: (folds + 1, images), the shipped model's last.

    Of a fold's own model only the images that it had held out; the rest is NaN.
    """
    network: nn.Module = classifier.last if config.unfreeze is None else classifier
    scores = np.full((config.folds + 1, len(inputs)), np.nan, np.float32)
    wanted = [images for _, images in held_out(folds)] + [np.arange(len(inputs))]
    with progress("scoring with PyTorch", 2 * len(inputs)) as advance, torch.inference_mode():
        for row, images in enumerate(wanted):
            _take(classifier, trained.weights[row if row < config.folds else trained.best])
            for start in range(0, len(images), _BATCH):
                some = images[start : start + _BATCH]
                scores[row, some] = torch.sigmoid(network(torch.from_numpy(inputs[some])))
                for _ in some:
                    advance("")
    return scores


def _settled(run: Path) -> SeedConfig:
    """What the leading process settled: the same for all."""
    config = read_config(run / "config.json")
    if not isinstance(config, SeedConfig):
        raise UsageError(f"{run} is of the {config.recipe} recipe: give --out another folder")
    return config


def _check_team(config: SeedConfig, team: Team) -> None:
    if team.size > 1 and config.unfreeze is None:
        raise UsageError(
            "the last layer is trained by one process: give --unfreeze, or no torchrun"
        )
    if config.batch % team.size:
        raise UsageError(f"--batch: {config.batch} can't be shared by {team.size} processes")


def _take(classifier: Classifier, weights: dict[str, Tensor]) -> None:
    classifier.load_state_dict(weights, strict=False)


def _progress_file(run: Path, fold: int) -> Path:
    return run / f"fold-{fold}.pt"
