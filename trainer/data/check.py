"""Look into every file that a layout listed, once, and collect all that is wrong."""

from __future__ import annotations

import errno
import os
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.bundle.formats import open_picture
from edge_agent.bundle.preprocess import DecodeError, TooLargeError, decode
from trainer.data.dataset import DatasetError, Sample
from trainer.data.glance import glance_at
from trainer.data.listing import mask_files
from trainer.data.problems import Kind, Problem
from trainer.data.read import decode_mask
from trainer.data.splits import make_folds
from trainer.progress import progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from trainer.data.glance import Glance
    from trainer.data.listing import Entry, Listing


@dataclass(frozen=True)
class Seen:
    """An entry after its files were read."""

    entry: Entry
    problems: tuple[Problem, ...]
    glance: Glance | None = None
    """What was seen of the image; None where it couldn't be read."""
    marked: float | None = None
    """Share of the pixels that the mask marks; None without one, or where it couldn't be read."""

    @property
    def sha256(self) -> str:
        """Of the image's bytes; "" where it couldn't be read."""
        return self.glance.sha256 if self.glance else ""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height; 0 where it couldn't be read."""
        return (self.glance.width, self.glance.height) if self.glance else (0, 0)

    @property
    def defect(self) -> bool:
        """The label, from the layout or else from the mask."""
        return bool(self.marked) if self.entry.defect is None else self.entry.defect


def look(root: Path, listing: Listing, max_pixels: int) -> tuple[list[Seen], list[Problem]]:
    """Decode every image and mask. Decoding leaves the interpreter's lock, so threads help."""
    seen = []
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        progress("reading the data set", len(listing.entries), passing=True) as advance,
    ):
        for one in pool.map(partial(_look_at, root, max_pixels), listing.entries):
            seen.append(one)
            advance("")
    problems = [*listing.problems, *(problem for one in seen for problem in one.problems)]
    problems += _unlabelled(seen)
    problems += _contradictions(seen)
    return seen, problems


def samples_of(seen: Sequence[Seen], max_pixels: int) -> tuple[Sample, ...]:
    """The samples, byte copies of an image in one group with it."""
    merged = _merge(
        (one.entry.group or one.entry.name, one.sha256 or one.entry.name) for one in seen
    )
    return tuple(
        Sample(
            name=one.entry.name,
            image=one.entry.image,
            mask=one.entry.mask if one.defect else None,
            defect=one.defect,
            group=merged[one.entry.group or one.entry.name],
            split=one.entry.split,
            max_pixels=max_pixels,
            glance=one.glance,
            marked=one.marked if one.defect and one.entry.mask else None,
        )
        for one in seen
    )


def class_problems(samples: Sequence[Sample], folds: int) -> list[Problem]:
    """Say which class is missing, or too thin to be split into ``folds``."""
    problems = []
    splits = sorted({sample.split for sample in samples}) or [""]
    for split in splits:
        labels = [sample.defect for sample in samples if sample.split == split]
        where = f"in {split}/" if split else ""
        if True not in labels:
            problems.append(
                Problem(
                    Kind.CLASSES, where, f"{labels.count(False)} good images, no defective ones"
                )
            )
        if False not in labels:
            problems.append(
                Problem(Kind.CLASSES, where, f"{labels.count(True)} defective images, no good ones")
            )
    if not problems and folds > 1:
        learned = [sample for sample in samples if sample.split != "test"]
        try:
            make_folds(learned, folds, seed=0)
        except DatasetError as error:
            problems.append(Problem(Kind.CLASSES, "", str(error)))
    return problems


def copy_notes(seen: Sequence[Seen]) -> list[str]:
    """What to know about byte copies of images."""
    by_hash: dict[str, list[Entry]] = defaultdict(list)
    for one in seen:
        by_hash[one.sha256].append(one.entry)
    notes = []
    if copies := len(seen) - len(by_hash):
        notes.append(f"{copies} images are byte copies of another: kept in one group with it")
    if across := [
        same for same in by_hash.values() if {entry.split for entry in same} >= {"train", "test"}
    ]:
        notes.append(
            f"{len(across)} images of train/ are in test/ too (such as {across[0][0].name} and "
            f"{across[0][-1].name}): figures on the test part are too optimistic"
        )
    return notes


def large_notes(seen: Sequence[Seen], usual: int) -> list[str]:
    """What to know about images of more than ``usual`` pixels: a station refuses them, too."""
    largest = max(seen, key=lambda one: prod(one.size))
    pixels = prod(largest.size)
    if pixels <= usual:
        return []
    text = (
        f"{largest.entry.name} has {pixels} pixels: a station that is to judge such images needs "
        f"max_pixels = {pixels} in [worker]"
    )
    return [text]


