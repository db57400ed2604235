"""From a run and its data set to one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from datetime import datetime, timezone
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from trainer.data.summary import summarise
from trainer.data.tiny import TinyDefects, tiny_defects
from trainer.report import charts, curves
from trainer.report.figures import as_run, headline, percents
from trainer.report.files import read_run, shown
from trainer.report.gallery import make_gallery
from trainer.report.sizes import by_size, flaws
from trainer.report.variants import variant_table
from trainer.stats.escapes import Advice, Escapes, advise, count_escapes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from trainer.data import Dataset, Sample
    from trainer.data.summary import Summary
    from trainer.report.files import RunFiles

FILE = "report.html"


def write_report(run: Path, dataset: Dataset, summary: Summary | None = None) -> Path:
    """Write RUN/report.html from what is in RUN, and return its path.

    Args:
        run: folder of a finished run.
        dataset: what it was trained on, for the pictures and masks.
        summary: of the data set, if it was made already.

    Raises:
        UsageError: a file of the run is missing or damaged.
        DatasetError: an image can't be read any more.
    """
    found = read_run(run)
    page = render(found, dataset, summary or summarise(dataset))
    whole = run / f".{FILE}.part"
    whole.write_text(page, encoding="utf-8")
    return whole.replace(run / FILE)


def render(run: RunFiles, dataset: Dataset, summary: Summary) -> str:
    """The page's text."""
    samples = {sample.name: sample for sample in dataset.samples}
    missing = sum(name not in samples for name in run.names)
    sized = flaws(run, samples)
    tiny = _tiny(run, samples)
    if tiny:
        summary = replace(summary, findings=(tiny.finding, *summary.findings))
    runs = as_run(run)
    script, style = _asset("page.js"), _asset("page.css")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset),
        autoescape=True,  # names of files are untrusted
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = shown
    environment.filters["setting"] = _setting
    environment.globals["percents"] = percents
    return environment.get_template("page.html").render(
        run=run,
        # What the script may do is settled by its hash; nothing else runs, nothing is fetched.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        script=Markup(script),  # noqa: S704  our own file
        style=Markup(style),  # noqa: S704
        written=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        pooled=run.metrics["pooled"],
        test=run.metrics.get("test"),
        folds=run.metrics.get("folds") or [],
        localised=run.metrics.get("localised"),
        parity=run.metrics.get("parity"),
        calibration=run.metrics.get("calibration") or {},
        seconds=run.metrics.get("seconds"),
        recipe=run.config.get("recipe"),
        command=run.command.get("command"),
        figures=headline(run),
        enough=(enough := _enough(run)),
        advice=_advice(run, enough, dataset, tiny),
        runs="fp32" if runs is run else runs.metrics["runs"],
        station=runs.metrics["pooled"],
        headline=headline(runs),
        scores=_scores(run),
        score_charts=(charts.score_chart(run, 1040, 330), charts.score_chart(run, 400, 300)),
        curves=curves.curves(run),
        fold_strips=(charts.fold_strips(run, 1040), charts.fold_strips(run, 400)),
        losses=curves.loss_charts(run.history),
        sizes=by_size(sized, run.threshold) if sized else [],
        size_chart=curves.size_chart(sized, run.threshold) if sized else None,
        gallery=make_gallery(run, samples),
        variants=variant_table(run),
        frontier=curves.frontier_chart(run.metrics.get("frontier") or []),
        summary=summary,
        missing=missing,
        root=shown(str(dataset.root)),
    )


def _enough(run: RunFiles) -> Escapes:
    """What would pass; a run of an older trainer has not noted it."""
    if known := run.metrics.get("escapes"):
        return Escapes.from_json(known)
    carried = (run.metrics.get("calibration") or {}).get("carried_over") or {}
    return count_escapes(run.labels, run.scores, run.groups, run.threshold, carried.get("escapes"))


def _tiny(run: RunFiles, samples: Mapping[str, Sample]) -> TinyDefects | None:
    if run.manifest is None:
        return None
    learned = [samples[name] for name in run.names if name in samples]
    return tiny_defects(learned, run.manifest.preprocess)


def _advice(
    run: RunFiles, enough: Escapes, dataset: Dataset, tiny: TinyDefects | None
) -> list[Advice]:
    spec = run.manifest and run.manifest.preprocess
    return advise(
        enough,
        run.path,
        dataset.root,
        (spec.width, spec.height) if spec else None,
        (dataset.width, dataset.height),
        tiny.wanted if tiny else None,
    )


def _scores(run: RunFiles) -> dict[str, Any]:
    """What the script counts with."""
    return {
        "threshold": run.threshold,
        "scores": run.scores.tolist(),
        "labels": run.labels.astype(int).tolist(),
        "names": [shown(name) for name in run.names],
    }


def _setting(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _asset(name: str) -> str:
    return files("trainer.report").joinpath("assets", name).read_text(encoding="utf-8")
