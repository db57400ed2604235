"""``manifest.csv``: a table that says which image is what."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.data.dataset import DatasetError
from trainer.data.listing import Entry, Layout, Listing, same_name
from trainer.data.problems import Kind, Problem
from trainer.data.words import cell_says

if TYPE_CHECKING:
    from trainer.data.dataset import Split

MANIFEST = "manifest.csv"
REQUIRED = ("image", "defect")

_USED = (*REQUIRED, "mask", "group", "split")
_NAMED = 5
"""So many of a column's words are named."""
_NO_KIND = frozenset({"", "-", "none", "no", "nan", "null", "n/a"})
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
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise DatasetError(
            f"{file} names the column {' and the column '.join(twice)} more than once: which of "
            "them counts? Rename or remove the others"
        )
    if missing := [name for name in REQUIRED if name not in columns]:
        raise DatasetError(
            f"{file} has no column {' and no column '.join(missing)}; its first line is "
            f"{header.strip()[:200]!r}. It must name the columns: image,mask,defect,group "
            "(mask, group and split may be left out)"
        )
    entries: dict[str, Entry] = {}
    problems: list[Problem] = []
    on_disk = OnDisk(root)
    for line, row in rows:
        where = f"{MANIFEST} line {line}"
        try:
            entry = _entry(on_disk, {name: row[name].strip() for name in columns})
        except (ValueError, OSError, RuntimeError) as error:
            problems.append(Problem(Kind.TABLE, where, str(error)))
            continue
        if entry.name in entries:
            problems.append(Problem(Kind.TABLE, where, f"{entry.name} was listed before"))
        entries.setdefault(entry.name, entry)
    notes = _unused(columns, [row for _, row in rows])
    return Listing(tuple(entries.values()), tuple(problems), tuple(notes))


def _unused(columns: list[str], rows: list[dict[str, str]]) -> list[str]:
    """What of the table has no influence, by name: a kind of defect above all."""
    notes = []
    others = [name for name in columns if name not in (*_USED, "kind")]
    if others:
        which = "column is" if len(others) == 1 else "columns are"
        notes.append(f"the table's {which} not used: {', '.join(others[:_NAMED])}")
    if "kind" not in columns:
        return notes
    said = [(row["kind"].strip(), cell_says(row["defect"]), row["image"]) for row in rows]
    kinds = Counter(kind for kind, defect, _ in said if defect and kind.lower() not in _NO_KIND)
    if kinds:
        shown = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common(_NAMED))
        more = ", ..." if len(kinds) > _NAMED else ""
        notes.append(
            f"the table's column kind ({shown}{more}) is not used: what is learned is ok or "
            "defective, and all kinds are defects alike"
        )
    odd = [
        (kind, image)
        for kind, defect, image in said
        if defect is False and kind.lower() not in _NO_KIND and cell_says(kind) is not False
    ]
    if odd:
        notes.append(
            f"{len(odd)} ok images have a kind (such as {odd[0][1]}: {odd[0][0]}): see that they "
            "are ok"
        )
    return notes


def _entry(on_disk: OnDisk, row: dict[str, str]) -> Entry:
    if not row["image"]:
        raise ValueError("the image's path is empty")
    defect, split = cell_says(row["defect"]), row.get("split", "").lower()
    if defect is None:
        raise ValueError(f"defect is {row['defect']!r}: write 1 or 0, true or false, nok or ok")
    if split not in _SPLITS:
        raise ValueError(f"split is {row['split']!r}: write train or test, or leave it empty")
    image = on_disk.find(row["image"])
    mask = row.get("mask", "")
    return Entry(
        name=image.relative_to(on_disk.root).as_posix(),
        image=image,
        mask=on_disk.find(mask) if mask else None,
        defect=defect,
        group=row.get("group", ""),
        split=_SPLITS[split],
    )


class OnDisk:
    """The files that a table names. It may have come from anywhere: they stay in its folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._names: dict[Path, dict[str, str]] = {}
        """By folder that was looked through: the names in it by `same_name`."""

    def find(self, text: str) -> Path:
        """The file that a cell names, whether or not it is there.

        Raises:
            ValueError: it is outside.
        """
        relative = Path(text.replace("\\", "/"))
        if relative.is_absolute() or ".." in relative.parts:
            raise ValueError(f"{text} is not a path inside the folder of the table")
        path = self.root / relative
        if not path.exists():
            path = self._spelt(relative)
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise ValueError(f"{text} leads outside the folder of the table, to {path.resolve()}")
        return path

    def _spelt(self, relative: Path) -> Path:
        """The path in the spelling of the disk: a spreadsheet may write an umlaut otherwise."""
        path = self.root
        for part in relative.parts:
            if path not in self._names:
                inner = path.iterdir() if path.is_dir() else ()
                self._names[path] = {same_name(one.name): one.name for one in inner}
            path /= self._names[path].get(same_name(part), part)
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
