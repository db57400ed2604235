"""False alarms and delays of drift: ``python -m tests.bench.drift --bundle B --images D``.

D is a data set that the bundle has not seen, of the same line. Its good images are drawn again and
again, as they are and changed, and go through the agent's own drift watch.

With ``--oof RUN/oof.csv`` D may be what the bundle learned from: every other group makes the
reference, the rest is drawn from, both with the scores of models that had not seen the image.
Changed images are judged by the bundle, and so are unchanged ones, to see what that alone does.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import logging
import random
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter

from edge_agent.bundle import open_bundle
from edge_agent.bundle.appearance import appearance
from edge_agent.bundle.preprocess import decode_for, fit
from edge_agent.engine.worker.predictor import Predictor
from edge_agent.telemetry.drift import DriftWatch
from edge_agent.types import Image as ImageFile
from tests.inspections import inspection
from trainer.data import open_dataset
from trainer.data.reference import make_reference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge_agent.types import Inspection
    from trainer.data import Sample

MOST = 5000
"""Frames after which a change counts as not seen."""
FILLED = 250


def encoded(image: Image.Image, like: Image.Image, quality: int | None = None) -> bytes:
    """In the original's format, a JPEG with its own quantization: only what is meant changes."""
    stream = io.BytesIO()
    if quality is not None:
        image.save(stream, "JPEG", quality=quality)
    elif like.format == "JPEG":
        image.save(stream, "JPEG", qtables=like.quantization)  # type: ignore[attr-defined]
    else:
        image.save(stream, like.format)
    return stream.getvalue()


def shifted(image: Image.Image, across: float) -> Image.Image:
    """The camera has moved: the edge's pixels go on."""
    pixels = np.asarray(image)
    by = round(pixels.shape[1] * across)
    pad = ((0, 0), (by, 0), *[(0, 0)] * (pixels.ndim - 2))
    return Image.fromarray(np.pad(pixels, pad, mode="edge")[:, : pixels.shape[1]])


def blurred(radius: float) -> Callable[[Image.Image], bytes]:
    return lambda image: encoded(image.filter(ImageFilter.GaussianBlur(radius)), image)


def lit(factor: float) -> Callable[[Image.Image], bytes]:
    return lambda image: encoded(image.point(lambda grey: min(255.0, grey * factor)), image)


CHANGES: dict[str, Callable[[Image.Image], bytes]] = {
    "unchanged": lambda image: encoded(image, image),
    "brightness +20 %": lit(1.2),
    "brightness +5 %": lit(1.05),
    "JPEG quality 60": lambda image: encoded(image, image, 60),
    "blur, sigma 1": blurred(1.0),
    "blur, sigma 2": blurred(2.0),
    "shifted by 5 %": lambda image: encoded(shifted(image, 0.05), image),
    "shifted by 20 %": lambda image: encoded(shifted(image, 0.20), image),
}


def judged(predictor: Predictor, content: bytes) -> Inspection:
    frame = decode_for(predictor.preprocess, content)
    tensor = fit(frame, predictor.preprocess).tensor
    score = float(predictor.predict(tensor[None]).score[0])
    file = ImageFile("", len(content), frame.width, frame.height)
    return inspection(1, score=score, appearance=appearance(tensor), image=file)


def good_groups(folder: Path) -> list[list[Sample]]:
    groups: dict[str, list[Sample]] = {}
    for sample in open_dataset(folder).samples:
        if not sample.defect:
            groups.setdefault(sample.group, []).append(sample)
    return [groups[name] for name in sorted(groups)]


def drawn(groups: list[list[Inspection]], chance: random.Random) -> Iterator[Inspection]:
    """Image by image, whatever group it is of."""
    every = [one for group in groups for one in group]
    while True:
        yield chance.choice(every)


def in_batches(groups: list[list[Inspection]], chance: random.Random) -> Iterator[Inspection]:
    """Group by group: what follows each other looks alike, as it does on a line."""
    while True:
        yield from chance.choice(groups)


def false_alarms(watch: DriftWatch, stream: Iterator[Inspection], frames: int) -> dict[str, int]:
    """How often each figure's alarm began."""
    begun: dict[str, int] = {}
    before: set[str] = set()
    for _ in range(frames):
        watch.add(next(stream))
        now = {one.figure for one in watch.figures if one.drifting}
        for figure in now - before:
            begun[figure] = begun.get(figure, 0) + 1
        before = now
    return begun


def delay(
    watch: DriftWatch, steady: Iterator[Inspection], changed: Iterator[Inspection]
) -> tuple[int | None, str]:
    """Frames from the change to the first alarm, and the figure; None: not within ``MOST``."""
    for _ in range(FILLED):
        watch.add(next(steady))
    for frame in range(1, MOST + 1):
        watch.add(next(changed))
        for one in watch.figures:
            if one.drifting:
                return frame, one.figure
    return None, ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--oof", type=Path)
    parser.add_argument("--changed", type=int, default=200, help="images that are changed")
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    bundle = open_bundle(options.bundle)
    predictor = Predictor(bundle, "fp32")
    reference = bundle.manifest.reference
    groups = good_groups(options.images)
    plain = [[judged(predictor, s.image.read_bytes()) for s in group] for group in groups]
    if options.oof:
        with options.oof.open(newline="") as stream:
            scores = {row["image"]: float(row["score"]) for row in csv.DictReader(stream)}
        plain = [
            [replace(i, score=scores[s.name]) for i, s in zip(*pair, strict=True)]
            for pair in zip(plain, groups, strict=True)
        ]
        learned = [i for group in plain[::2] for i in group]
        reference = make_reference(
            [s for group in groups[::2] for s in group],
            [i.appearance for i in learned if i.appearance],
            np.array([i.score for i in learned], float),
        )
        groups, plain = groups[1::2], plain[1::2]
    chance = random.Random(options.seed)
    every = [sample for group in groups for sample in group]
    some = chance.sample(every, min(options.changed, len(every)))
    known = sum(reference.brightness.counts)
    print(f"{known} images in the reference, {sum(map(len, plain))} good ones in the stream")
    for name, order in (("image by image", drawn), ("in batches", in_batches)):
        began = time.process_time()
        found = false_alarms(DriftWatch(lambda: reference), order(plain, chance), options.frames)
        each = (time.process_time() - began) / options.frames * 1e6
        print(f"{options.frames} frames, {name}: alarms {json.dumps(found)}, {each:.1f} us a frame")
    for name, change in CHANGES.items():
        other = [[judged(predictor, change(Image.open(s.image))) for s in some]]
        found = [
            delay(DriftWatch(lambda: reference), drawn(plain, chance), drawn(other, chance))
            for _ in range(options.repeats)
        ]
        frames = sorted(MOST + 1 if one is None else one for one, _ in found)
        seen = [figure for one, figure in found if one is not None]
        first = statistics.mode(seen) if seen else "-"
        print(
            f"{name:18} seen {len(seen)}/{options.repeats}, median {frames[len(frames) // 2]}, "
            f"95 % {frames[int(0.95 * (len(frames) - 1))]} frames, first {first}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
