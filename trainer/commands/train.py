"""``trainer train``: from labelled images to a bundle."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.system.text import say
from trainer.commands.figures import (
    headline,
    line_of,
    over_budget,
    review_of,
    variant_lines,
    warnings_of,
)
from trainer.commands.options import (
    AIM,
    VARIANTS,
    add_aim,
    add_limit,
    add_variants,
    given,
    size_of,
    whole_numbers,
)
from trainer.commands.summarise import summarise_data

if TYPE_CHECKING:
    import argparse

    from edge_agent.system.arguments import Subcommands
    from trainer.config import RunConfig
    from trainer.data import HeldBack, LearningSet


_SETTINGS = (
    *("recipe", "name", "version", "notice", "seed", "folds", *AIM),
    *VARIANTS,
    *("backbone", "weights", "size", "fit", "epochs", "batch", "learning_rate"),
    *("strides", "views", "width", "top_k", "budget_ms", "margin"),
    *("unfreeze", "patience", "precision", "dropout"),
    *("focal_weight", "focal_delta", "focal_gamma"),
)


def add(commands: Subcommands) -> None:
    """Its options."""
    parser = commands.add_parser("train", help="train, cross-validate and write a bundle")
    parser.set_defaults(carry_out=train)
    parser.add_argument("data", type=Path, metavar="DATA", help="a folder of labelled images")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="RUN", help="new folder for the run"
    )
    parser.add_argument(
        "--recipe",
        choices=["dense", "seed"],
        default="dense",
        help="dense (default): scores and heatmaps, the more accurate; "
        "seed: a plain classifier, for comparison",
    )
    parser.add_argument("--folds", type=int, help="folds of the cross-validation (default: 5)")
    parser.add_argument("--seed", type=int, help="seed of the random numbers (default: 0)")
    parser.add_argument(
        "--name", help="name of the bundle: the product (default: the name of the folder DATA)"
    )
    parser.add_argument(
        "--version",
        metavar="X.Y.Z",
        help="version of the bundle (default: 1.0.0, or the next after those beside RUN)",
    )
    parser.add_argument("--notice", help="a text to show with the bundle, such as a licence")
    add_limit(parser)
    add_aim(parser)
    add_variants(parser)
    _add_of_both(parser)
    _add_of_dense(parser)
    _add_of_seed(parser)


def _add_of_both(parser: argparse.ArgumentParser) -> None:
    both = parser.add_argument_group("network and training, both recipes")
    both.add_argument(
        "--backbone",
        choices=["efficientnet_lite0", "efficientnet_b0"],
        help="pretrained network (default: efficientnet_lite0; seed: efficientnet_b0)",
    )
    both.add_argument(
        "--weights", metavar="FILE", help="weights of the backbone (default: ImageNet)"
    )
    both.add_argument(
        "--size",
        type=size_of,
        metavar="WxH",
        help="input size (default: chosen from the images; seed: 224x224)",
    )
    both.add_argument(
        "--fit",
        choices=["stretch", "letterbox", "crop"],
        help="how images become the input size (default: chosen from the images; seed: stretch)",
    )
    both.add_argument("--epochs", type=int, help="passes over the images (default: 20; seed: 200)")
    both.add_argument("--batch", type=int, help="images per step (default: 16; seed: 8)")
    both.add_argument("--learning-rate", type=float, help="(default: 0.001; seed: 0.0001)")


def _add_of_dense(parser: argparse.ArgumentParser) -> None:
    dense = parser.add_argument_group("dense recipe only")
    dense.add_argument(
        "--strides", type=whole_numbers, help="feature maps to use (default: 8,16,32)"
    )
    dense.add_argument("--width", type=int, help="channels of the head (default: 32)")
    dense.add_argument(
        "--top-k",
        type=int,
        help="strongest places of the heatmap that make the score (default: 16)",
    )
    dense.add_argument(
        "--budget-ms",
        type=float,
        metavar="MS",
        help="choose size, strides and width: the fastest that are as good as the best within "
        "this time per inference, in milliseconds on this machine",
    )
    dense.add_argument(
        "--margin", type=float, help="AP that --budget-ms may lose for speed (default: 0.005)"
    )
    dense.add_argument(
        "--views",
        type=int,
        help="1: images as they are, 2: also mirrored, 4: all flips (default: 4)",
    )


def _add_of_seed(parser: argparse.ArgumentParser) -> None:
    seed = parser.add_argument_group("seed recipe only")
    seed.add_argument(
        "--focal-weight", type=float, help="lambda of the unified focal loss (default: 0.5)"
    )
    seed.add_argument(
        "--focal-delta", type=float, help="delta of the unified focal loss (default: 0.6)"
    )
    seed.add_argument(
        "--focal-gamma", type=float, help="gamma of the unified focal loss (default: 0.5)"
    )
    seed.add_argument("--dropout", type=float, help="dropout before the last layer (default: 0.2)")
    seed.add_argument(
        "--unfreeze",
        choices=["stage7", "all"],
        help="also train the backbone: its last stage, or all of it (needs a GPU; torchrun uses "
        "several)",
    )
    seed.add_argument(
        "--patience",
        type=int,
        help="stop after this many epochs without a better F1 on images set aside "
        "(default: never; with --unfreeze: 5)",
    )
    seed.add_argument(
        "--precision",
        choices=["fp32", "mixed"],
        help="arithmetic of the training (default: mixed on a GPU, fp32 on a CPU)",
    )
    seed.add_argument("--resume", action="store_true", help="continue an interrupted RUN")


def train(arguments: argparse.Namespace) -> int:
    """Cross-validate, fit, calibrate, export, prove."""
    from edge_agent.bundle import look_at_bundle
    from trainer.config import run_config
    from trainer.data import hold_back, open_dataset
    from trainer.errors import UsageError
    from trainer.report import write_report
    from trainer.run.folder import make_run, resume_run, write_command, write_json

    named, notes = _named(arguments)
    config = run_config({**given(arguments, _SETTINGS), **named})
    if arguments.resume and config.recipe != "seed":
        raise UsageError("--resume: is an option of the seed recipe, not of this one")
    if os.environ.get("WORLD_SIZE", "1") != "1" and config.recipe != "seed":
        raise UsageError("torchrun needs --recipe seed --unfreeze: this recipe runs in one process")
    dataset = open_dataset(arguments.data, folds=config.folds, max_pixels=arguments.max_pixels)
    learned, test = hold_back(dataset)
    if os.environ.get("RANK", "0") != "0":  # under torchrun: the first one does all but training
        _recipe(config, learned, test, arguments.out)
        return 0
    if arguments.resume:
        resume_run(arguments.out)
    else:
        make_run(arguments.out)
    for note in notes:
        say(f"note: {note}", stream=sys.stderr)
    write_command(arguments.out, arguments.line)
    summary = summarise_data(dataset)
    write_json(arguments.out / "dataset.json", summary.as_json())
    metrics = _recipe(config, learned, test, arguments.out)
    for line in headline(metrics):
        say(line)
    for warning in warnings_of(metrics):
        say(f"trainer train: {warning}", stream=sys.stderr)
    if metrics["localised"] is not None:
        say(f"localised     {metrics['localised']:.1%} of the defects peak inside their mask")
    if "test" in metrics:
        say(f"test split    {line_of(metrics['test'])}")
    if carried := metrics["calibration"]["carried_over"]:
        say(
            f"new images    expect {carried['escapes']} escapes, {carried['overkills']} overkills "
            "in as many images (each fold's threshold chosen on the other folds)"
        )
    if metrics["calibration"]["review"] is not None:
        say(f"review        {review_of(metrics['calibration'])}")
    for line in variant_lines(metrics["variants"]):
        say(line)
    for tried in metrics.get("frontier", ()):
        taken = "   <- chosen" if tried["chosen"] else ""
        say(f"tried         {tried['name']}: AP {tried['ap']:.4f}, {tried['ms']:.1f} ms{taken}")
    if "budget" in metrics and (late := over_budget(metrics)):
        say(f"trainer train: {late}", stream=sys.stderr)
    say(
        f"parity        {metrics['parity']:.1e} largest difference between ONNX Runtime and PyTorch"
    )
    say(f"seconds       {metrics['seconds']['total']:.0f}")
    say(f"name          {look_at_bundle(arguments.out / 'bundle').title}")
    say(f"bundle        {arguments.out / 'bundle'}")
    say(f"report        {write_report(arguments.out, dataset, summary)}")
    for line in _good_enough(metrics, arguments.out, learned):
        say(line)
    if unmet := metrics["calibration"]["unmet"]:
        say(
            f"trainer train: {unmet}. The bundle has the threshold with the best F1 instead; "
            f"`trainer calibrate {arguments.out}` chooses another",
            stream=sys.stderr,
        )
        return 1
    return 0


def _named(arguments: argparse.Namespace) -> tuple[dict[str, object], list[str]]:
    """What the bundle is called, and its version; and why, where nobody has chosen it."""
    from trainer.config import read_config
    from trainer.run.naming import bundle_name, bundle_version

    begun = arguments.out / "config.json"
    if arguments.resume and begun.exists():
        was = read_config(begun)
        name, version = arguments.name or was.name, arguments.version or was.version
        return {"name": name, "version": version}, []
    name, note = bundle_name(arguments.data, arguments.name)
    version, why = bundle_version(name, arguments.version, arguments.out)
    notes = [note, why and f"the bundle is {name} {version}: {why}"]
    return {"name": name, "version": version}, [text for text in notes if text]


def _recipe(config: RunConfig, learned: LearningSet, test: HeldBack, out: Path) -> dict[str, Any]:
    from trainer.config import DenseConfig, SeedConfig

    # torch takes seconds: first see that all else is right
    if isinstance(config, DenseConfig):
        from trainer.recipes import dense

        return dense.train(config, learned, test, out)
    if isinstance(config, SeedConfig):
        from trainer.recipes import seed

        return seed.train(config, learned, test, out)
    raise TypeError(f"{type(config).__name__} has no recipe")


def _good_enough(metrics: dict[str, Any], run: Path, dataset: LearningSet) -> list[str]:
    """In words: what share of the defects would pass, and what to do where that is too much."""
    from edge_agent.bundle import read_manifest
    from trainer.data.tiny import tiny_defects
    from trainer.stats.escapes import Escapes, advise

    found = Escapes.from_json(metrics["escapes"])
    spec = read_manifest(run / "bundle").preprocess
    lines = [f"good enough?  {found.sentence()}", f"              {found.judgement()}"]
    size, image = (spec.width, spec.height), (dataset.width, dataset.height)
    tiny = tiny_defects(dataset.samples, spec)
    wanted = tiny.wanted if tiny else None
    for one in advise(found, run, dataset.root, size, image, wanted):
        lines += [f"              - {one.why}:", f"                {one.command}"]
    return lines
