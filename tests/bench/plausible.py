"""How often plausibility is wrong: ``python -m tests.bench.plausible DATA [OTHER...]``.

DATA is a data set of one camera, as `trainer train` reads it; OTHERS are of other products. Bounds
are made from a part of DATA's groups by what `trainer train` makes them with, and the images of the
other groups are held to them: five folds, drawn ten times, and parts as small as ten images. Then
pictures of nothing, and of something else, are.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from edge_agent.bundle.plausible import Sight, why_implausible
from edge_agent.bundle.preprocess import decode_for, fit
from trainer.config import DenseConfig
from trainer.data import Dataset, Sample, hold_back, load_image, make_folds, open_dataset
from trainer.data.expects import look_at, make_expects
from trainer.recipes.dense import settle

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from edge_agent.bundle import Expects, Preprocess

REPEATS = 10
PARTS = (10, 20, 50, 100, 200)
DRAWN = 100
"""Parts of each size."""


def as_png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=0)
    return stream.getvalue()


def like(image: Image.Image, pixels: NDArray[np.uint8] | int) -> Image.Image:
    """A picture of the image's size and mode, of these grey values."""
    grey = np.broadcast_to(np.asarray(pixels, np.uint8), (image.height, image.width))
    return Image.fromarray(np.ascontiguousarray(grey)).convert(image.mode)


def covered(image: Image.Image, share: float, side: int) -> Image.Image:
    """A cap over so much of it, from the left, top, right or bottom."""
    pixels = np.rot90(np.array(image), side).copy()
    pixels[: round(len(pixels) * share)] = 2
    return Image.fromarray(np.ascontiguousarray(np.rot90(pixels, -side)))


