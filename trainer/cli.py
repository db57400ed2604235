"""The ``trainer`` commands: arguments in, results on stdout, progress and complaints on stderr."""

from __future__ import annotations

import argparse
import errno
import os
import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent import __version__
from edge_agent.system.arguments import Parser
from edge_agent.system.numbers import whole
from edge_agent.system.streams import discard_unwritten
from edge_agent.system.text import printable, say, say_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainer.config import RunConfig
    from trainer.data import Dataset, HeldBack, LearningSet
    from trainer.data.summary import Summary


_AIM = ("rule", "escape_cost", "overkill_cost", "review")
_VARIANTS = ("variants", "calibrator", "seven_bit")
_SETTINGS = (
    *("recipe", "name", "version", "notice", "seed", "folds", *_AIM),
    *_VARIANTS,
    *("backbone", "weights", "size", "fit", "epochs", "batch", "learning_rate"),
    *("strides", "views", "width", "top_k", "budget_ms", "margin"),
    *("unfreeze", "patience", "precision", "dropout"),
    *("focal_weight", "focal_delta", "focal_gamma"),
)


_WIDEST = 8192
_pixels = whole(1, _WIDEST)
_area = whole(1, 10**10)


def run(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code: 0 fine, 2 a mistake that the user can mend, else 1."""
    arguments = argparse.Namespace(command="")
    try:
        try:
            _parser().parse_args(argv, arguments)
            arguments.line = shlex.join(["trainer", *(sys.argv[1:] if argv is None else argv)])
            return _carry_out(arguments)
        finally:
            sys.stdout.flush()  # what can't be written is told here, not by the interpreter's end
    except OSError as error:  # a full disk, a folder that may not be written, a closed pipe
        discard_unwritten()
        _complain(arguments, _said(error, arguments))
        return 2
    except KeyboardInterrupt:
        _complain(arguments, "interrupted")
        return 1


def _carry_out(arguments: argparse.Namespace) -> int:
    # Late: --help must not wait for numpy and pydantic.
    from edge_agent.bundle import BundleError
    from edge_agent.engine.runtime.session import ProviderError
    from trainer.data import DatasetError
    from trainer.errors import ParityError, UsageError

    try:
        result: int = COMMANDS[arguments.command](arguments)
    except (BundleError, DatasetError, ProviderError, UsageError) as error:
        _complain(arguments, str(error))
        return 2
    except ParityError as error:
        _complain(arguments, str(error))
        return 1
    return result


def _complain(arguments: argparse.Namespace, what: str) -> None:
    try:
        say(f"trainer {arguments.command}: {what}", stream=sys.stderr, flush=True)
    except OSError:  # nobody is left to be told
        discard_unwritten()


def _said(error: OSError, arguments: argparse.Namespace) -> str:
    said = error.strerror or str(error)
    if error.filename:
        return f"{error.filename}: {said}"
    out = getattr(arguments, "out", None)
    if out is not None and error.errno in (errno.ENOSPC, errno.EDQUOT):
        # A write has no name, and the temporary files are elsewhere.
        return f"{said}: make room where {out} is, and in {tempfile.gettempdir()}, and try again"
    return said


def _train(arguments: argparse.Namespace) -> int:
    """Cross-validate, fit, calibrate, export, prove."""
    from edge_agent.bundle import look_at_bundle
    from trainer.config import run_config
    from trainer.data import hold_back, open_dataset
    from trainer.errors import UsageError
    from trainer.report import write_report
    from trainer.run.folder import make_run, resume_run, write_command, write_json

    named, notes = _named(arguments)
    config = run_config({**_given(arguments, _SETTINGS), **named})
    if arguments.resume and config.recipe != "seed":
        raise UsageError("--resume: is an option of the seed recipe, not of this one")
    if os.environ.get("WORLD_SIZE", "1") != "1" and config.recipe != "seed":
        raise UsageError("torchrun is for --recipe seed --unfreeze: this recipe is one process")
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
    summary = _summarise(dataset)
    write_json(arguments.out / "dataset.json", summary.as_json())
    metrics = _recipe(config, learned, test, arguments.out)
    for line in _headline(metrics):
        say(line)
    for warning in _warnings(metrics):
        say(f"trainer train: {warning}", stream=sys.stderr)
    if metrics["localised"] is not None:
        say(f"localised     {metrics['localised']:.1%} of the defects peak inside their mask")
    if "test" in metrics:
        say(f"test split    {_line(metrics['test'])}")
    if carried := metrics["calibration"]["carried_over"]:
        say(
            f"carried over  escapes {carried['escapes']}, overkills {carried['overkills']}, with "
            "each fold's threshold chosen on the other folds"
        )
    if metrics["calibration"]["review"] is not None:
        say(f"review        {_review(metrics['calibration'])}")
    for line in _variant_lines(metrics["variants"]):
        say(line)
    for tried in metrics.get("frontier", ()):
        taken = "   <- taken" if tried["chosen"] else ""
        say(f"tried         {tried['name']}: AP {tried['ap']:.4f}, {tried['ms']:.1f} ms{taken}")
    if "budget" in metrics and (late := _over_budget(metrics)):
        say(f"trainer train: {late}", stream=sys.stderr)
    say(f"parity        {metrics['parity']:.1e} at most between ONNX Runtime and PyTorch")
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
    notes = [note, why and f"the bundle is made {name} {version}: {why}"]
    return {"name": name, "version": version}, [text for text in notes if text]


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


def _recipe(config: RunConfig, learned: LearningSet, test: HeldBack, out: Path) -> dict[str, Any]:
    from trainer.config import DenseConfig, SeedConfig

    # torch takes seconds: first see that all else is right
    if isinstance(config, DenseConfig):
        from trainer.recipes import dense

        return dense.train(config, learned, test, out)
    if isinstance(config, SeedConfig):
        from trainer.recipes import seed

        return seed.train(config, learned, test, out)
    raise TypeError(f"{type(config).__name__} is of no recipe")


def _summarise(dataset: Dataset) -> Summary:
    """Look through the data set, and say on stderr what should be known of it."""
    from trainer.data.summary import summarise
    from trainer.progress import progress

    with progress("looking through the data set", len(dataset.samples)) as advance:
        summary = summarise(dataset, advance)
    for finding in summary.findings:
        text = f"{'warning' if finding.warning else 'note'}: {finding.text}"
        # It has names from the disk: none may forge a line of its own.
        say(printable(text, 4000), stream=sys.stderr)
    return summary


def _report(arguments: argparse.Namespace) -> int:
    """Write the report of a finished run again."""
    from trainer.data import open_dataset
    from trainer.data.learned import trained_on
    from trainer.errors import UsageError
    from trainer.report import write_report
    from trainer.report.files import read_run

    manifest = read_run(arguments.run).manifest
    dataset = open_dataset(arguments.data, max_pixels=arguments.max_pixels)
    if manifest and trained_on(dataset, manifest) is False:
        raise UsageError(
            f"{arguments.data} is not what {arguments.run} was trained on, or was changed since: "
            "the report would show other images than its figures are of"
        )
    say(str(write_report(arguments.run, dataset, _summarise(dataset))))
    return 0


def _fetch(arguments: argparse.Namespace) -> int:
    """Download a published data set, after its licence was accepted."""
    from trainer.data.fetch import SOURCES, fetch
    from trainer.errors import UsageError
    from trainer.progress import transfer

    source = SOURCES[arguments.name]
    say(source.licence, stream=sys.stderr)
    if not arguments.accept_licence:
        if not sys.stdin.isatty():
            raise UsageError("read the licence above, and give --accept-licence if you accept it")
        print("Do you accept it? Type yes: ", end="", file=sys.stderr, flush=True)  # noqa: T201
        if sys.stdin.readline().strip().lower() != "yes":
            raise UsageError("the licence was not accepted: nothing was fetched")
    with transfer(f"fetching {source.name}") as advance:
        fetch(source, arguments.dir, advance)
    say(f"{source.name} is in {arguments.dir}: `trainer train {arguments.dir} --out RUN`")
    return 0


def _calibrate(arguments: argparse.Namespace) -> int:
    """Choose the threshold of a finished run again, in a new bundle; 1 if a variant is left out."""
    from trainer.config import aim_of
    from trainer.run.recalibrate import recalibrate

    aim = aim_of(_given(arguments, _AIM))
    made = recalibrate(arguments.run, aim, arguments.out, arguments.version)
    bundle, code = made.bundle, 1 if made.left_out else 0
    decision = bundle.manifest.decision
    found = {
        "rule": decision.rule,
        "threshold": decision.threshold,
        "review": decision.review,
        "figures": decision.figures,
        "version": bundle.manifest.version,
        "left_out": made.left_out,
    }
    if arguments.json:
        say_json(found)
        return code
    say(f"rule          {decision.rule}")
    say(f"threshold     {decision.threshold:.4f}")
    for name in ("recall", "precision", "f1", "cost"):
        if name in decision.figures:
            figure, low, high = (decision.figures[name + end] for end in ("", "_low", "_high"))
            say(f"{name:<13} {figure:.4f}   95 % interval {low:.4f} to {high:.4f}")
    if decision.review is not None:
        say(f"review        {_review(found)}")
    for name, fault in made.left_out.items():
        say(f"{name:<13} LEFT OUT: {fault}")
    for one in bundle.manifest.variants:
        if one.decision and one.accuracy:
            say(f"{one.name:<13} {_line(one.accuracy.model_dump())}")
        for line in _gate_lines(one.name, one.gate):
            say(line)
    say(f"bundle        {bundle.path}, version {bundle.manifest.version}")
    return code


def _evaluate(arguments: argparse.Namespace) -> int:
    """Judge labelled images through the agent's own runtime."""
    from edge_agent.bundle import open_bundle
    from edge_agent.engine.worker.predictor import Predictor
    from trainer.data import open_dataset
    from trainer.data.learned import describe, learned_from
    from trainer.errors import UsageError
    from trainer.graphs.evaluate import evaluate_bundle, write_scores
    from trainer.progress import progress
    from trainer.stats.escapes import escapes_among

    predictor = Predictor(open_bundle(arguments.bundle), arguments.variant)
    dataset = open_dataset(arguments.data, max_pixels=arguments.max_pixels)
    samples = dataset.subset(arguments.split) if arguments.split else dataset.samples
    if not samples:
        raise UsageError(f"--split: {arguments.data} has no {arguments.split} split")
    with progress("judging", len(samples)) as advance:
        judged, accuracy = evaluate_bundle(predictor, samples, advance)
    if arguments.scores is not None:
        write_scores(arguments.scores, samples, judged.scores)
    odd, first = judged.odd(samples)
    figures = accuracy.model_dump()
    learned = learned_from(predictor.bundle, dataset, samples)
    passed = escapes_among(samples, judged.scores, accuracy.threshold)
    new = learned == 0
    if arguments.json:
        bound = passed.bound if new else None
        say_json({**figures, "learned_from": learned, "escape_bound": bound})
    else:
        say(_line(figures))
        if new:
            say(passed.sentence())
    if odd:
        say(f"trainer evaluate: {_implausible(odd, len(samples), first)}", stream=sys.stderr)
    if note := describe(learned, len(samples)):
        say(f"trainer evaluate: {note}", stream=sys.stderr)
    return 0


def _implausible(count: int, images: int, first: str) -> str:
    return (
        f"{count} of {images} images are no pictures that the bundle was made for, which a station "
        f"calls error whatever their score: {first}"
    )


def _export(arguments: argparse.Namespace) -> int:
    """Write the FP32 graph of a finished run again."""
    from edge_agent.bundle import read_manifest
    from trainer.config import read_config
    from trainer.errors import UsageError
    from trainer.run.rebuild import rebuild

    config = read_config(arguments.run / "config.json")
    spec = read_manifest(arguments.run / "bundle").preprocess
    if arguments.fold is not None and not 1 <= arguments.fold <= config.folds:
        raise UsageError(f"--fold: there are folds 1 to {config.folds}")
    fold = None if arguments.fold is None else arguments.fold - 1
    if arguments.out.exists():
        raise UsageError(f"{arguments.out} exists: give --out another name")
    graph = rebuild(arguments.run, config, spec, fold).SerializeToString(deterministic=True)
    try:
        arguments.out.write_bytes(graph)
    except OSError as error:
        raise UsageError(f"{arguments.out} can't be written: {error.strerror}") from None
    say(f"{arguments.out}  {len(graph) / 1e6:.1f} MB")
    return 0


def _quantize(arguments: argparse.Namespace) -> int:
    """Make the variants of a finished run again, in a new bundle; 1 if one was left out."""
    from trainer.run.requantize import requantize

    settings = _given(arguments, _VARIANTS)
    made = requantize(
        arguments.run,
        arguments.data,
        settings,
        arguments.out,
        arguments.version,
        arguments.bundle,
        arguments.max_pixels,
    )
    if arguments.json:
        say_json({"bundle": str(made.bundle.path), "variants": made.variants})
    else:
        for line in _variant_lines(made.variants):
            say(line)
        say(f"bundle        {made.bundle.path}, version {made.bundle.manifest.version}")
    return 1 if any(found["fault"] for found in made.variants.values()) else 0


def _compare(arguments: argparse.Namespace) -> int:
    """PyTorch beside every variant on every provider of this machine."""
    from edge_agent.bundle import open_bundle
    from trainer.data import open_dataset
    from trainer.data.learned import describe, learned_from
    from trainer.graphs.compare import compare, contenders, table
    from trainer.progress import progress

    bundle = arguments.bundle or arguments.run / "bundle"
    made = open_bundle(bundle)
    dataset = open_dataset(arguments.data, max_pixels=arguments.max_pixels)
    total = arguments.rounds * len(contenders(bundle))
    with progress("comparing", total) as advance:
        rows = compare(
            arguments.run,
            dataset.samples,
            advance,
            bundle=bundle,
            threads=arguments.threads,
            rounds=arguments.rounds,
        )
    if arguments.json:
        say_json({"threads": arguments.threads, "rows": [row.as_json() for row in rows]})
        return 0
    say(table(rows))
    say(
        f"{len(dataset.samples)} images, one at a time, {arguments.threads or 'all'} thread(s); "
        f"times are of inference alone, medians of {arguments.rounds} rounds"
    )
    if note := describe(learned_from(made, dataset, dataset.samples), len(dataset.samples)):
        say(note)
    return 0


def _synth(arguments: argparse.Namespace) -> int:
    """Draw surfaces with and without flaws."""
    from trainer.data.synth import make_surfaces
    from trainer.progress import progress

    width, height = arguments.size
    with progress("drawing", arguments.good + arguments.defect) as advance:
        make_surfaces(
            arguments.out,
            arguments.good,
            arguments.defect,
            arguments.seed,
            width=width,
            height=height,
            made=lambda _: advance(""),
        )
    say(f"{arguments.good} good and {arguments.defect} flawed surfaces in {arguments.out}")
    return 0


def _given(arguments: argparse.Namespace, names: Sequence[str]) -> dict[str, object]:
    values = {name: getattr(arguments, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _over_budget(metrics: dict[str, Any]) -> str:
    """What is to be said where the variants that were admitted are slower than what was tried."""
    times = [
        ms for found in metrics["variants"].values() for ms in (found["latency_ms"] or {}).values()
    ]
    budget = metrics["budget"]["ms"]
    if not times or min(times) <= 1.25 * budget:  # medians now, of a machine that may be busy
        return ""
    return (
        f"the fastest variant takes {min(times):.1f} ms, more than the budget of {budget:g} ms: "
        "INT8 was left out, or kept blocks in float32. Give a smaller --budget-ms"
    )


def _warnings(metrics: dict[str, Any]) -> list[str]:
    """What of the images is no picture of the part, and which such pictures can't be told."""
    found = [
        f"a {blank} picture would be judged like one of the part, since there are such among the "
        "training images: remove them, and train again"
        for blank in metrics["judged_blanks"]
    ]
    odd, first = metrics.get("test_implausible", (0, ""))
    return found + ([_implausible(odd, metrics["test"]["images"], first)] if odd else [])


def _headline(metrics: dict[str, Any]) -> list[str]:
    """What a station would do first: FP32, if that is another variant, is what it was made from."""
    runs, fp32 = metrics["runs"], _line(metrics["pooled"])
    if runs == "fp32":
        return [f"out of fold   {fp32}"]
    own = _line(metrics["variants"][runs])
    return [
        f"out of fold   {own}  with {runs}, the fastest here: a station like this machine runs it",
        f"in fp32       {fp32}",
    ]


def _variant_lines(variants: dict[str, dict[str, Any]]) -> list[str]:
    """What got into the bundle and what didn't; a variant that is slower than FP32 is called so."""
    lines = []
    fastest = {}
    for name, found in variants.items():
        if found["fault"]:
            lines.append(f"{name:<13} LEFT OUT ({found['how']}): {found['fault']}")
            continue
        times = found["latency_ms"] or {}
        fastest[name] = min(times.values(), default=None)
        measured = ", ".join(f"{ms:.1f} ms on {where}" for where, ms in times.items())
        line = f"{name:<13} AP {found['ap']:.4f}  {found['size'] / 1e6:.1f} MB  {measured}"
        if name != "fp32" and fastest[name] and fastest["fp32"]:
            ratio = fastest["fp32"] / fastest[name]
            line += f": {ratio:.2f} times as fast as fp32" if ratio > 1 else ": slower than fp32"
        lines.append(line)
        lines += _gate_lines(name, found["gate"])
        lines += [
            f"{name:<13} not tried on {where}: {why}" for where, why in found["untried"].items()
        ]
    return lines


def _gate_lines(name: str, gate: dict[str, str]) -> list[str]:
    """On which providers a variant may be used, and on which not; nothing to be said of FP32."""
    if name == "fp32" or not gate:
        return []
    held = ", ".join(provider for provider, fault in gate.items() if not fault)
    lines = [f"{name:<13} keeps FP32's accuracy on {held}"]
    return lines + [f"{name:<13} NOT ON {where}: {why}" for where, why in gate.items() if why]


def _review(calibration: dict[str, Any]) -> str:
    (low, high), figures = calibration["review"], calibration["figures"]
    return (
        f"{low:.4f} to {high:.4f}: {figures['review_images']:.1%} of the images, "
        f"{figures['review_errors']:.1%} of the errors"
    )


def _line(figures: dict[str, float]) -> str:
    return (
        f"AP {figures['ap']:.4f}  F1 {figures['f1']:.4f}  threshold {figures['threshold']:.3f}  "
        f"escapes {figures['escapes']} of {figures['defects']}  overkills {figures['overkills']} "
        f"of {figures['images'] - figures['defects']}"
    )


COMMANDS = {
    "train": _train,
    "calibrate": _calibrate,
    "export": _export,
    "quantize": _quantize,
    "compare": _compare,
    "evaluate": _evaluate,
    "synth": _synth,
    "report": _report,
    "fetch": _fetch,
}


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="trainer", description="From labelled images to a bundle that edge-agent runs."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_train(commands.add_parser("train", help="train, cross-validate and write a bundle"))
    _add_calibrate(commands.add_parser("calibrate", help="choose the threshold of a run again"))
    _add_export(commands.add_parser("export", help="write a run's FP32 graph again"))
    _add_quantize(commands.add_parser("quantize", help="make a run's variants again"))
    _add_compare(commands.add_parser("compare", help="PyTorch beside every variant"))
    _add_evaluate(commands.add_parser("evaluate", help="judge labelled images with a bundle"))
    _add_synth(commands.add_parser("synth", help="draw surfaces with and without flaws"))
    _add_report(commands.add_parser("report", help="write the report of a run again"))
    _add_fetch(commands.add_parser("fetch", help="download a published data set"))
    return parser


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", type=Path, metavar="DATA", help="a folder of labelled images")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="a new folder")
    parser.add_argument(
        "--recipe",
        choices=["dense", "seed"],
        default="dense",
        help="dense: a heatmap from the backbone's maps, the better one; "
        "seed: the last layer of a classifier, to compare with",
    )
    parser.add_argument("--folds", type=int, help="for cross-validation (5)")
    parser.add_argument("--seed", type=int, help="same seed, same result (0)")
    parser.add_argument("--name", help="of the bundle: the product's (the name of the folder DATA)")
    parser.add_argument(
        "--version",
        metavar="X.Y.Z",
        help="of the bundle (1.0.0, or the next after those of this name beside RUN)",
    )
    parser.add_argument("--notice", help="shown wherever the bundle is")
    _add_limit(parser)
    _add_aim(parser)
    _add_variants(parser)
    both = parser.add_argument_group("network and fitting, of both recipes")
    both.add_argument(
        "--backbone",
        choices=["efficientnet_lite0", "efficientnet_b0"],
        help="(dense: efficientnet_lite0, seed: efficientnet_b0)",
    )
    both.add_argument("--weights", metavar="FILE", help="of the backbone (its ImageNet ones)")
    both.add_argument(
        "--size", type=_size, metavar="WxH", help="input (dense: from the images, seed: 224x224)"
    )
    both.add_argument(
        "--fit",
        choices=["stretch", "letterbox", "crop"],
        help="(dense: from the images, seed: stretch)",
    )
    both.add_argument("--epochs", type=int, help="(dense: 20, seed: 200)")
    both.add_argument("--batch", type=int, help="(dense: 16, seed: 8)")
    both.add_argument("--learning-rate", type=float, help="(dense: 0.001, seed: 0.0001)")
    dense = parser.add_argument_group("of the dense recipe alone")
    dense.add_argument("--strides", type=_whole_numbers, help="maps that are used (8,16,32)")
    dense.add_argument("--width", type=int, help="channels of the head (32)")
    dense.add_argument("--top-k", type=int, help="places that make an image's score (16)")
    dense.add_argument(
        "--budget-ms",
        type=float,
        metavar="MS",
        help="choose size, strides and width: the cheapest that are as good as the best within "
        "so many milliseconds an inference on this machine",
    )
    dense.add_argument("--margin", type=float, help="AP that may be lost for it (0.005)")
    dense.add_argument("--views", type=int, help="1: as they are, 2: mirrored, 4: all flips (4)")
    seed = parser.add_argument_group("of the seed recipe alone")
    seed.add_argument("--focal-weight", type=float, help="lambda of the unified focal loss (0.5)")
    seed.add_argument("--focal-delta", type=float, help="its delta (0.6)")
    seed.add_argument("--focal-gamma", type=float, help="its gamma (0.5)")
    seed.add_argument("--dropout", type=float, help="before the last layer (0.2)")
    seed.add_argument(
        "--unfreeze",
        choices=["stage7", "all"],
        help="also train the backbone, its end or all of it: for those who have a GPU; "
        "torchrun shares the work between several",
    )
    seed.add_argument(
        "--patience",
        type=int,
        help="stop after so many epochs without a better F1 on images set aside for it "
        "(never; with --unfreeze 5)",
    )
    seed.add_argument(
        "--precision",
        choices=["fp32", "mixed"],
        help="(on a GPU mixed, on a CPU fp32)",
    )
    seed.add_argument("--resume", action="store_true", help="go on with RUN where it was killed")


def _add_limit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-pixels",
        type=_area,
        metavar="N",
        help="of an image or mask: one of more is refused (64000000); see [worker] at the station",
    )


def _add_variants(parser: argparse.ArgumentParser) -> None:
    variants = parser.add_argument_group("variants, each only if it keeps FP32's accuracy")
    variants.add_argument("--variants", type=_names, help="(fp32,int8,fp16)")
    variants.add_argument(
        "--calibrator",
        choices=["auto", "minmax", "percentile", "entropy"],
        help="how INT8's ranges follow from the images (auto: the first that keeps the accuracy)",
    )
    variants.add_argument(
        "--seven-bit",
        action="store_true",
        default=None,
        help="INT8 for a CPU without VNNI, where 8 bits overflow",
    )


def _add_aim(parser: argparse.ArgumentParser) -> None:
    aim = parser.add_argument_group(
        "threshold, chosen on images that the model had not seen, never on a test split"
    )
    aim.add_argument(
        "--rule", help='max-f1, "recall>=0.99", "precision>=0.95" or cost (max-f1); mind the quotes'
    )
    aim.add_argument("--escape-cost", type=float, metavar="C", help="of a missed defect")
    aim.add_argument("--overkill-cost", type=float, metavar="C", help="of a good part thrown away")
    aim.add_argument(
        "--review",
        type=float,
        metavar="SHARE",
        help="make the review band hold this share of the errors, such as 0.9 (no band)",
    )


def _add_calibrate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="what `trainer train` wrote")
    parser.add_argument("--out", type=Path, required=True, metavar="BUNDLE", help="a new bundle")
    parser.add_argument("--version", metavar="X.Y.Z", help="of it (the next, such as 1.0.1)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    _add_aim(parser)


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="what `trainer train` wrote")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("model.fp32.onnx"),
        metavar="FILE",
        help="a new file (model.fp32.onnx)",
    )
    parser.add_argument(
        "--fold", type=whole(1, 20), help="a fold's model, from 1 (the one that ships)"
    )


