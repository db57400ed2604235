"""A folder of good images beside a folder of bad ones, with masks or without."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainer.data.classes import classes_in, parts_of
from trainer.data.listing import Entry, Layout, Listing, folders_in, same_name, walk
from trainer.data.pairing import Found, Mask, pair, unmasked_name
from trainer.data.read import looks_drawn
from trainer.data.words import is_mask_folder

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.data.classes import Classes
    from trainer.data.dataset import Split

_NAMED = 5
"""So many are named in a note."""


@dataclass
class _Gathered:
    """What the folders hold, before masks are given to images."""

    images: list[Found]
    masks: list[Mask]
    notes: list[str]


def _is_folders(root: Path) -> bool:
    return any(classes_in(base) for base in parts_of(root).values())


def _read(root: Path) -> Listing:
    gathered = _Gathered([], [], [])
    places = parts_of(root)
    for split, base in places.items():
        _gather(root, split, classes_in(base), gathered)
    if root not in places.values():
        _masks_of_all(root, gathered)
    images, problems = pair(root, gathered.images, gathered.masks)
    grouped, notes = _subfolders(images)
    notes = [*gathered.notes, *notes]
    entries = [
        Entry(
            found.image.relative_to(root).as_posix(),
            found.image,
            found.mask,
            found.defect,
            "/".join(found.place[1:-1]) if grouped else "",
            found.split,
        )
        for found in images
    ]
    bare = sum(found.defect and found.mask is None for found in images)
    if 0 < bare < sum(found.defect for found in images):
        notes.append(f"{bare} defective images have no mask, the others have one")
    return Listing(tuple(entries), tuple(problems), tuple(notes))


def _gather(root: Path, split: Split, classes: Classes, gathered: _Gathered) -> None:
    """Sort what is in the folders of both classes into images and masks."""
    photographs = []
    for folders, defect in ((classes.ok, False), (classes.defect, True)):
        for folder in folders:
            files = [(file, (folder.name, *inner)) for file, inner in walk(folder)]
            there = {_place(*names, file.stem) for file, names in files}
            for file, names in files:
                bare = unmasked_name(file.stem)
                if len(names) > 1 and is_mask_folder(names[1]):  # defect/masks/1.png
                    place = _place(names[0], *names[2:], file.stem)
                    gathered.masks.append(Mask(file, split, place))
                    continue
                if bare != file.stem:  # defect/1_mask.png
                    if _place(*names, bare) in there or looks_drawn(file):
                        gathered.masks.append(Mask(file, split, _place(*names, file.stem)))
                        continue
                    photographs.append(file.relative_to(root).as_posix())
                place = _place(*names, file.stem)
                gathered.images.append(Found(file, place, defect, split))
    for folder in classes.masks:
        gathered.masks += [
            Mask(file, split, _place(*inner, file.stem)) for file, inner in walk(folder)
        ]
    if photographs:
        gathered.notes.append(
            f"{len(photographs)} images are called as masks are (such as {photographs[0]}), but "
            "show more than a mask does, and no image has that name: read as photographs"
        )
    if classes.kinds:
        kinds = [folder.name for folder in classes.defect]
        gathered.notes.append(
            f"{len(kinds)} folders beside {classes.ok[0].name} are read as kinds of defect: "
            f"{', '.join(kinds[:_NAMED])}{', ...' if len(kinds) > _NAMED else ''}; remove any that "
            "is not"
        )


def _masks_of_all(root: Path, gathered: _Gathered) -> None:
    """Masks beside the folder of images: masks/train/defect/1.png, or masks/1.png."""
    for folder in folders_in(root):
        if not is_mask_folder(folder.name):
            continue
        for file, inner in walk(folder):
            split: Split = ""  # of whichever split has the image
            names = inner
            if inner[:1] == ("train",):
                split, names = "train", inner[1:]
            elif inner[:1] == ("test",):
                split, names = "test", inner[1:]
            gathered.masks.append(Mask(file, split, _place(*names, file.stem)))


def _subfolders(images: list[Found]) -> tuple[bool, list[str]]:
    """Tell whether subfolders are parts or batches (groups), or kinds of defect.

    Parts and batches are met on both sides, ok and defective; kinds of defect never are.
    """
    names = {
        defect: {"/".join(found.place[1:-1]) for found in images if found.defect is defect} - {""}
        for defect in (False, True)
    }
    if names[True] & names[False]:
        return True, []
    if not names[True] and not names[False]:
        return False, []
    shown = ", ".join(sorted(names[True] | names[False])[:_NAMED])
    note = (
        f"subfolders ({shown}) are read as kinds, not as groups, since none has both ok and "
        "defective images; if they are parts or batches, name them in a manifest.csv"
    )
    return False, [note]


def _place(*names: str) -> tuple[str, ...]:
    return tuple(same_name(name) for name in names)


FOLDERS = Layout(
    "ok and defect folders",
    """\
ok/1.png      ok/2.png  ...                  (or good/, normal/, pass/, gut/, io/)
defect/8.png  defect/9.png  ...              (or ng/, nok/, ko/, bad/, abnormal/, reject/, nio/;
                                              or a folder for each kind: scratch/, dent/)
masks/8.png   masks/9.png  ...               (or defect/8_mask.png; may be left out)
the same inside train/ and test/             (kept as the official split)""",
    _is_folders,
    _read,
)