def quarter(image: Image.Image) -> Image.Image:
    w, h = image.size
    return image.crop((w // 4, h // 4, w // 4 + w // 2, h // 4 + h // 2))


def noise(image: Image.Image) -> Image.Image:
    shape = (image.height, image.width)
    return like(image, np.random.default_rng(0).integers(0, 256, shape, np.uint8))


def dim(image: Image.Image) -> Image.Image:
    """A cap on: what a sensor makes of no light."""
    shape = (image.height, image.width)
    grey = np.random.default_rng(0).normal(3.0, 2.0, shape).clip(0, 255).astype(np.uint8)
    return like(image, grey)


def tinted(image: Image.Image) -> Image.Image:
    """In strong colours."""
    grey = np.asarray(image.convert("L"), np.float32)
    return Image.fromarray(np.stack([grey, 0.4 * grey, 0.1 * grey], -1).astype(np.uint8))


BAD: dict[str, Callable[[Image.Image], Image.Image]] = {
    "black": lambda image: like(image, 0),
    "black, as a sensor sees it": dim,
    "white": lambda image: like(image, 255),
    "grey": lambda image: like(image, 128),
    "noise": noise,
    **{f"half covered, side {n}": lambda image, n=n: covered(image, 0.5, n) for n in range(4)},
    "third covered": lambda image: covered(image, 1 / 3, 0),
    "turned": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "quarter of it": quarter,
    "20 x 20": lambda image: image.resize((20, 20)),
    "in colours": tinted,
}
SAME: dict[str, Callable[[Image.Image], Image.Image]] = {
    "grey as RGB": lambda image: image.convert("RGB"),
    "with alpha": lambda image: image.convert("RGBA"),
    "with a palette": lambda image: image.convert("P"),
    "in 16 bits": lambda image: Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 257),
    "brightness +20 %": lambda image: image.point(lambda grey: min(255.0, grey * 1.2)),
    "brightness -20 %": lambda image: image.point(lambda grey: grey * 0.8),
}


def samples_of(folder: Path) -> tuple[Sample, ...]:
    """All of a folder, as one set: a split of its authors is not what this is about."""
    if not (folder / "manifest.csv").exists():
        return open_dataset(folder).samples
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return tuple(
        Sample(
            name=row["image"],
            image=folder / row["image"],
            mask=None,
            defect=row["defect"] == "1",
            group=row["group"] or row["image"],
        )
        for row in rows
    )


def spec_for(samples: Sequence[Sample]) -> Preprocess:
    """As `trainer train` chooses it."""
    frames = [load_image(sample).size for sample in samples]
    width, height = (int(np.median([size[side] for size in frames])) for side in (0, 1))
    learned, _ = hold_back(Dataset(Path(), "", tuple(samples), width, height))
    return settle(DenseConfig(), learned)[1]


def sight(content: bytes, spec: Preprocess) -> Sight:
    frame = decode_for(spec, content)
    return look_at(frame, fit(frame, spec)).sight


def out_of_fold(samples: Sequence[Sample], sights: Sequence[Sight]) -> None:
    outside = 0
    for seed in range(REPEATS):
        folds = np.array(make_folds(samples, 5, seed))
        for fold in range(5):
            learn = np.flatnonzero(folds != fold)
            outside += count(samples, sights, learn, np.flatnonzero(folds == fold))[0]
    print(f"out of fold: {outside} of {REPEATS} x {len(samples)} implausible")


def count(
    samples: Sequence[Sample],
    sights: Sequence[Sight],
    learn: NDArray[np.int64],
    held: NDArray[np.int64],
) -> tuple[int, int]:
    expects = bounds(samples, sights, learn)
    why = [why_implausible(sights[i], expects) for i in held]
    return sum(map(bool, why)), len(why)


def bounds(samples: Sequence[Sample], sights: Sequence[Sight], learn: NDArray[np.int64]) -> Expects:
    return make_expects([sights[i] for i in learn], [samples[i].group for i in learn])


def small_parts(samples: Sequence[Sample], sights: Sequence[Sight]) -> None:
    groups = np.array([sample.group for sample in samples])
    names = np.unique(groups)
    chance = np.random.default_rng(0)
    for size in PARTS:
        if 2 * size > len(samples):
            break
        outside = total = 0
        for _ in range(DRAWN):
            place = {name: at for at, name in enumerate(chance.permutation(names))}
            order = np.argsort([place[name] for name in groups], kind="stable")
            held = order[~np.isin(groups[order], groups[order[:size]])]
            found = count(samples, sights, order[:size], held)
            outside, total = outside + found[0], total + found[1]
        print(f"learned from {size}: {1000 * outside / total:.2f} in 1,000 implausible")


def changed(
    samples: Sequence[Sample], sights: Sequence[Sight], spec: Preprocess, most: int
) -> None:
    """Held-out images, changed: what share is called implausible."""
    folds = np.array(make_folds(samples, 5, 0))
    expects = [bounds(samples, sights, np.flatnonzero(folds != fold)) for fold in range(5)]
    some = np.random.default_rng(0).permutation(len(samples))[:most]
    for name, change in {**BAD, **SAME}.items():
        found = []
        for number in some:
            with Image.open(samples[number].image) as image:
                content = as_png(change(image))
            found.append(why_implausible(sight(content, spec), expects[folds[number]]))
        print(f"{name:28} {sum(map(bool, found))} of {len(found)}  {next(filter(None, found), '')}")


def others(expects: Expects, spec: Preprocess, folders: Sequence[Path], most: int) -> None:
    for folder in folders:
        there = samples_of(folder)
        some = [there[i] for i in np.random.default_rng(0).permutation(len(there))[:most]]
        found = [why_implausible(sight(one.image.read_bytes(), spec), expects) for one in some]
        print(f"{folder.name:28} {sum(map(bool, found))} of {len(found)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("others", type=Path, nargs="*")
    parser.add_argument("--changed", type=int, default=100, help="images of each kind (100)")
    options = parser.parse_args()
    samples = samples_of(options.data)
    spec = spec_for(samples)
    sights = [sight(sample.image.read_bytes(), spec) for sample in samples]
    print(f"{len(samples)} images, fitted to {spec.width} x {spec.height}, {spec.fit}")
    out_of_fold(samples, sights)
    small_parts(samples, sights)
    changed(samples, sights, spec, options.changed)
    everything = make_expects(sights, [sample.group for sample in samples])
    others(everything, spec, options.others, options.changed)
    print(everything.model_dump_json())
    return 0


if __name__ == "__main__":
    sys.exit(main())
