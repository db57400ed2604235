"""Give each mask to its image, by where the two lie and what they are called."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trainer.data.problems import Kind, Problem

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.data.dataset import Split

_ENDINGS = ("_mask", "_gt", "_label")


@dataclass(frozen=True)
class Found:
    """An image by its place: the class folder, its subfolders and the stem, as `same_name`."""

    image: Path
    place: tuple[str, ...]
    defect: bool
    split: Split
    mask: Path | None = None


@dataclass(frozen=True)
class Mask:
    """A mask by its place: as that of its image, as far as the mask's own place says it."""

    file: Path
    split: Split
    """"" where it doesn't say: it is of whichever split has the image."""
    place: tuple[str, ...]

    @property
    def of(self) -> tuple[tuple[str, ...], ...]:
        """Places that its image may have, the likeliest first."""
        *folders, stem = self.place
        return (self.place, (*folders, unmasked_name(stem)))


_Key = tuple["Split", tuple[str, ...]]


def unmasked_name(stem: str) -> str:
    """A mask's stem without its ending."""
    for ending in _ENDINGS:
        if stem.lower().endswith(ending):
            return stem[: -len(ending)]
    return stem


def pair(root: Path, images: list[Found], masks: list[Mask]) -> tuple[list[Found], list[Problem]]:
    """The images with their masks, and what is wrong.

    A mask that doesn't say which class it belongs to is a defective image's; only where none has
    its name may it be an ok image's, since there it can but be black. Several masks in a folder
    that is called as the image is are merged (MVTec LOCO).
    """
    by_place = _by_place(images)
    paired = list(images)
    problems = []
    folders: set[Path] = set()
    for mask in masks:
        where = mask.file.relative_to(root).as_posix()
        fitting = next(
            (by_place[mask.split, p] for p in mask.of if (mask.split, p) in by_place), []
        )
        target = mask.file
        if not fitting and len(mask.place) > 1:
            target = mask.file.parent
            if target in folders:
                continue
            fitting = by_place.get((mask.split, mask.place[:-1]), [])
            folders |= {target} if fitting else set()
        if not fitting:
            problems.append(Problem(Kind.MASK_ORPHAN, where))
        elif len(fitting) > 1 or paired[fitting[0]].mask is not None:
            rivals = ", ".join(images[i].image.relative_to(root).as_posix() for i in fitting)
            problems.append(Problem(Kind.MASK_SHARED, where, rivals))
        else:
            paired[fitting[0]] = replace(paired[fitting[0]], mask=target)
    return paired, problems


def _by_place(images: list[Found]) -> dict[_Key, list[int]]:
    """The images that a mask of some place may belong to."""
    found: dict[_Key, list[int]] = defaultdict(list)
    for defect in (True, False):
        for index, image in enumerate(images):
            if image.defect is not defect:
                continue
            # A mask that names no split is looked for in all of them.
            for split in {image.split, ""}:
                found[split, image.place].append(index)
                for shorter in range(1, len(image.place)):
                    fitting = found[split, image.place[shorter:]]
                    if all(images[other].defect is defect for other in fitting):
                        fitting.append(index)
    return dict(found)
