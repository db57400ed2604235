"""A folder of good images beside a folder of bad ones, with masks or without."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trainer.data.listing import Entry, Layout, Listing, folders_in, images_in
from trainer.data.problems import Kind, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from trainer.data.dataset import Split

OK_NAMES = frozenset({"ok", "good", "normal", "pass", "ok_images", "non_defective"})
DEFECT_NAMES = frozenset({"defect", "defects", "defective", "ng", "nok", "not_ok", "bad", "fail"})
MASK_NAMES = frozenset({"mask", "masks", "gt", "ground_truth"})
MASK_ENDINGS = ("_mask", "_gt", "_label")


@dataclass(frozen=True)
class _Found:
    """An image by its place: ``parts`` are the class folder, its subfolders and the stem."""

    image: Path
    parts: tuple[str, ...]
    defect: bool
    split: Split
    mask: Path | None = None


def _is_folders(root: Path) -> bool:
    return any(
        _named(base, OK_NAMES) or _named(base, DEFECT_NAMES) for base in _parts_of(root).values()
    )


def _read(root: Path) -> Listing:
    images: list[_Found] = []
    masks: list[tuple[Path, Split, tuple[str, ...]]] = []
    for split, base in _parts_of(root).items():
        for names, defect in ((OK_NAMES, False), (DEFECT_NAMES, True)):
            for folder in _named(base, names):
                for file, inner in _walk(folder):
                    stem = _image_of(file.stem)
                    if inner and inner[0].lower() in MASK_NAMES:  # defect/masks/1.png
                        masks.append((file, split, (folder.name, *inner[1:], stem)))
                    elif stem != file.stem:  # defect/1_mask.png
                        masks.append((file, split, (folder.name, *inner, stem)))
                    else:
                        parts = (folder.name, *inner, file.stem)
                        images.append(_Found(file, parts, defect, split))
        for folder in _named(base, MASK_NAMES):
            masks += [
                (file, split, (*inner, _image_of(file.stem))) for file, inner in _walk(folder)
            ]
    if "" not in _parts_of(root):  # masks/train/defect/1.png
        for folder in _named(root, MASK_NAMES):
            for file, inner in _walk(folder):
                named, place = inner[:1], (*inner, _image_of(file.stem))
                if named in (("train",), ("test",)):
                    masks.append((file, "train" if named == ("train",) else "test", place[1:]))
                else:  # masks/1.png: of whichever split has the image
                    masks.append((file, "", place))
    images, problems = _pair(root, images, masks)
    grouped, notes = _subfolders(images)
    entries = [
        Entry(
            found.image.relative_to(root).as_posix(),
            found.image,
            found.mask,
            found.defect,
            "/".join(found.parts[1:-1]) if grouped else "",
            found.split,
        )
        for found in images
    ]
    bare = sum(found.defect and found.mask is None for found in images)
    if 0 < bare < sum(found.defect for found in images):
        notes.append(f"{bare} defective images have no mask, the others have one")
    return Listing(tuple(entries), tuple(problems), tuple(notes))


def _pair(
    root: Path, images: list[_Found], masks: list[tuple[Path, Split, tuple[str, ...]]]
) -> tuple[list[_Found], list[Problem]]:
    """Give each mask to its image.

    A mask that doesn't say which class it belongs to is a defective image's; only where none has
    its name may it be an ok image's, since there it can but be black.
    """
    by_place: dict[tuple[Split, tuple[str, ...]], list[int]] = {}
    for defect in (True, False):
        for index, found in enumerate(images):
            if found.defect is not defect:
                continue
            # A mask that names no split is looked for in all of them.
            for split in {found.split, ""}:
                by_place.setdefault((split, found.parts), []).append(index)
                for shorter in range(1, len(found.parts)):
                    fitting = by_place.setdefault((split, found.parts[shorter:]), [])
                    if all(images[other].defect is defect for other in fitting):
                        fitting.append(index)
    paired = list(images)
    problems = []
    for file, split, parts in masks:
        where = file.relative_to(root).as_posix()
        fitting = by_place.get((split, parts), [])
        if not fitting:
            problems.append(Problem(Kind.MASK_ORPHAN, where))
        elif len(fitting) > 1 or paired[fitting[0]].mask is not None:
            rivals = ", ".join(images[i].image.relative_to(root).as_posix() for i in fitting)
            problems.append(Problem(Kind.MASK_SHARED, where, rivals))
        else:
            paired[fitting[0]] = replace(paired[fitting[0]], mask=file)
    return paired, problems


def _subfolders(images: list[_Found]) -> tuple[bool, list[str]]:
    """Tell whether subfolders are parts or batches (groups), or kinds of defect.

    Parts and batches are met on both sides, ok and defective; kinds of defect never are.
    """
    names = {
        defect: {"/".join(found.parts[1:-1]) for found in images if found.defect is defect} - {""}
        for defect in (False, True)
    }
    if names[True] & names[False]:
        return True, []
    if not names[True] and not names[False]:
        return False, []
    shown = ", ".join(sorted(names[True] | names[False])[:5])
    note = (
        f"subfolders ({shown}) are read as kinds, not as groups, since none has both ok and "
        "defective images; if they are parts or batches, name them in a manifest.csv"
    )
    return False, [note]


def _parts_of(root: Path) -> dict[Split, Path]:
    """Where to look: train/ and test/ if both classes' folders are in there, else the root."""
    split: dict[Split, Path] = {"train": root / "train", "test": root / "test"}
    if _named(split["train"], OK_NAMES) and _named(split["train"], DEFECT_NAMES):
        return split
    return {"": root}


def _named(folder: Path, names: frozenset[str]) -> list[Path]:
    return [inner for inner in folders_in(folder) if inner.name.lower() in names]


def _walk(folder: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Every image file below a folder, with the names of the folders in between."""
    for file in images_in(folder):
        yield file, ()
    for inner in folders_in(folder):
        for file, names in _walk(inner):
            yield file, (inner.name, *names)


def _image_of(stem: str) -> str:
    """A mask's stem without its ending."""
    for ending in MASK_ENDINGS:
        if stem.lower().endswith(ending):
            return stem[: -len(ending)]
    return stem


FOLDERS = Layout(
    "ok and defect folders",
    """\
ok/1.png      ok/2.png  ...                  (or good/, normal/)
defect/8.png  defect/9.png  ...              (or ng/, bad/, nok/)
masks/8.png   masks/9.png  ...               (or defect/8_mask.png; may be left out)
the same inside train/ and test/             (kept as the official split)""",
    _is_folders,
    _read,
)
