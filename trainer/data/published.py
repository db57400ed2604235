"""Layouts of published data sets: KolektorSDD2, KolektorSDD, MVTec AD."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from trainer.data.listing import Entry, Layout, Listing, folders_in, images_in
from trainer.data.problems import Kind, Problem

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.data.dataset import Split

_KOS = re.compile(r"kos\d+")
_SPLITS: tuple[Split, ...] = ("train", "test")


def _is_kolektorsdd2(root: Path) -> bool:
    return any(file.stem.endswith("_GT") for split in _SPLITS for file in images_in(root / split))


def _read_kolektorsdd2(root: Path) -> Listing:
    entries, problems = [], []
    for split in _SPLITS:
        # The authors' archive has strays.
        files = [file for file in images_in(root / split) if "(copy)" not in file.stem]
        masks = {file.stem[:-3]: file for file in files if file.stem.endswith("_GT")}
        for image in files:
            if not image.stem.endswith("_GT"):
                name = f"{split}/{image.name}"
                entries.append(Entry(name, image, masks.pop(image.stem, None), split=split))
        problems += [
            Problem(Kind.MASK_ORPHAN, f"{split}/{mask.name}", "its image is not there")
            for mask in masks.values()
        ]
    return Listing(tuple(entries), tuple(problems))


def _is_kolektorsdd(root: Path) -> bool:
    return any(_KOS.fullmatch(folder.name) and images_in(folder) for folder in folders_in(root))


def _read_kolektorsdd(root: Path) -> Listing:
    entries, problems = [], []
    for folder in folders_in(root):
        if not _KOS.fullmatch(folder.name):
            continue
        files = images_in(folder)
        masks = {file.stem[:-6]: file for file in files if file.stem.endswith("_label")}
        for image in files:
            if not image.stem.endswith("_label"):
                name = f"{folder.name}/{image.name}"
                mask = masks.pop(image.stem, None)
                entries.append(Entry(name, image, mask, group=folder.name))
        problems += [
            Problem(Kind.MASK_ORPHAN, f"{folder.name}/{mask.name}", "its image is not there")
            for mask in masks.values()
        ]
    return Listing(tuple(entries), tuple(problems))


def _is_mvtec(root: Path) -> bool:
    trained_on = [folder.name for folder in folders_in(root / "train")]
    return trained_on == ["good"] and any(
        folder.name != "good" for folder in folders_in(root / "test")
    )


def _read_mvtec(root: Path) -> Listing:
    """Read it without its split: the authors' training part has no defect to learn from."""
    entries = [
        Entry(f"{split}/good/{image.name}", image, defect=False)
        for split in _SPLITS
        for image in images_in(root / split / "good")
    ]
    problems = []
    for kind in folders_in(root / "test"):
        if kind.name == "good":
            continue
        truth = root / "ground_truth" / kind.name
        masks = {file.stem.removesuffix("_mask"): file for file in images_in(truth)}
        for image in images_in(kind):
            name = f"test/{kind.name}/{image.name}"
            mask = masks.pop(image.stem, None)
            entries.append(Entry(name, image, mask, defect=True))
            if mask is None and (root / "ground_truth").is_dir():
                where = f"ground_truth/{kind.name}/{image.stem}_mask.png"
                problems.append(Problem(Kind.MISSING_MASK, name, f"{where} is not there"))
        problems += [
            Problem(
                Kind.MASK_ORPHAN,
                f"ground_truth/{kind.name}/{mask.name}",
                f"no image of this name in test/{kind.name}",
            )
            for mask in masks.values()
        ]
    note = (
        "the official split is not used: its training part has good images only, "
        "and supervised training needs defects"
    )
    return Listing(tuple(entries), tuple(problems), (note,))


KOLEKTORSDD2 = Layout(
    "KolektorSDD2",
    """\
train/10000.png  train/10000_GT.png  ...     (a black mask: no defect)
test/20000.png   test/20000_GT.png   ...""",
    _is_kolektorsdd2,
    _read_kolektorsdd2,
)
KOLEKTORSDD = Layout(
    "KolektorSDD",
    """\
kos01/Part0.jpg  kos01/Part0_label.bmp  ...  (no mask, or a black one: no defect)
kos02/Part0.jpg  ...                         (one folder is one group)""",
    _is_kolektorsdd,
    _read_kolektorsdd,
)
MVTEC = Layout(
    "MVTec AD",
    """\
train/good/000.png
test/good/000.png  test/scratch/000.png  test/dent/000.png
ground_truth/scratch/000_mask.png  ground_truth/dent/000_mask.png""",
    _is_mvtec,
    _read_mvtec,
)
