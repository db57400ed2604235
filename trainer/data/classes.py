"""Which folders hold ok images, which hold defective ones, by their names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainer.data.listing import folders_in, walk
from trainer.data.words import folder_says, is_mask_folder, plain

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.data.dataset import Split

_OTHERS = (
    "train training test testing val valid validation all raw unknown unlabelled unlabeled unsure "
    "unclear review todo new other others misc trash tmp temp backup old label labels annotation "
    "annotations background calibration"
)
_NO_KINDS = frozenset(_OTHERS.split())
"""Folders beside ok/ that are no kind of defect."""


@dataclass(frozen=True)
class Classes:
    """The folders of a place, sorted out."""

    ok: tuple[Path, ...]
    defect: tuple[Path, ...]
    masks: tuple[Path, ...]
    kinds: bool = False
    """The defective ones have names of their own, each for a kind of defect, beside ok/."""

    def __bool__(self) -> bool:
        return bool(self.ok or self.defect)


def classes_in(base: Path) -> Classes:
    """Sort the folders right inside ``base``.

    Where some are called as ok images are and none as defective ones, each other folder with
    images is a kind of defect (scratch/, dent/), unless its name says that it is something else.
    """
    inner = folders_in(base)
    masks = tuple(folder for folder in inner if is_mask_folder(folder.name))
    ok = tuple(folder for folder in inner if folder_says(folder.name) is False)
    defect = tuple(folder for folder in inner if folder_says(folder.name))
    if defect or not ok:
        return Classes(ok, defect, masks)
    kinds = tuple(
        folder
        for folder in inner
        if folder not in (*ok, *masks) and plain(folder.name) not in _NO_KINDS and _any(folder)
    )
    return Classes(ok, kinds, masks, kinds=bool(kinds))


def parts_of(root: Path) -> dict[Split, Path]:
    """Where to look: train/ and test/ if both classes are in there; else images/, or the root."""
    split: dict[Split, Path] = {"train": root / "train", "test": root / "test"}
    if (found := classes_in(split["train"])) and found.ok and found.defect:
        return split
    if not classes_in(root):
        for folder in folders_in(root):
            if plain(folder.name) in ("images", "image") and classes_in(folder):
                return {"": folder}
    return {"": root}


def _any(folder: Path) -> bool:
    return next(walk(folder), None) is not None
