"""``manifest.csv``: a table that says which image is what."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.data.dataset import DatasetError
from trainer.data.listing import Entry, Layout, Listing
from trainer.data.problems import Kind, Problem

if TYPE_CHECKING:
    from trainer.data.dataset import Split

MANIFEST = "manifest.csv"
REQUIRED = ("image", "defect")

_DEFECT = {
    **dict.fromkeys(("1", "true", "yes", "defect", "defective", "ng", "bad"), True),
    **dict.fromkeys(("0", "false", "no", "ok", "good"), False),
}
_SPLITS: dict[str, Split] = {"": "", "train": "train", "test": "test"}


def _read(root: Path) -> Listing:
    file = root / MANIFEST
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{file} is not UTF-8 text ({error}): save it as CSV UTF-8") from None
    header = text.partition("\n")[0]
    delimiter = ";" if header.count(";") > header.count(",") else ","  # some offices' spreadsheets
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restval="")
    try:
        reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or []]
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise DatasetError(f"{file} line {reader.line_num + 1} is not CSV: {error}") from None
    columns = [name for name in reader.fieldnames if name]
    if missing := [name for name in REQUIRED if name not in columns]:
        raise DatasetError(
            f"{file} has no column {' and no column '.join(missing)}; its first line is "
            f"{header.strip()[:200]!r}. It must name the columns: image,mask,defect,group "
            "(mask, group and split may be left out)"
        )
    entries: dict[str, Entry] = {}
    problems: list[Problem] = []
    for line, row in rows:
        where = f"{MANIFEST} line {line}"
        try:
            entry = _entry(root, {name: row[name].strip() for name in columns})
        except (ValueError, OSError, RuntimeError) as error:
            problems.append(Problem(Kind.TABLE, where, str(error)))
            continue
        if entry.name in entries:
            problems.append(Problem(Kind.TABLE, where, f"{entry.name} was listed before"))
        entries.setdefault(entry.name, entry)
    return Listing(tuple(entries.values()), tuple(problems))


def _entry(root: Path, row: dict[str, str]) -> Entry:
    if not row["image"]:
        raise ValueError("the image's path is empty")
    label, split = row["defect"].lower(), row.get("split", "").lower()
    if label not in _DEFECT:
        raise ValueError(f"defect is {row['defect']!r}: write 1 or 0")
    if split not in _SPLITS:
        raise ValueError(f"split is {row['split']!r}: write train or test, or leave it empty")
    image = _inside(root, row["image"])
    mask = row.get("mask", "")
    return Entry(
        name=image.relative_to(root).as_posix(),
        image=image,
        mask=_inside(root, mask) if mask else None,
        defect=_DEFECT[label],
        group=row.get("group", ""),
        split=_SPLITS[split],
    )


def _inside(root: Path, text: str) -> Path:
    """The file that a cell names. A table may have come from anywhere: it stays in its folder."""
    relative = Path(text.replace("\\", "/"))
    path = root / relative
    if relative.is_absolute() or ".." in relative.parts:
        raise ValueError(f"{text} is not a path inside the folder of the table")
    if not path.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"{text} leads outside the folder of the table, to {path.resolve()}")
    return path


TABLE = Layout(
    MANIFEST,
    """\
manifest.csv      image,mask,defect,group    (mask, group and split may be left out)
                  a/1.png,,0,part7
                  a/2.png,a/2_mask.png,1,part8""",
    lambda root: (root / MANIFEST).is_file(),
    _read,
)
