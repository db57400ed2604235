"""The report's curves: precision-recall, ROC, losses, and scores by size of the defect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.report.files import shown
from trainer.report.svg import (
    Axis,
    Frame,
    Picture,
    even_axis,
    log,
    log_axis,
    plotted,
    score_axis,
    share_axis,
    thinned,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup

    from trainer.report.files import RunFiles
    from trainer.report.sizes import Flaw

_TITLES = {
    "loss": "training loss",
    "validation_ap": "validation AP",
    "validation_f1": "validation F1",
    "f1": "training F1",
    "accuracy": "training accuracy",
}
_DASHES = ("", "7 3", "2 3", "9 3 2 3", "12 4", "4 2")


def curves(run: RunFiles) -> tuple[Markup, Markup]:
    """Precision-recall, and ROC with the rate of overkills on a logarithmic axis."""
    order = np.argsort(-run.scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(run.scores[order])), len(order) - 1)
    hits = np.cumsum(run.labels[order])[last]
    alarms = last + 1
    defects, oks = int(run.labels.sum()), int((~run.labels).sum())
    recall, precision = hits / max(defects, 1), hits / alarms
    frame = Frame(
        46, 26, 404, 226, share_axis("recall: share of defects found"), share_axis("precision")
    )
    picture = Picture(420, 270, "Precision-recall curve", "live-chart pr")
    picture.add("{}", frame.axes())
    points = [(0.0, float(precision[0]))]
    for r, p in zip(recall.tolist(), precision.tolist(), strict=True):
        points += [(points[-1][0], p), (r, p)]
    picture.add('<path class="curve defect" d="{}"/>', frame.path(thinned(points, frame)))
    picture.add('<circle class="live dot" r="6"/>')
    first = plotted(picture, frame)

    least = 0.5 / max(oks, 1)
    ticks = tuple((t, f"{t * 100:g} %") for t in (1e-4, 1e-3, 1e-2, 0.1, 1.0) if t > least * 1.6)
    x = Axis(least, 1.0, "share of ok images rejected (overkill)", ((least, "0"), *ticks), log)
    frame = Frame(46, 26, 404, 226, x, share_axis("recall"))
    picture = Picture(420, 270, "ROC curve: recall over the rate of overkills", "live-chart roc")
    picture.add("{}", frame.axes())
    rates = ((alarms - hits) / max(oks, 1)).tolist()
    points = [(0.0, 0.0)]
    for f, r in zip(rates, recall.tolist(), strict=True):
        points += [(f, points[-1][1]), (f, r)]
    picture.add('<path class="curve defect" d="{}"/>', frame.path(thinned(points, frame)))
    picture.add('<circle class="live dot" r="6"/>')
    return first, plotted(picture, frame)


def loss_charts(history: dict[str, Any]) -> list[tuple[str, Markup]]:
    """A chart for each figure that was noted after every epoch, a line a fold.

    Training and validation loss share one, so that overfitting is seen.
    """
    folds = [fold for fold in history.get("folds", []) if isinstance(fold, list) and fold]
    if not folds:
        return []
    names = [
        name
        for name, value in folds[0][-1].items()
        if name != "epoch" and isinstance(value, (int, float))
    ]
    together = [name for name in ("loss", "validation_loss") if name in names]
    sets = [together] if together else []
    sets += [[name] for name in names if name not in together]
    charts = []
    for chosen in sets[:6]:
        lines = [
            (
                fold,
                name,
                [
                    (float(e["epoch"]), float(e[name]))
                    for e in epochs
                    if np.isfinite(e.get(name, np.nan))
                ],
            )
            for fold, epochs in enumerate(folds)
            for name in chosen
        ]
        title = " and ".join(_TITLES.get(name, name.replace("_", " ")) for name in chosen)
        charts.append((title, _lines(title, lines)))
    return charts


def _lines(title: str, lines: Sequence[tuple[int, str, list[tuple[float, float]]]]) -> Markup:
    values = [value for _, _, points in lines for _, value in points] or [0.0]
    last = max([epoch for _, _, points in lines for epoch, _ in points] or [1.0])
    low, high = min(values), max(values)
    if 0 <= low < high / 2:
        low = 0.0
    if high <= 1 and not title.endswith("loss"):
        high = 1.0
    epochs = sorted({1, round(last / 4), round(last / 2), round(last * 3 / 4), round(last)} - {0})
    frame = Frame(
        *(46, 26, 404, 226),
        Axis(1.0, max(last, 1.5), "epoch", tuple((float(e), str(e)) for e in epochs)),
        even_axis(low, high, title),
    )
    picture = Picture(420, 270, f"{title} by epoch, one line per fold")
    picture.add("{}", frame.axes())
    for fold, name, points in lines:
        held = "validation" if name.startswith("validation") else "training"
        picture.add(
            '<path class="curve {} thin" stroke-dasharray="{}" d="{}">'
            "<title>fold {}, {}</title></path>",
            "defect" if held == "validation" else "ok",
            _DASHES[fold % len(_DASHES)],
            frame.path(points),
            fold + 1,
            name.replace("_", " "),
        )
    return picture.markup()


def size_chart(flaws: Sequence[Flaw], threshold: float) -> Markup:
    """Each defect's score over its area."""
    areas = [flaw.area for flaw in flaws]
    x = log_axis(min(areas) / 1.3, max(areas) * 1.3, "marked pixels of the image")
    y = score_axis([*(flaw.score for flaw in flaws), threshold])
    frame = Frame(52, 26, 404, 226, x, y)
    picture = Picture(
        420, 270, "Score of each defect over the size of its mask", "live-chart sizes"
    )
    picture.add("{}", frame.axes())
    for flaw in flaws:
        at = frame.at(flaw.area, flaw.score)
        picture.add(
            '<circle class="defect" cx="{:.1f}" cy="{:.1f}" r="4">'
            "<title>{}: {:,} pixels, score {:.3f}</title></circle>",
            *at,
            shown(flaw.name),
            flaw.area,
            flaw.score,
        )
    picture.add(
        '<path class="live line-y" data-x0="{}" data-x1="{}" d=""/>', frame.left, frame.right
    )
    return plotted(picture, frame)


def frontier_chart(tried: Sequence[dict[str, Any]]) -> Markup | None:
    """AP over milliseconds an image of every configuration that was tried; None without any.

    Args:
        tried: with ``name``, ``ms``, ``ap`` and ``chosen`` each.
    """
    if not tried:
        return None
    slowest = max(float(one["ms"]) for one in tried)
    worst = min(float(one["ap"]) for one in tried)
    frame = Frame(
        *(56, 26, 404, 226),
        even_axis(0.0, slowest, "milliseconds an image"),
        even_axis(worst, 1.0, "average precision, out of fold"),
    )
    picture = Picture(420, 270, "Average precision over time of the configurations tried")
    picture.add("{}", frame.axes())
    for one in tried:
        picture.add(
            '<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="{}">'
            "<title>{}: {:.1f} ms, AP {:.4f}</title></circle>",
            "dot" if one.get("chosen") else "defect",
            *frame.at(float(one["ms"]), float(one["ap"])),
            6 if one.get("chosen") else 4,
            one["name"],
            float(one["ms"]),
            float(one["ap"]),
        )
    return picture.markup()
