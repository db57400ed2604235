"""From a folder to a checked data set, whichever layout it is in."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from statistics import median
from typing import TYPE_CHECKING

from edge_agent.bundle import sha256_of
from edge_agent.bundle.preprocess import MAX_PIXELS
from edge_agent.system.text import printable
from trainer.data.check import class_problems, copy_notes, large_notes, look, samples_of
from trainer.data.dataset import Dataset, DatasetError
from trainer.data.folders import FOLDERS
from trainer.data.listing import folders_in, left_out, mask_files
from trainer.data.problems import Kind, Problem, describe
from trainer.data.published import KOLEKTORSDD, KOLEKTORSDD2, MVTEC
from trainer.data.table import TABLE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from trainer.data.listing import Layout

_FOLDERS = 8
"""So many are named in a message."""

# The table first: somebody wrote it on purpose. Then from the most to the least peculiar.
LAYOUTS = (TABLE, KOLEKTORSDD2, KOLEKTORSDD, MVTEC, FOLDERS)


def open_dataset(root: Path, *, folds: int = 0, max_pixels: int | None = None) -> Dataset:
    """Read a folder of labelled images and check every file in it, in one pass.

    Args:
        root: the folder; how it is arranged is found by looking.
        folds: how many folds will be made of it (of what isn't its test split); 0 for none.
        max_pixels: an image or mask of more is refused, the samples keep it; None: of more than a
            station takes unless it is told otherwise.

    Raises:
        DatasetError: no layout is recognised, or anything at all is wrong; one message names all.
    """
    limit = max_pixels or MAX_PIXELS
    try:
        layout = _recognise(root)
        listing = layout.read(root)
        seen, problems = look(root, listing, limit)
        strays = left_out(root, listing)
    except OSError as error:
        raise DatasetError(f"{error.filename or root} can't be read: {error.strerror}") from None
    samples = samples_of(seen, limit)
    if not samples:
        problems.append(Problem(Kind.CLASSES, "", "there is no image at all"))
    elif not any(one.problems and one.entry.defect is None for one in seen):
        # Else labels may be unknown, and what is missing can't be told yet.
        problems += class_problems(samples, folds)
    if problems:
        told = [describe(root, layout.name, problems)]
        if {problem.kind for problem in problems} & {Kind.CLASSES, Kind.MASK_ORPHAN}:
            # What is missing may be among what was passed over.
            told += [printable(note, 4000) for note in (*listing.notes, *_stray_notes(strays))]
        raise DatasetError("\n".join(told))
    # The input size is chosen by the median: not even that is taken from the test split.
    learned = [one for one in seen if one.entry.split != "test"] or seen
    return Dataset(
        root=root,
        layout=layout.name,
        samples=samples,
        width=round(median(one.size[0] for one in learned)),
        height=round(median(one.size[1] for one in learned)),
        notes=(
            *listing.notes,
            *_stray_notes(strays),
            *copy_notes(seen),
            *large_notes(seen, MAX_PIXELS),
        ),
    )


def fingerprint(dataset: Dataset) -> str:
    """Hex SHA-256 over all that is learned from, the same wherever the folder lies.

    That is: names, labels, groups, splits, and the bytes of images and masks.
    """
    digest = hashlib.sha256()
    for sample in sorted(dataset.samples, key=lambda sample: sample.name):
        image, masks = sha256_of(sample.image), mask_files(sample.mask) if sample.mask else []
        drawn = [sha256_of(mask) for mask in masks]
        # As it was when an image had one mask at most: old fingerprints stay right.
        mask = drawn if len(drawn) > 1 else next(iter(drawn), None)
        row = [sample.name, sample.defect, sample.group, sample.split, image, mask]
        digest.update(json.dumps(row).encode() + b"\n")
    return digest.hexdigest()


def _stray_notes(strays: Sequence[str]) -> list[str]:
    if not strays:
        return []
    what = "image is" if len(strays) == 1 else "images are"
    such = " and ".join(strays[:2])
    text = (
        f"{len(strays)} {what} left out (such as {such}): of a format that is not read, or in a "
        "place where this layout has none"
    )
    folders = Counter((name.rpartition("/")[0] or ".") + "/" for name in strays)
    if len(folders) > 1:
        shown = [f"{folder} {count}" for folder, count in folders.most_common(_FOLDERS)]
        more = ", ..." if len(folders) > _FOLDERS else ""
        text += f". By folder: {', '.join(shown)}{more}"
    return [text]


def _recognise(root: Path) -> Layout:
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "does not exist"
        raise DatasetError(f"{root} {what}: give the folder that holds the images")
    for layout in LAYOUTS:
        if layout.recognises(root):
            return layout
    inner = {
        folder: next((layout.name for layout in LAYOUTS if layout.recognises(folder)), None)
        for folder in folders_in(root)
    }
    if found := [f"{folder} (read as {name})" for folder, name in inner.items() if name]:
        raise DatasetError(f"Give the folder with the images itself: {', '.join(found[:3])}")
    trees = "\n".join(
        f"\n{layout.name}\n" + "\n".join(f"  {line}" for line in layout.tree.splitlines())
        for layout in LAYOUTS
    )
    names = ", ".join(printable(folder.name, 80) for folder in list(inner)[:_FOLDERS])
    has = f" Its folders are called {names}." if inner else ""
    raise DatasetError(f"{root} has no known layout.{has} Arrange it in one of these:\n{trees}")
