"""What a layout says is there, before anyone has looked into the files."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trainer.data.dataset import Split
    from trainer.data.problems import Problem

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pnm"}
)
_OTHERS = frozenset({".jfif", ".jpe", ".gif", ".jp2", ".j2k", ".heic", ".heif", ".avif"})
"""Images too, in formats that are not read."""


@dataclass(frozen=True)
class Entry:
    """An image as the layout lists it."""

    name: str
    image: Path
    mask: Path | None = None
    """A file, or a folder of several: see `mask_files`."""
    defect: bool | None = None
    """None: the mask decides, and a black one, or none, means ok."""
    group: str = ""
    """"": the layout knows none."""
    split: Split = ""


@dataclass(frozen=True)
class Listing:
    """All that a layout found, and what it could tell is wrong from the names alone."""

    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """A way to arrange labelled images in a folder."""

    name: str
    tree: str
    """What it looks like, for a person."""
    recognises: Callable[[Path], bool]
    read: Callable[[Path], Listing]


def images_in(folder: Path) -> list[Path]:
    """The image files right inside a folder, by name; hidden files (``._a.png``) are no images."""
    if not folder.is_dir():
        return []
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")
    )


def folders_in(folder: Path) -> list[Path]:
    """The folders right inside a folder, by name, hidden ones left out."""
    if not folder.is_dir():
        return []
    return sorted(
        inner for inner in folder.iterdir() if inner.is_dir() and not inner.name.startswith(".")
    )


def walk(folder: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Every image file below a folder, with the names of the folders in between."""
    for file in images_in(folder):
        yield file, ()
    for inner in folders_in(folder):
        for file, names in walk(inner):
            yield file, (inner.name, *names)


def mask_files(mask: Path) -> list[Path]:
    """The files that a mask is in: several where an image has a folder of them (MVTec LOCO)."""
    return images_in(mask) if mask.is_dir() else [mask]


def same_name(name: str) -> str:
    """A name for comparing: macOS takes "ü" apart, others don't, and people mean the same file."""
    return unicodedata.normalize("NFC", name)


def left_out(root: Path, listing: Listing) -> list[str]:
    """The images below ``root`` that a layout did not list, by name: nobody may miss them.

    What only a link to a folder leads to is not looked at.
    """
    listed = {entry.image for entry in listing.entries}
    for entry in listing.entries:
        listed.update(mask_files(entry.mask) if entry.mask else ())
    found = []
    for folder, inner, names in os.walk(root):
        inner[:] = [name for name in inner if not name.startswith(".")]
        files = [Path(folder, name) for name in names if not name.startswith(".")]
        images = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES | _OTHERS]
        found += [file.relative_to(root).as_posix() for file in images if file not in listed]
    return sorted(found)
