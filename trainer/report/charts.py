"""The report's charts of scores. Elements of class ``live`` follow the threshold slider."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trainer.report.svg import (
    Axis,
    Frame,
    Picture,
    count_axis,
    log_count,
    plotted,
    score_axis,
    share_axis,
    thinned,
)

if TYPE_CHECKING:
    from markupsafe import Markup

    from trainer.report.files import RunFiles

BINS = 60


def score_chart(run: RunFiles, width: int, height: int) -> Markup:
    """Histogram of the scores, ok above and defects below, and the errors at every threshold.

    The slider under it has the same axis, so that the line and the slider's knob are one.
    """
    x = score_axis(run.scores.tolist(), "")
    edges = np.linspace(x.warp(x.low), x.warp(x.high), BINS + 1)
    places = np.clip([x.warp(score) for score in run.scores.tolist()], edges[0], edges[-1])
    oks, _ = np.histogram(places[~run.labels], edges)
    defects, _ = np.histogram(places[run.labels], edges)
    left, right = 40.0, width - 14.0
    top, bottom = 26.0, height - 26.0
    middle = top + (bottom - top) * 0.36
    second = top + (bottom - top) * 0.62
    picture = Picture(
        width,
        height,
        f"Scores of {int((~run.labels).sum())} ok and {int(run.labels.sum())} defective images, "
        "and how many would be judged wrongly at each threshold; the table beside says it in "
        "numbers",
        "scores live-chart",
    )
    tallest = log_count(float(max(oks.max(), defects.max(), 1)))
    up, down = (middle - top) / tallest, (second - 12 - middle) / tallest
    step = (right - left) / BINS
    picture.add(
        '<rect class="alarm live-from" x="0" y="{}" width="0" height="{}"/>', top, bottom - top
    )
    for value, text in x.ticks:
        at = left + x.at(value) * (right - left)
        picture.add('<path class="grid" d="M{:.1f},{}V{}"/>', at, top, bottom)
        picture.add('<text class="mid" x="{:.1f}" y="{}">{}</text>', at, bottom + 16, text)
    for counts, scale, kind in ((oks, -up, "ok"), (defects, down, "defect")):
        for place in np.flatnonzero(counts):
            length = log_count(float(counts[place])) * scale
            picture.add(
                '<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}">'
                "<title>{} {} images</title></rect>",
                kind,
                left + place * step + 0.5,
                min(middle, middle + length),
                max(step - 1, 0.8),
                abs(length),
                int(counts[place]),
                kind,
            )
    picture.add('<path class="axis" d="M{},{:.1f}H{}"/>', left, middle, right)
    picture.add('<text class="okay strong" x="4" y="{:.1f}">ok</text>', top + 14)
    picture.add('<text class="bad strong" x="4" y="{:.1f}">defect</text>', middle + 18)
    _errors(picture, run, x, (left, second + 14, right, bottom))
    picture.add(
        '<path class="chosen" d="M{:.1f},{}V{}"/>',
        left + x.at(run.threshold) * (right - left),
        top,
        bottom,
    )
    picture.add('<path class="live line" data-y0="{}" data-y1="{}" d=""/>', top, bottom)
    picture.add('<text class="live-label strong" y="{}"></text>', top - 8)
    return plotted(picture, Frame(left, top, right, bottom, x, share_axis("")))


def _errors(
    picture: Picture, run: RunFiles, x: Axis, box: tuple[float, float, float, float]
) -> None:
    """Escapes and overkills over the threshold, as steps."""
    left, top, right, bottom = box
    defects, oks = np.sort(run.scores[run.labels]), np.sort(run.scores[~run.labels])
    thresholds = np.unique(np.concatenate([[x.low], run.scores, [x.high]]))
    escapes = np.searchsorted(defects, thresholds, side="left")
    overkills = len(oks) - np.searchsorted(oks, thresholds, side="left")
    frame = Frame(left, top, right, bottom, x, count_axis(max(len(oks), len(defects)), ""))
    for value, text in frame.y.ticks:
        _, y = frame.at(x.low, value)
        picture.add('<path class="grid" d="M{},{:.1f}H{}"/>', left, y, right)
        picture.add('<text class="end" x="{}" y="{:.1f}">{}</text>', left - 6, y + 4, text)
    for counts, kind in ((overkills, "ok"), (escapes, "defect")):
        steps = [(float(t), float(c)) for t, c in zip(thresholds, counts, strict=True)]
        corners = [
            point
            for (t, c), (after, _) in zip(steps, [*steps[1:], steps[-1]], strict=True)
            for point in ((t, c), (after, c))
        ]
        picture.add('<path class="curve {}" d="{}"/>', kind, frame.path(thinned(corners, frame)))
    picture.add('<text class="okay" x="{}" y="{}">overkills</text>', left + 4, top - 2)
    picture.add('<text class="bad end" x="{}" y="{}">escapes</text>', right, top - 2)


def fold_strips(run: RunFiles, width: int) -> Markup:
    """Every score as a tick, a row a fold: does one threshold fit all?"""
    folds = int(run.folds.max()) + 1
    row = 44
    title = "Scores fold by fold: ok images above, defects below each line"
    picture = Picture(width, 20 + folds * row + 24, title, "live-chart folds")
    x = score_axis(run.scores.tolist())
    frame = Frame(52, 14, width - 14, 14 + folds * row, x, share_axis(""))
    for value, text in x.ticks:
        at, _ = frame.at(value, 0)
        picture.add('<path class="grid" d="M{:.1f},{}V{}"/>', at, frame.top, frame.bottom)
        picture.add('<text class="mid" x="{:.1f}" y="{}">{}</text>', at, frame.bottom + 16, text)
    for fold in range(folds):
        y = frame.top + (fold + 0.5) * row
        picture.add('<text x="4" y="{:.1f}">fold {}</text>', y + 4, fold + 1)
        picture.add('<path class="axis" d="M{},{:.1f}H{}"/>', frame.left, y, frame.right)
        for defect, kind, reach in ((False, "ok", -13), (True, "defect", 13)):
            chosen = (run.folds == fold) & (run.labels == defect)
            places = np.unique(
                np.round([frame.at(s, 0)[0] for s in run.scores[chosen].tolist()], 1)
            )
            path = "".join(f"M{at:.1f},{y:.1f}v{reach}" for at in places)
            picture.add('<path class="tick {}" d="{}"/>', kind, path)
    picture.add('<path class="live line" data-y0="{}" data-y1="{}" d=""/>', frame.top, frame.bottom)
    return plotted(picture, frame)