def _look_at(root: Path, max_pixels: int, entry: Entry) -> Seen:
    try:
        data = _bytes_of(entry.image)
        frame = decode(data, max_pixels=max_pixels)
    except FileNotFoundError:
        return Seen(entry, (Problem(Kind.MISSING_IMAGE, entry.name),))
    except TooLargeError as error:
        return Seen(entry, (Problem(Kind.TOO_LARGE, entry.name, str(error)),))
    except (OSError, DecodeError) as error:
        return Seen(entry, (Problem(Kind.IMAGE, entry.name, _reason(error)),))
    seen, (width, height) = glance_at(data, frame), frame.size
    if entry.mask is None:
        return Seen(entry, (), seen)
    size = f"{width} x {height}" + (
        ", upright as its EXIF orientation says" if _turned(data) else ""
    )
    problems: list[Problem] = []
    masks = []
    for file in mask_files(entry.mask):
        where = file.relative_to(root).as_posix()
        try:
            mask = decode_mask(_bytes_of(file), max_pixels=max_pixels)
            masks.append(mask)
            if mask.shape != (height, width):
                sizes = f"{mask.shape[1]} x {mask.shape[0]}, the image {size}"
                problems.append(Problem(Kind.MASK_SIZE, where, sizes))
        except FileNotFoundError:
            problems.append(Problem(Kind.MISSING_MASK, entry.name, f"{where} is not there"))
        except TooLargeError as error:
            problems.append(Problem(Kind.TOO_LARGE, where, str(error)))
        except (OSError, DecodeError) as error:
            problems.append(Problem(Kind.MASK, where, _reason(error)))
    marked = _share(masks)
    where = entry.mask.relative_to(root).as_posix()
    if entry.defect is True and marked == 0:
        problems.append(Problem(Kind.MASK_BLACK, entry.name, where))
    if entry.defect is False and marked:
        problems.append(Problem(Kind.MASK_MARKED, entry.name, where))
    return Seen(entry, tuple(problems), seen, marked)


def _share(masks: Sequence[NDArray[np.bool_]]) -> float | None:
    """Of the pixels that any of the masks marks; 1 of masks that are not of one size."""
    if not masks:
        return None
    if len({mask.shape for mask in masks}) > 1:
        return float(any(mask.any() for mask in masks))
    return float(np.logical_or.reduce(masks).mean())


def _turned(data: bytes) -> bool:
    """Whether a camera noted that an image lies on its side: labelling programs differ in that."""
    return open_picture(data).orientation != 1


def _bytes_of(file: Path) -> bytes:
    if file.exists() and not file.is_file():  # a pipe would be waited for, for ever
        raise OSError(errno.EINVAL, "not a regular file")
    return file.read_bytes()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _unlabelled(seen: Sequence[Seen]) -> list[Problem]:
    """Find lost masks where the mask is the label.

    Some archives have a black mask for every ok image, others none. Where there are black ones,
    an image without any has lost its mask, and could be either.
    """
    if not any(one.entry.defect is None and one.marked == 0 for one in seen):
        return []
    return [
        Problem(Kind.MISSING_MASK, one.entry.name)
        for one in seen
        if one.entry.defect is None and one.entry.mask is None
    ]


def _contradictions(seen: Sequence[Seen]) -> list[Problem]:
    by_hash: dict[str, list[Seen]] = defaultdict(list)
    for one in seen:
        if not one.problems:
            by_hash[one.sha256].append(one)
    problems = []
    for same in by_hash.values():
        defect = [one.entry.name for one in same if one.defect]
        ok = [one.entry.name for one in same if not one.defect]
        if defect and ok:
            problems.append(
                Problem(Kind.CONTRADICTION, defect[0], f"defective; the same bytes are {ok[0]}: ok")
            )
    return problems


def _merge(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Join groups that share an image: each group's name to the first name of those joined."""
    parent: dict[str, str] = {}

    def find(group: str) -> str:
        while parent.setdefault(group, group) != group:
            parent[group] = parent[parent[group]]
            group = parent[group]
        return group

    owner: dict[str, str] = {}
    for group, sha256 in pairs:
        one, other = find(group), find(owner.setdefault(sha256, group))
        parent[max(one, other)] = min(one, other)
    return {group: find(group) for group in list(parent)}
