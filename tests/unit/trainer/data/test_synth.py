"""Synthetic surfaces: the same again, read as any data set, and not to be told by brightness."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from trainer.data import DatasetError, load_image, load_mask, open_dataset
from trainer.data.surfaces import LIGHTINGS, MATERIALS, make_light
from trainer.data.synth import HEIGHT, WIDTH, draw, make_surfaces

if TYPE_CHECKING:
    from pathlib import Path


def files_of(root: Path) -> dict[str, bytes]:
    return {
        file.relative_to(root).as_posix(): file.read_bytes()
        for file in root.rglob("*")
        if file.is_file()
    }


def auroc(defect: list[float], ok: list[float]) -> float:
    """Mann and Whitney's U over the number of pairs."""
    bad, good = np.array(defect)[:, None], np.array(ok)
    return float((bad > good).mean() + 0.5 * (bad == good).mean())


def test_they_are_read_as_any_data_set(tmp_path: Path) -> None:
    written: list[Path] = []
    make_surfaces(tmp_path / "s", good=6, defect=9, seed=1, made=written.append)
    dataset = open_dataset(tmp_path / "s", folds=5)
    assert [sample.image for sample in dataset.samples] == sorted(written)[9:] + sorted(written)[:9]
    assert (dataset.width, dataset.height) == (WIDTH, HEIGHT)
    assert load_image(dataset.samples[0]).mode == "L"
    kinds = {sample.image.stem.rsplit("_", 1)[0] for sample in dataset.samples if sample.defect}
    assert kinds == {f"{m}_{f}" for m in MATERIALS for f in ("scratch", "spot", "dent")}
    for sample in dataset.samples:
        if sample.defect:
            assert 10 < load_mask(sample).sum() < 0.2 * WIDTH * HEIGHT
    stated = json.loads((tmp_path / "s" / "synth.json").read_text())
    assert (stated["seed"], stated["good"], stated["defect"]) == (1, 6, 9)


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name, seed, count in (("a", 5, 4), ("b", 5, 4), ("more", 5, 6), ("other", 6, 4)):
        make_surfaces(tmp_path / name, count, count, seed, width=64, height=96)
    one, more = files_of(tmp_path / "a"), files_of(tmp_path / "more")
    assert one == files_of(tmp_path / "b")
    del one["synth.json"]
    assert one.items() <= more.items()
    other = files_of(tmp_path / "other")
    assert all(other[name] != data for name, data in one.items())


@pytest.mark.slow
def test_brightness_and_contrast_tell_nothing() -> None:
    pictures = {
        flawed: [
            draw(
                11,
                number,
                MATERIALS[number % 3],
                ("scratch", "spot", "dent")[number // 3 % 3] if flawed else None,
                width=WIDTH,
                height=HEIGHT,
            )[0]
            for number in range(90)
        ]
        for flawed in (True, False)
    }
    for measure in (np.mean, np.std):
        figures = {
            flawed: [float(measure(picture)) for picture in some]
            for flawed, some in pictures.items()
        }
        assert 0.35 < auroc(figures[True], figures[False]) < 0.65
    everything = np.stack(pictures[True] + pictures[False])
    assert everything.mean(axis=(1, 2)).std() > 25  # exposure really varies
    assert (everything == 255).mean() < 0.01


@pytest.mark.parametrize("material", MATERIALS)
@pytest.mark.parametrize("flaw", ["scratch", "spot", "dent"])
def test_a_flaw_is_where_its_mask_says(material: str, flaw: str) -> None:
    """The texture's fine structure is stronger, or otherwise, inside the mask than around it.

    Shown on the mean over many: a faint one may well hide.
    """
    inside, around, shine = [], [], []
    for number in range(12):
        picture, mask = draw(3, number, material, flaw, width=128, height=192)  # type: ignore[arg-type]
        assert mask.any()
        blurred = Image.fromarray(picture).resize((16, 24), Image.Resampling.BOX)
        background = np.asarray(blurred.resize((128, 192), Image.Resampling.BICUBIC), np.float32)
        deviation = picture / (background + 1) - 1
        inside.append(np.abs(deviation[mask]).mean())
        around.append(np.abs(deviation[~mask]).mean())
        shine.append(np.percentile(deviation[mask], 95) - np.percentile(deviation[~mask], 95))
    assert np.mean(inside) > 1.2 * np.mean(around)
    if flaw == "scratch":  # fresh metal shines, whatever the direction of the light
        assert np.mean(shine) > 0.1


@pytest.mark.parametrize("lighting", LIGHTINGS)
def test_light_is_uneven_and_of_mean_one(lighting: str) -> None:
    light = make_light(np.random.default_rng(2), lighting, 96, 64)  # type: ignore[arg-type]
    assert light.field.shape == (96, 64)
    assert light.field.mean() == pytest.approx(1, abs=1e-4)
    assert light.field.min() > 0.1
    assert np.ptp(light.field) > 0.1


def test_other_sizes_and_materials(tmp_path: Path) -> None:
    make_surfaces(tmp_path, 1, 1, 0, width=300, height=70, materials=("cast",))
    assert {name for name in files_of(tmp_path) if "/" in name} == {
        "ok/cast_0000.png",
        "defect/cast_scratch_0000.png",
        "masks/cast_scratch_0000.png",
    }
    with Image.open(tmp_path / "ok" / "cast_0000.png") as image:
        assert image.size == (300, 70)


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="seed -1"):
        make_surfaces(tmp_path / "new", 1, 1, -1)
    with pytest.raises(DatasetError, match="at least 64"):
        make_surfaces(tmp_path / "new", 1, 1, 0, width=20)
    assert not (tmp_path / "new").exists()
    (tmp_path / "mine.txt").touch()
    with pytest.raises(DatasetError, match="not an empty folder"):
        make_surfaces(tmp_path, 1, 1, 0)
    with pytest.raises(DatasetError, match="can't be made: Not a directory"):
        make_surfaces(tmp_path / "mine.txt" / "new", 1, 1, 0)
