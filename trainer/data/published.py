"""Layouts of published data sets: KolektorSDD2, KolektorSDD, MVTec AD and MVTec LOCO."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from trainer.data.listing import Entry, Layout, Listing, folders_in, images_in, same_name
from trainer.data.problems import Kind, Problem
from trainer.data.words import folder_says

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
        masks = {same_name(file.stem[:-3]): file for file in files if file.stem.endswith("_GT")}
        for image in files:
            if not image.stem.endswith("_GT"):
                name = f"{split}/{image.name}"
                mask = masks.pop(same_name(image.stem), None)
                entries.append(Entry(name, image, mask, split=split))
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
        masks = {same_name(file.stem[:-6]): file for file in files if file.stem.endswith("_label")}
        for image in files:
            if not image.stem.endswith("_label"):
                name = f"{folder.name}/{image.name}"
                mask = masks.pop(same_name(image.stem), None)
                entries.append(Entry(name, image, mask, group=folder.name))
        problems += [
            Problem(Kind.MASK_ORPHAN, f"{folder.name}/{mask.name}", "its image is not there")
            for mask in masks.values()
        ]
    return Listing(tuple(entries), tuple(problems))


def _is_mvtec(root: Path) -> bool:
    trained_on = [folder_says(folder.name) for folder in folders_in(root / "train")]
    return trained_on == [False] and any(
        folder_says(folder.name) is not False for folder in folders_in(root / "test")
    )


def _read_mvtec(root: Path) -> Listing:
    """Read it without its split: the authors' training part has no defect to learn from."""
    entries = []
    for split in ("train", "validation", "test"):
        for folder in folders_in(root / split):
            if folder_says(folder.name) is False:
                entries += [
                    Entry(f"{split}/{folder.name}/{image.name}", image, defect=False)
                    for image in images_in(folder)
                ]
    problems = []
    for kind in folders_in(root / "test"):
        if folder_says(kind.name) is False:
            continue
        masks = _truth(root / "ground_truth" / kind.name)
        for image in images_in(kind):
            name = f"test/{kind.name}/{image.name}"
            mask = masks.pop(same_name(image.stem), None)
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


def _truth(folder: Path) -> dict[str, Path]:
    """The masks of a kind by their image: files (000_mask.png), or folders of several (LOCO)."""
    nested = {same_name(inner.name): inner for inner in folders_in(folder) if images_in(inner)}
    files = {same_name(file.stem.removesuffix("_mask")): file for file in images_in(folder)}
    return nested | files


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
train/good/000.png                           (or ok/)
test/good/000.png  test/scratch/000.png  test/dent/000.png
ground_truth/scratch/000_mask.png  ground_truth/dent/000_mask.png
                                             (or ground_truth/dent/000/000.png ..., merged)""",
    _is_mvtec,
    _read_mvtec,
)
