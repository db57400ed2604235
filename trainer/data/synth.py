"""Synthetic surfaces with flaws and their masks, to try everything with before a camera is there.

They are made from physics (relief, reflectance, light, lens, noise), and so that neither the
brightness nor the contrast of an image tells a flawed one from a good one: exposure and
light vary far more than a flaw does, and dust, pores, streaks, seams and highlights are harmless.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from trainer.data.dataset import DatasetError
from trainer.data.flaws import FLAWS, add_flaw
from trainer.data.surfaces import LIGHTINGS, MATERIALS, make_light, make_surface, photograph

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from trainer.data.flaws import Flaw, Mask
    from trainer.data.surfaces import Material, Picture

WIDTH, HEIGHT = 256, 384
SMALLEST = 64  # below that, flaws are as large as the surface
SECOND_FLAW = 0.2
"""Share of the flawed surfaces that have two flaws."""

_MOST = 1_000_000  # images of a kind
_WIDEST = 8192  # pixels


def make_surfaces(
    out: Path,
    good: int,
    defect: int,
    seed: int,
    *,
    width: int = WIDTH,
    height: int = HEIGHT,
    materials: Sequence[Material] = MATERIALS,
    made: Callable[[Path], None] | None = None,
) -> None:
    """Write 8-bit grey PNG files, as a line camera's: ``ok/``, ``defect/`` and ``masks/``.

    Names say the material and the flaw (``defect/cast_dent_0004.png``), ``synth.json`` how the
    images were made. An image depends on the seed, its number, the size and the materials, not on
    how many there are; with the same libraries on the same kind of machine it is the same byte
    for byte.

    Args:
        out: a new or empty folder.
        good: how many without a flaw.
        defect: how many with one, and now and then two.
        seed: 0 or more.
        width: pixels.
        height: pixels.
        materials: in turn.
        made: called with each image's file once it is written, for those who wait.

    Raises:
        DatasetError: the folder holds something or can't be made, or a number makes no sense.
    """
    few = min(good, defect, seed) >= 0 and max(good, defect) <= _MOST
    if not (few and min(width, height) >= SMALLEST and max(width, height) <= _WIDEST):
        raise DatasetError(
            f"--good, --defect and --seed are 0 or more, the first two at most {_MOST}, width "
            f"and height at least {SMALLEST} and at most {_WIDEST}; given: good "
            f"{good}, defect {defect}, seed {seed}, width {width}, height {height}"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DatasetError(f"{out} is not an empty folder: name a new one")
    try:
        for folder in ("ok", "defect", "masks"):
            (out / folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatasetError(f"{out} can't be made: {error.strerror}") from None
    for number in range(good):
        material = materials[number % len(materials)]
        picture, _ = draw(seed, number, material, None, width=width, height=height)
        file = out / "ok" / f"{material}_{number:04d}.png"
        Image.fromarray(picture).save(file)
        if made:
            made(file)
    for number in range(defect):
        material = materials[number % len(materials)]
        flaw = FLAWS[number // len(materials) % len(FLAWS)]
        picture, mask = draw(seed, number, material, flaw, width=width, height=height)
        file = out / "defect" / f"{material}_{flaw}_{number:04d}.png"
        Image.fromarray(mask).save(out / "masks" / file.name)
        Image.fromarray(picture).save(file)
        if made:
            made(file)
    parameters = {
        "seed": seed,
        "good": good,
        "defect": defect,
        "width": width,
        "height": height,
        "colour": "grey",
        "materials": list(materials),
        "flaws": list(FLAWS),
        "lightings": list(LIGHTINGS),
        "second_flaw": SECOND_FLAW,
    }
    (out / "synth.json").write_text(json.dumps(parameters, indent=2) + "\n", encoding="utf-8")


def draw(
    seed: int, number: int, material: Material, flaw: Flaw | None, *, width: int, height: int
) -> tuple[Picture, Mask]:
    """One picture, (H, W) uint8, and where it is flawed, (H, W) bool."""
    rng = np.random.default_rng([seed, number, int(flaw is not None)])
    surface = make_surface(rng, material, height, width)
    light = make_light(rng, LIGHTINGS[rng.integers(len(LIGHTINGS))], height, width)
    mask = np.zeros((height, width), np.bool_)
    if flaw is not None:
        mask |= add_flaw(rng, flaw, surface, light)
        if rng.random() < SECOND_FLAW:
            mask |= add_flaw(rng, FLAWS[rng.integers(len(FLAWS))], surface, light)
    return photograph(rng, surface, light), mask
