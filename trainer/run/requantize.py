"""Make the variants of a finished run again: a new bundle, with the same FP32 model."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_agent.bundle import open_bundle, write_bundle
from trainer.config import Aim, read_config, with_settings
from trainer.data import fingerprint, hold_back, open_dataset
from trainer.data.expects import make_expects
from trainer.data.framefile import store_frames
from trainer.data.learned import list_images
from trainer.errors import UsageError
from trainer.graphs.evaluate import judge, open_graph
from trainer.graphs.golden import make_golden
from trainer.graphs.variants import Proven, make_variants, time_variants
from trainer.progress import progress
from trainer.run.assemble import describe, file_of
from trainer.run.naming import bundle_version
from trainer.run.rebuild import rebuild_folds
from trainer.stats.crossval import read_oof

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edge_agent.bundle import Bundle, Manifest
    from trainer.config import RunConfig
    from trainer.graphs.made import Made


_SETTINGS = {"variants", "calibrator", "seven_bit"}


def _aim_of(manifest: Manifest) -> Aim:
    """The rule by which the bundle's threshold was chosen."""
    decision, parameters = manifest.decision, manifest.training.parameters
    names = ("escape_cost", "overkill_cost") if decision.rule == "cost" else ()
    prices = {name: parameters.get(name) for name in names}
    return Aim.model_validate({"rule": decision.rule, "review": parameters.get("review"), **prices})


@dataclass(frozen=True)
class Requantized:
    """A new bundle and what was measured on the way."""

    bundle: Bundle
    variants: dict[str, dict[str, Any]]
    """As in metrics.json: those that were left out too."""


def requantize(
    run: Path,
    data: Path,
    settings: Mapping[str, object],
    out: Path,
    version: str | None = None,
    bundle: Path | None = None,
    max_pixels: int | None = None,
) -> Requantized:
    """Write the bundle of ``run`` to ``out`` with variants made by other settings.

    Args:
        run: what `trainer train` wrote; it is left as it is.
        data: the images that it was trained on: INT8's ranges come from them.
        settings: ``variants``, ``calibrator``, ``seven_bit``, as far as they are given.
        out: a new directory.
        version: of the new bundle; None: the next after the old one's and those beside.
        bundle: the old one, whose threshold the variants are held to; None: RUN's own.
        max_pixels: as `open_dataset` takes it.

    Raises:
        UsageError: RUN is not finished, ``out`` exists, ``data`` is not what it was trained on, or
            ``bundle`` is of another run.
        DatasetError: ``data`` can't be read.
        BundleError: RUN's bundle is damaged.
    """
    config = with_settings(read_config(run / "config.json"), settings)
    old = _bundle_of(run, bundle)
    manifest = old.manifest
    version, _ = bundle_version(manifest.name, version, out, run, old=manifest.version)
    if out.exists():
        raise UsageError(f"{out} exists: a bundle is never changed, give --out another name")
    learned, _ = hold_back(open_dataset(data, folds=config.folds, max_pixels=max_pixels))
    if fingerprint(learned) != manifest.training.dataset["fingerprint"]:
        raise UsageError(
            f"{data} is not what {run} was trained on, or was changed since: the variants are "
            "made from and judged on those very images"
        )
    _, oof = read_oof(run / "oof.csv")
    spec = manifest.preprocess
    with TemporaryDirectory(prefix="requantize-") as folder:
        model = Path(folder) / "model.fp32.onnx"
        model.write_bytes(old.read(old.variant("fp32")))
        with progress("exporting the folds' models", config.folds) as advance:
            fold_models = rebuild_folds(run, config, spec, Path(folder), advance)
        frames = store_frames(learned.samples, spec, Path(folder) / "frames")
        with progress("scoring with fp32", len(learned.samples)) as advance:
            shipped = judge(open_graph(model), frames.each(), advance)
        proven = Proven(
            fold_models=fold_models,
            model=model,
            frames=frames,
            labels=np.array([sample.defect for sample in learned.samples], bool),
            folds=oof.folds,
            held_out=oof.scores,
            shipped=shipped.scores,
            threshold=manifest.decision.threshold,
            seed=config.seed,
            aim=_aim_of(manifest),
        )
        made = make_variants(proven, config, Path(folder))
        admitted = [one for one in made if not one.fault]
        times = time_variants(admitted, spec)
        golden, pngs = make_golden(
            learned.samples, shipped.scores, proven.threshold, admitted, spec
        )
        entry, listed = list_images(learned.samples)
        groups = [sample.group for sample in learned.samples]
        expects = make_expects([look.sight for look in frames.looks], groups)
        changed = _changed(manifest, config, entry, admitted).model_copy(
            update={
                "version": version,
                "golden": golden,
                "expects": manifest.expects or expects,
            }
        )
        files = pngs | listed | {file_of(one): one.file for one in admitted}
        new = write_bundle(out, changed, files)
        figures = {one.name: {**one.figures(), "latency_ms": times.get(one.name)} for one in made}
    return Requantized(new, figures)


def _bundle_of(run: Path, bundle: Path | None) -> Bundle:
    """The bundle whose threshold counts; it must have been made from this run."""
    own = open_bundle(run / "bundle")
    old = own if bundle is None else open_bundle(bundle)
    if old.variant("fp32").sha256 != own.variant("fp32").sha256:
        raise UsageError(f"{old.path} is not of {run}: give a bundle that was made from this run")
    return old


def _changed(
    manifest: Manifest, config: RunConfig, entry: Mapping[str, object], admitted: Sequence[Made]
) -> Manifest:
    """The old bundle's manifest with the new variants, and with what they were made by."""
    changes = config.model_dump(mode="json", include=_SETTINGS)
    parameters = {**manifest.training.parameters, **changes}
    dataset = {**manifest.training.dataset, **entry}
    training = manifest.training.model_copy(update={"parameters": parameters, "dataset": dataset})
    return manifest.model_copy(
        update={
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "variants": tuple(describe(one) for one in admitted),
            "training": training,
        }
    )
