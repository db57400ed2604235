"""The headline figures, each with how far it can be trusted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trainer.stats.bootstrap import figure_intervals, share_interval
from trainer.stats.crossval import oof_file, read_oof

if TYPE_CHECKING:
    from trainer.report.files import RunFiles


@dataclass(frozen=True)
class Figure:
    """One headline figure, as text."""

    name: str
    value: str
    interval: str
    """At 95 %."""
    meaning: str
    """What it says, for one who doesn't know the name."""
    test: str = ""
    """The same on the official test split; "" where there is none."""


def as_run(run: RunFiles) -> RunFiles:
    """The same with scores and figures of the variant that a station would run, if it is known."""
    name = run.metrics.get("runs", "fp32")
    figures = (run.metrics.get("variants") or {}).get(name)
    file = oof_file(run.path, name)
    if name == "fp32" or not figures or not file.exists():
        return run
    # Intervals, and the test split, are FP32's: the first are made anew, the second has no others.
    metrics = {"pooled": figures, "variants": run.metrics["variants"], "runs": name}
    return replace(run, metrics=metrics, scores=read_oof(file)[1].scores)


def headline(run: RunFiles) -> list[Figure]:
    """Escapes, overkills, AP, F1 and the rest at the calibrated threshold, out of fold."""
    pooled, test = run.metrics["pooled"], run.metrics.get("test")
    defects = int(run.labels.sum())
    oks = len(run.labels) - defects
    spans = run.metrics.get("intervals") or figure_intervals(
        run.labels, run.scores, run.groups, run.threshold
    )
    least, most = share_interval(run.labels, run.scores, run.groups, run.threshold, "specificity")

    def share(name: str, key: str, meaning: str) -> Figure:
        low, high = spans[key]
        seen = f"{test[key]:.4f}" if test else ""
        return Figure(name, f"{pooled[key]:.4f}", f"{low:.4f} to {high:.4f}", meaning, seen)

    low, high = spans["recall"]
    return [
        Figure(
            "Escapes",
            f"{pooled['escapes']} of {defects}",
            percents(1 - high, 1 - low),
            "defects that would be missed",
            f"{test['escapes']} of {test['defects']}" if test else "",
        ),
        Figure(
            "Overkills",
            f"{pooled['overkills']} of {oks}",
            percents(1 - most, 1 - least),
            "good parts that would be rejected",
            f"{test['overkills']} of {test['images'] - test['defects']}" if test else "",
        ),
        share("AP", "ap", "average precision: do defects score above good parts? 1 is best"),
        share("F1", "f1", "precision and recall at the threshold, in one number"),
        share("AUROC", "auroc", "chance that a defect scores above a good part"),
        share("Precision", "precision", "share of the alarms that are defects"),
    ]


def percents(low: float, high: float) -> str:
    """A range of shares for people: "0 % to 6.9 %"."""
    return f"{_percent(low)} to {_percent(high)}"


def _percent(share: float) -> str:
    value = max(0.0, share) * 100
    return f"{value:.2g} %" if value < 10 else f"{value:.3g} %"
