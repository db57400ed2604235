"""The images worth looking at, each with heatmap and mask as layers over it."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from edge_agent.bundle import Preprocess
from edge_agent.bundle.preprocess import fit
from trainer.data import load_image
from trainer.data.frames import target_map
from trainer.report.svg import logit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from trainer.data import Sample
    from trainer.report.files import RunFiles

MOST = 60
"""So many pictures are embedded for being wrong ..."""
NEAR = 12
"""... and so many of each class for being the nearest to the threshold."""
LONGEST = 560
"""Pixels of a picture's longer side."""
_QUALITY = 70
# From yellow to red over rising opacity: told apart from the mask's blue by every eye.
_HEAT = np.array([[240, 228, 66], [230, 159, 0], [213, 94, 0], [160, 0, 20]], np.float32)
_OUTLINE = (0, 170, 255)


@dataclass(frozen=True)
class Card:
    """One picture of the report."""

    index: int
    """Place in oof.csv."""
    name: str
    label: bool
    score: float
    fold: int
    width: int
    height: int
    picture: str
    """data: URIs; "" where there is no such layer."""
    heat: str
    mask: str


@dataclass(frozen=True)
class Gallery:
    """The pictures, the most interesting first, and how many there was no room for."""

    cards: tuple[Card, ...]
    left_out: int
    """Escapes and overkills that are not among the cards."""
    heatmaps: bool
    masks: bool


def make_gallery(run: RunFiles, samples: Mapping[str, Sample]) -> Gallery:
    """Pick and draw: the worst mistakes at the threshold, then what is nearest to it.

    Raises:
        DatasetError: an image can't be read any more.
    """
    chosen, left_out = choose(run)
    spec = run.manifest.preprocess if run.manifest else None
    cards = tuple(
        _card(run, index, samples[run.names[index]], spec)
        for index in chosen
        if run.names[index] in samples
    )
    return Gallery(
        cards,
        left_out,
        heatmaps=any(card.heat for card in cards),
        masks=any(card.mask for card in cards),
    )


def choose(run: RunFiles) -> tuple[list[int], int]:
    """Indices of the images to show, and how many mistakes are not among them."""
    middle = logit(run.threshold)
    distance = np.array([abs(logit(score) - middle) for score in run.scores.tolist()])
    wrong = np.flatnonzero((run.scores >= run.threshold) != run.labels)
    worst = wrong[np.argsort(-distance[wrong], kind="stable")]
    # Of each kind half of the room, so that many overkills don't hide the escapes.
    escapes, overkills = worst[run.labels[worst]], worst[~run.labels[worst]]
    room = max(MOST // 2, MOST - len(overkills))
    shown = [*escapes[:room], *overkills[: MOST - len(escapes[:room])]]
    left_out = len(wrong) - len(shown)
    right = (run.scores >= run.threshold) == run.labels
    for label in (True, False):
        near = np.flatnonzero(right & (run.labels == label))
        shown += near[np.argsort(distance[near], kind="stable")][:NEAR].tolist()
    return [int(i) for i in shown], left_out


def _card(run: RunFiles, index: int, sample: Sample, spec: Preprocess | None) -> Card:
    frame = load_image(sample)
    view = _view(frame.size, spec)
    tensor = fit(frame, view).tensor
    grey = frame.mode == "L"
    mask = target_map(sample, view, 1) if sample.mask is not None else None
    return Card(
        index=index,
        name=sample.name,
        label=sample.defect,
        score=float(run.scores[index]),
        fold=int(run.folds[index]),
        width=view.width,
        height=view.height,
        picture=_uri(Image.fromarray(tensor[..., 0] if grey else tensor), "WEBP", quality=_QUALITY),
        heat="" if run.heatmaps is None else _uri(heat(run.heatmaps[index]), "PNG", optimize=True),
        mask="" if mask is None else _uri(outline(mask), "PNG", optimize=True),
    )


def _view(size: tuple[int, int], spec: Preprocess | None) -> Preprocess:
    """How to show an image so that its heatmap lies over it.

    A stretched image is shown in its own shape, and the heatmap is stretched back with it; else
    it is shown as the network saw it, with borders or cropped.
    """
    width, height = size if spec is None or spec.fit == "stretch" else (spec.width, spec.height)
    scale = min(1.0, LONGEST / max(width, height))
    return Preprocess.model_construct(
        width=max(1, round(width * scale)),
        height=max(1, round(height * scale)),
        colour="rgb" if spec is None else spec.colour,
        fit="stretch" if spec is None else spec.fit,
        interpolation="bilinear",
    )


def heat(values: NDArray[np.uint8]) -> Image.Image:
    """A heatmap, (h, w) 0-255, as a picture to lay over the image: clear where it is cold."""
    share = values.astype(np.float32) / 255
    place = share * (len(_HEAT) - 1)
    low = np.minimum(place.astype(int), len(_HEAT) - 2)
    part = (place - low)[..., None]
    colour = _HEAT[low] * (1 - part) + _HEAT[low + 1] * part
    opacity = np.where(share < 0.05, 0.0, 70 + 150 * share)
    return Image.fromarray(np.dstack([colour, opacity]).round().astype(np.uint8))


def outline(mask: NDArray[np.bool_]) -> Image.Image:
    """The border around what a mask, (h, w), marks: two pixels outside of it."""
    grown = mask
    for _ in range(2):
        padded = np.pad(grown, 1)
        grown = grown | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    drawn = Image.fromarray((grown & ~mask).astype(np.uint8))
    drawn.putpalette([0, 0, 0, *_OUTLINE])
    drawn.info["transparency"] = 0
    return drawn


def _uri(image: Image.Image, form: str, **options: object) -> str:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    content = base64.b64encode(stream.getvalue()).decode("ascii")
    return f"data:image/{form.lower()};base64,{content}"