def _add_quantize(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="what `trainer train` wrote")
    parser.add_argument("data", type=Path, metavar="DATA", help="what it was trained on")
    _add_limit(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="BUNDLE", help="a new folder")
    parser.add_argument("--version", metavar="X.Y.Z", help="of the bundle (the next)")
    parser.add_argument("--bundle", type=Path, help="another bundle of this run (RUN/bundle)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    _add_variants(parser)


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="what `trainer train` wrote")
    parser.add_argument("data", type=Path, metavar="DATA", help="a folder of labelled images")
    _add_limit(parser)
    parser.add_argument("--bundle", type=Path, help="another bundle of this run (RUN/bundle)")
    parser.add_argument(
        "--threads", type=whole(0, 256), default=1, help="for one inference (1); 0: all"
    )
    parser.add_argument(
        "--rounds", type=whole(1, 1000), default=3, help="times are medians over them (3)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="such as RUN/bundle")
    parser.add_argument("data", type=Path, metavar="DATA", help="a folder of labelled images")
    _add_limit(parser)
    parser.add_argument("--variant", default="fp32", help="(fp32)")
    parser.add_argument(
        "--split",
        choices=["train", "test"],
        help="of the authors' split, where there is one (both)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--scores", type=Path, metavar="FILE", help="write image,label,score")


def _add_synth(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", type=Path, metavar="OUT", help="a new folder")
    parser.add_argument("--good", type=int, required=True, metavar="N")
    parser.add_argument("--defect", type=int, required=True, metavar="N")
    parser.add_argument("--seed", type=whole(0, 2**31 - 1), default=0)
    parser.add_argument("--size", type=_size, default=(256, 384), metavar="WxH")


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="what `trainer train` wrote")
    parser.add_argument("data", type=Path, metavar="DATA", help="the images it was trained on")
    _add_limit(parser)


def _add_fetch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", choices=["ksdd2"], help="KolektorSDD2, CC BY-NC-SA 4.0")
    parser.add_argument("dir", type=Path, metavar="DIR", help="a new folder")
    parser.add_argument("--accept-licence", action="store_true", help="you have read it")


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    try:
        return _pixels(width), _pixels(height)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f"{text[:40]!r} is not WxH, such as 256x704, each at most {_WIDEST}"
        ) from None


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def _whole_numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(_pixels(part.strip()) for part in text.split(","))
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a list such as 8,16") from None
