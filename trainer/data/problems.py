"""Everything that is wrong with a folder of images, told at once."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SHOWN = 10  # of each kind: the rest is counted


class Kind(Enum):
    """What can be wrong: a title, and what to do about it. The order is the report's."""

    TABLE = ("wrong rows in the table", "correct them in manifest.csv")
    MISSING_IMAGE = ("listed images that don't exist", "copy them here or remove their rows")
    IMAGE = ("unreadable images", "copy them again or remove them")
    TOO_LARGE = (
        "images or masks above the pixel limit",
        "give --max-pixels, and max_pixels in [worker] at the station, or make them smaller",
    )
    MISSING_MASK = ("images without their mask", "copy the masks again; an ok image's is black")
    MASK = ("unreadable masks", "export them again, as PNG")
    MASK_SIZE = ("masks of another size than their image", "export them at the image's size")
    MASK_BLACK = ("defective images with an all-black mask", "mark the defect, or call them ok")
    MASK_MARKED = ("ok images whose mask marks a defect", "call them defective, or clear the mask")
    MASK_ORPHAN = ("masks without an image", "name each as its image, with _mask at the end")
    MASK_SHARED = (
        "masks that fit several images, or a second one for an image",
        "put them into subfolders as the images are, and one for each",
    )
    CONTRADICTION = ("the same picture labelled ok and defective", "decide which it is")
    CLASSES = ("too few images", "add images of the missing kind")

    def __init__(self, title: str, advice: str) -> None:
        self.title = title
        self.advice = advice


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and where."""

    kind: Kind
    where: str
    """The file's path relative to the root, a line of the table, or ""."""
    detail: str = ""


def describe(root: Path, layout: str, problems: Sequence[Problem]) -> str:
    """The report: problems by kind, the first few of each by name."""
    lines = [f"{root} (read as {layout}) can't be used yet; nothing was changed."]
    for kind in Kind:
        of_kind = [problem for problem in problems if problem.kind is kind]
        if not of_kind:
            continue
        lines.append(f"{kind.title} ({len(of_kind)}): {kind.advice}")
        lines += [f"  {_line(problem)}" for problem in of_kind[:SHOWN]]
        if len(of_kind) > SHOWN:
            lines.append(f"  and {len(of_kind) - SHOWN} more")
    return "\n".join(lines)


def _line(problem: Problem) -> str:
    # Names come from the disk: a newline or an escape in one must not forge a line of the report.
    text = ": ".join(part for part in (problem.where, problem.detail) if part)
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
