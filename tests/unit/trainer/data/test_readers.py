"""Each layout is written to disk, read back, and spoilt in every way that a disk knows."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.data import DatasetError, fingerprint, load_image, load_mask, open_dataset, readers
from trainer.data.problems import SHOWN

KOLEKTORSDD = Path(__file__).parents[5] / "shared" / "data" / "kolektorsdd"


def put_image(file: Path, seed: int | None = None, size: tuple[int, int] = (24, 32)) -> Path:
    """Write noise, other noise for every path, or for every seed."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(list(str(file).encode()) if seed is None else seed)
    pixels = rng.integers(0, 256, (size[1], size[0]), dtype=np.uint8)
    Image.fromarray(pixels).save(file)
    return file


def put_mask(file: Path, *, black: bool = False, size: tuple[int, int] = (24, 32)) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((size[1], size[0]), np.uint8)
    if not black:
        pixels[4:9, 6:12] = 255
    Image.fromarray(pixels).save(file)
    return file


def labels(root: Path) -> dict[str, bool]:
    return {sample.name: sample.defect for sample in open_dataset(root).samples}


def refusal(root: Path, folds: int = 0) -> str:
    with pytest.raises(DatasetError) as caught:
        open_dataset(root, folds=folds)
    return str(caught.value)


# KolektorSDD2


@pytest.fixture
def ksdd2(tmp_path: Path) -> Path:
    for split, first in (("train", 10000), ("test", 20000)):
        for number in range(first, first + 4):
            put_image(tmp_path / split / f"{number}.png")
            put_mask(tmp_path / split / f"{number}_GT.png", black=number % 2 == 0)
    put_mask(tmp_path / "train" / "10001_GT (copy).png")
    put_image(tmp_path / "train" / "10001 (copy).png")
    return tmp_path


def test_kolektorsdd2(ksdd2: Path) -> None:
    dataset = open_dataset(ksdd2)
    assert dataset.layout == "KolektorSDD2"
    assert (dataset.width, dataset.height) == (24, 32)
    assert [sample.name for sample in dataset.subset("train")] == [
        f"train/{number}.png" for number in range(10000, 10004)
    ]
    assert len(dataset.subset("test")) == 4
    assert [sample.defect for sample in dataset.subset("test")] == [False, True, False, True]
    assert any("2 images are left out (such as train/10001 (copy).png" in n for n in dataset.notes)
    assert [sample.mask is not None for sample in dataset.samples] == [
        sample.defect for sample in dataset.samples
    ]
    assert len({sample.group for sample in dataset.samples}) == 8


def test_kolektorsdd2_with_a_lost_mask(ksdd2: Path) -> None:
    (ksdd2 / "train" / "10003_GT.png").unlink()
    report = refusal(ksdd2)
    assert "images without their mask (1)" in report
    assert "train/10003.png" in report


def test_copies_across_the_official_split_are_said(ksdd2: Path) -> None:
    shutil.copy(ksdd2 / "train" / "10000.png", ksdd2 / "test" / "20000.png")
    dataset = open_dataset(ksdd2)
    assert any("train/10000.png and test/20000.png" in note for note in dataset.notes)


# KolektorSDD


@pytest.mark.parametrize("ending", [".bmp", ".png"])
@pytest.mark.parametrize("all_labelled", [True, False])
def test_kolektorsdd(tmp_path: Path, ending: str, *, all_labelled: bool) -> None:
    for item in ("kos01", "kos02"):
        for part in range(3):
            put_image(tmp_path / item / f"Part{part}.jpg")
            if part == 1 or all_labelled:
                put_mask(tmp_path / item / f"Part{part}_label{ending}", black=part != 1)
    dataset = open_dataset(tmp_path, folds=2)
    assert dataset.layout == "KolektorSDD"
    assert {sample.name for sample in dataset.samples if sample.defect} == {
        "kos01/Part1.jpg",
        "kos02/Part1.jpg",
    }
    assert [sample.group for sample in dataset.samples] == ["kos01"] * 3 + ["kos02"] * 3


def test_groups_that_share_an_image_are_one(tmp_path: Path) -> None:
    for item in ("kos01", "kos02", "kos03"):
        for part in range(3):
            put_image(tmp_path / item / f"Part{part}.jpg")
        put_mask(tmp_path / item / "Part1_label.bmp")
    shutil.copy(tmp_path / "kos01" / "Part2.jpg", tmp_path / "kos03" / "Part0.jpg")
    dataset = open_dataset(tmp_path)
    assert [sample.group for sample in dataset.samples] == [
        *["kos01"] * 3,
        *["kos02"] * 3,
        *["kos01"] * 3,
    ]
    assert any("1 images are byte copies" in note for note in dataset.notes)


@pytest.mark.skipif(
    not KOLEKTORSDD.is_dir(), reason="KolektorSDD is not at ../shared/data/kolektorsdd"
)
def test_the_real_kolektorsdd(tmp_path: Path) -> None:
    dataset = open_dataset(KOLEKTORSDD, folds=5)
    assert dataset.layout == "manifest.csv"
    assert len(dataset.samples) == 399
    assert sum(sample.defect for sample in dataset.samples) == 52
    assert len({sample.group for sample in dataset.samples}) == 47
    for sample in dataset.samples:
        if sample.defect:
            width, height = load_image(sample).size
            mask = load_mask(sample)
            assert mask.shape == (height, width)
            assert 0 < mask.mean() < 0.2
    # Without the table: byte copies are still found, the part photographed twice is not.
    for item in KOLEKTORSDD.glob("kos*"):
        (tmp_path / item.name).symlink_to(item)
    bare = open_dataset(tmp_path)
    assert bare.layout == "KolektorSDD"
    assert [s.defect for s in bare.samples] == [s.defect for s in dataset.samples]
    assert len({sample.group for sample in bare.samples}) == 48


# MVTec


@pytest.fixture
def mvtec(tmp_path: Path) -> Path:
    for number in range(3):
        put_image(tmp_path / "train" / "good" / f"{number:03}.png")
        put_image(tmp_path / "test" / "good" / f"{number:03}.png")
        for kind in ("scratch", "dent"):
            put_image(tmp_path / "test" / kind / f"{number:03}.png")
            put_mask(tmp_path / "ground_truth" / kind / f"{number:03}_mask.png")
    return tmp_path


def test_mvtec(mvtec: Path) -> None:
    dataset = open_dataset(mvtec, folds=3)
    assert dataset.layout == "MVTec AD"
    assert sum(sample.defect for sample in dataset.samples) == 6
    assert len(dataset.samples) == 12
    assert {sample.split for sample in dataset.samples} == {""}
    assert any("split is not used" in note for note in dataset.notes)
    assert all(load_mask(sample).sum() == 30 for sample in dataset.samples if sample.defect)


def test_mvtec_mask_lost_and_left_over(mvtec: Path) -> None:
    (mvtec / "ground_truth" / "dent" / "001_mask.png").rename(
        mvtec / "ground_truth" / "dent" / "007_mask.png"
    )
    report = refusal(mvtec)
    assert "test/dent/001.png: ground_truth/dent/001_mask.png is not there" in report
    assert "ground_truth/dent/007_mask.png: no image of this name" in report


# ok and defect folders


@pytest.mark.parametrize(("ok", "defect"), [("ok", "defect"), ("Good", "NG"), ("good", "bad")])
@pytest.mark.parametrize(
    "mask", ["masks/8.png", "masks/{defect}/8_mask.png", "{defect}/8_mask.png", "", "mask/8_GT.bmp"]
)
def test_folders(tmp_path: Path, ok: str, defect: str, mask: str) -> None:
    put_image(tmp_path / ok / "8.png")  # the same name on both sides: the mask is the bad one's
    put_image(tmp_path / defect / "8.png")
    if mask:
        put_mask(tmp_path / mask.format(defect=defect))
    dataset = open_dataset(tmp_path)
    assert labels(tmp_path) == {f"{ok}/8.png": False, f"{defect}/8.png": True}
    assert dataset.has_masks == bool(mask)


def test_folders_with_masks_of_ok_images_too(tmp_path: Path) -> None:
    put_image(tmp_path / "ok" / "1.png")
    put_image(tmp_path / "defect" / "2.png")
    put_mask(tmp_path / "masks" / "1.png", black=True)
    put_mask(tmp_path / "masks" / "2.png")
    assert open_dataset(tmp_path).has_masks
    put_mask(tmp_path / "masks" / "1.png")
    assert "ok images whose mask marks a defect (1)" in refusal(tmp_path)


def test_folders_keep_an_official_split(tmp_path: Path) -> None:
    for split in ("train", "test"):
        put_image(tmp_path / split / "ok" / "1.png")
        put_image(tmp_path / split / "defect" / "2.png")
        put_mask(tmp_path / "masks" / split / "2.png")
    dataset = open_dataset(tmp_path)
    assert [sample.split for sample in dataset.samples] == ["train", "train", "test", "test"]
    assert [sample.mask is not None for sample in dataset.samples] == [False, True, False, True]


def test_what_camera_sdks_write_is_read(tmp_path: Path) -> None:
    put_image(tmp_path / "ok" / "1.pgm")
    put_image(tmp_path / "defect" / "2.pnm")
    put_mask(tmp_path / "masks" / "2.pgm")
    dataset = open_dataset(tmp_path)
    assert [load_image(sample).size for sample in dataset.samples] == [(24, 32), (24, 32)]
    assert load_mask(dataset.samples[1]).any()


def test_images_that_the_layout_has_no_place_for_are_told(tmp_path: Path) -> None:
    put_image(tmp_path / "ok" / "1.png")
    put_image(tmp_path / "defect" / "2.png")
    put_mask(tmp_path / "masks" / "2.png")
    put_image(tmp_path / ".trash" / "3.png")
    (tmp_path / "readme.txt").touch()
    assert open_dataset(tmp_path).notes == ()
    (tmp_path / "defect" / "4.HEIC").touch()
    (note,) = open_dataset(tmp_path).notes
    assert note.startswith("1 image is left out (such as defect/4.HEIC): of a format that")
    put_image(tmp_path / "scratch" / "5.png")
    put_image(tmp_path / "6.png")
    (note,) = open_dataset(tmp_path).notes
    assert note.startswith("3 images are left out (such as 6.png and defect/4.HEIC)")


def test_a_table_leaves_out_what_it_does_not_list(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("image,defect\na/1.png,0\na/2.png,1\n")
    for number in (1, 2, 3):
        put_image(tmp_path / "a" / f"{number}.png")
    (note,) = open_dataset(tmp_path).notes
    assert note.startswith("1 image is left out (such as a/3.png)")


def test_masks_of_both_splits_in_one_folder(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "test")):
        put_image(tmp_path / split / "ok" / "1.png")
        put_image(tmp_path / split / "defect" / f"{number}.png")
        put_mask(tmp_path / "masks" / f"{number}.png")
    assert sum(sample.mask is not None for sample in open_dataset(tmp_path).samples) == 2
    put_image(tmp_path / "train" / "defect" / "1.png")
    report = refusal(tmp_path)
    assert "masks/1.png: train/defect/1.png, test/defect/1.png" in report


def test_subfolders_on_both_sides_are_groups(tmp_path: Path) -> None:
    for part in ("a", "b"):
        put_image(tmp_path / "ok" / part / "1.png")
        put_image(tmp_path / "ok" / part / "2.png")
        put_image(tmp_path / "defect" / part / "3.png")
        put_mask(tmp_path / "masks" / part / "3.png")
    dataset = open_dataset(tmp_path, folds=2)
    assert [sample.group for sample in dataset.samples] == ["a", "a", "b", "b", "a", "b"]
    assert sum(sample.mask is not None for sample in dataset.samples) == 2


def test_subfolders_on_one_side_are_kinds(tmp_path: Path) -> None:
    for number in range(2):
        put_image(tmp_path / "ok" / f"{number}.png")
        put_image(tmp_path / "defect" / "scratch" / f"{number}.png")
        put_image(tmp_path / "defect" / "dent" / f"{number}.png")
    dataset = open_dataset(tmp_path, folds=2)
    assert len({sample.group for sample in dataset.samples}) == 6
    assert any("read as kinds" in note for note in dataset.notes)


def test_masks_that_fit_two_images_and_none(tmp_path: Path) -> None:
    put_image(tmp_path / "ok" / "1.png")
    put_image(tmp_path / "defect" / "scratch" / "2.png")
    put_image(tmp_path / "defect" / "dent" / "2.png")
    put_mask(tmp_path / "masks" / "2.png")
    put_mask(tmp_path / "masks" / "9.png")
    report = refusal(tmp_path)
    assert "masks/2.png: defect/dent/2.png, defect/scratch/2.png" in report
    assert "masks without an image (1)" in report


@pytest.mark.parametrize(
    ("ok", "defect"),
    [
        ("normal", "abnormal"),
        ("normal", "anomaly"),
        ("OK", "KO"),
        ("ok", "nok"),
        ("i.O.", "n.i.O."),
        ("io", "nio"),
        ("accepted", "reject"),
        ("gut", "schlecht"),
        ("bon", "D\u00e9faut"),
        ("ok_front", "def_front"),
        ("0_good", "1_bad"),
        ("Good Images", "Not-OK images"),
        ("no_defect", "defects"),
        ("\u826f\u54c1", "\u4e0d\u826f\u54c1"),
    ],
)
def test_folders_are_called_as_people_call_them(tmp_path: Path, ok: str, defect: str) -> None:
    put_image(tmp_path / ok / "1.png")
    put_image(tmp_path / defect / "2.png")
    put_mask(tmp_path / "Ground Truth" / "2.png")
    assert labels(tmp_path) == {f"{ok}/1.png": False, f"{defect}/2.png": True}
    assert open_dataset(tmp_path).has_masks


def test_a_folder_for_each_kind_of_defect_beside_the_ok_one(tmp_path: Path) -> None:
    for number, folder in enumerate(("ok", "scratch", "dent", "unsure", "raw")):
        put_image(tmp_path / folder / f"{number}.png")
    put_mask(tmp_path / "masks" / "dent" / "2.png")
    (tmp_path / "empty").mkdir()
    dataset = open_dataset(tmp_path)
    assert labels(tmp_path) == {"ok/0.png": False, "scratch/1.png": True, "dent/2.png": True}
    assert [s.name for s in dataset.samples if s.mask] == ["dent/2.png"]
    kinds, left = (n for n in dataset.notes if "masks, " not in n and "have no mask" not in n)
    assert kinds.startswith("2 folders beside ok are read as kinds of defect: dent, scratch")
    assert left.startswith("2 images are left out (such as raw/4.png and unsure/3.png)")
    assert left.endswith("By folder: raw/ 1, unsure/ 1")
    (tmp_path / "masks" / "dent" / "2.png").unlink()
    put_image(tmp_path / "ng" / "9.png")  # now the defective ones have a folder of their own
    assert [name for name, flawed in labels(tmp_path).items() if flawed] == ["ng/9.png"]


def test_what_is_left_out_is_named_where_a_class_is_missing(tmp_path: Path) -> None:
    put_image(tmp_path / "ok" / "1.png")
    put_image(tmp_path / "unsure" / "2.png")
    report = refusal(tmp_path)
    assert "good images, no defective ones" in report
    assert "1 image is left out (such as unsure/2.png)" in report


def test_images_beside_masks(tmp_path: Path) -> None:
    put_image(tmp_path / "Images" / "Normal" / "1.png")
    put_image(tmp_path / "Images" / "Anomaly" / "2.png")
    put_mask(tmp_path / "Masks" / "Anomaly" / "2.png")
    dataset = open_dataset(tmp_path)
    assert [(s.name, bool(s.mask)) for s in dataset.samples] == [
        ("Images/Normal/1.png", False),
        ("Images/Anomaly/2.png", True),
    ]


COMPOSED, TAKEN_APART = "Geh\u00e4use", "Geha\u0308use"


def test_names_that_differ_in_normalisation_alone_are_one(tmp_path: Path) -> None:
    put_image(tmp_path / "ok" / "1.png")
    put_image(tmp_path / "defect" / COMPOSED / f"{TAKEN_APART}.png")
    put_mask(tmp_path / "masks" / TAKEN_APART / f"{COMPOSED}_mask.png")
    assert open_dataset(tmp_path).has_masks
    table(
        tmp_path,
        "image,mask,defect\nok/1.png,,0\n"
        f"defect/{TAKEN_APART}/{COMPOSED}.png,masks/{COMPOSED}/{TAKEN_APART}_mask.png,1\n",
    )
    assert open_dataset(tmp_path).has_masks


@pytest.mark.parametrize("layout", ["KolektorSDD2", "KolektorSDD", "MVTec AD"])
def test_published_layouts_pair_names_however_they_are_composed(
    tmp_path: Path, layout: str
) -> None:
    image, mask, ok = {
        "KolektorSDD2": ("train/{}.png", "train/{}_GT.png", "train/1.png"),
        "KolektorSDD": ("kos01/{}.png", "kos01/{}_label.png", "kos01/1.png"),
        "MVTec AD": ("test/dent/{}.png", "ground_truth/dent/{}_mask.png", "train/good/1.png"),
    }[layout]
    put_image(tmp_path / ok)
    put_image(tmp_path / image.format(TAKEN_APART))
    put_mask(tmp_path / mask.format(COMPOSED))
    if layout == "KolektorSDD2":
        put_mask(tmp_path / "train" / "1_GT.png", black=True)
    dataset = open_dataset(tmp_path)
    assert dataset.layout == layout
    assert [s.name for s in dataset.samples if s.mask] == [image.format(TAKEN_APART)]


def test_photographs_called_as_masks_are(tmp_path: Path) -> None:
    for name in ("front", "bottle_label", "7"):
        put_image(tmp_path / "ok" / f"{name}.png")
    put_image(tmp_path / "defect" / "cap_label.png")
    put_image(tmp_path / "defect" / "8.png")
    put_mask(tmp_path / "defect" / "8_label.png")
    put_mask(tmp_path / "masks" / "cap_label.png")
    dataset = open_dataset(tmp_path)
    assert {s.name: s.defect for s in dataset.samples} == {
        "ok/7.png": False,
        "ok/bottle_label.png": False,
        "ok/front.png": False,
        "defect/8.png": True,
        "defect/cap_label.png": True,
    }
    assert sum(s.mask is not None for s in dataset.samples) == 2
    assert any(
        "2 images are called as masks are (such as ok/bottle_label.png)" in note
        for note in dataset.notes
    )
    # What shows no more than a mask does has lost its image, and is never learned from as one.
    put_mask(tmp_path / "defect" / "9_label.png")
    assert "masks without an image (1)" in refusal(tmp_path)


def loco(root: Path) -> Path:
    """Two masks for an image, each in its own grey, in a folder called as the image is."""
    for place in ("train/good", "validation/good", "test/good", "test/logical_anomalies"):
        put_image(root / place / "000.png")
    for number, rows in enumerate((slice(4, 9), slice(20, 22))):
        pixels = np.zeros((32, 24), np.uint8)
        pixels[rows, 6:12] = 255 - number
        file = root / "ground_truth" / "logical_anomalies" / "000" / f"{number:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    return root


def test_masks_in_a_folder_for_each_image_are_merged(tmp_path: Path) -> None:
    dataset = open_dataset(loco(tmp_path))
    assert dataset.layout == "MVTec AD"
    assert sorted(s.name for s in dataset.samples if not s.defect) == [
        "test/good/000.png",
        "train/good/000.png",
        "validation/good/000.png",
    ]
    (flawed,) = (s for s in dataset.samples if s.defect)
    assert load_mask(flawed).sum() == 42
    assert not any("left out" in note for note in dataset.notes)
    before = fingerprint(dataset)
    second = tmp_path / "ground_truth" / "logical_anomalies" / "000" / "001.png"
    put_mask(second, size=(8, 8))
    report = refusal(tmp_path)
    assert "ground_truth/logical_anomalies/000/001.png: 8 x 8, the image 24 x 32" in report
    put_mask(second)
    assert fingerprint(open_dataset(tmp_path)) != before
    (tmp_path / "ground_truth" / "logical_anomalies" / "000").rename(
        tmp_path / "ground_truth" / "logical_anomalies" / "007"
    )
    assert "no image of this name in test/logical_anomalies" in refusal(tmp_path)


def test_folders_of_masks_for_ok_and_defect_folders(tmp_path: Path) -> None:
    put_image(tmp_path / "ok" / "1.png")
    put_image(tmp_path / "defect" / "2.png")
    put_mask(tmp_path / "masks" / "2" / "000.png")
    put_mask(tmp_path / "masks" / "2" / "001.png")
    dataset = open_dataset(tmp_path)
    assert load_mask(dataset.samples[1]).sum() == 30
    assert dataset.notes == ()


def test_a_published_layout_with_other_words(tmp_path: Path) -> None:
    put_image(tmp_path / "train" / "ok" / "0000.bmp")
    put_image(tmp_path / "test" / "ok" / "0001.bmp")
    put_image(tmp_path / "test" / "ko" / "0002.bmp")
    put_mask(tmp_path / "ground_truth" / "ko" / "0002.png")
    dataset = open_dataset(tmp_path)
    assert (dataset.layout, dataset.has_masks) == ("MVTec AD", True)
    assert [s.defect for s in dataset.samples] == [False, False, True]


# manifest.csv


def table(root: Path, text: str) -> Path:
    (root / "manifest.csv").write_text(text, encoding="utf-8")
    return root


def test_table(tmp_path: Path) -> None:
    put_image(tmp_path / "a" / "1.png")
    put_image(tmp_path / "a" / "2.png")
    put_mask(tmp_path / "m" / "2.png")
    table(
        tmp_path,
        "image,mask,defect,group,split,operator\n"
        "a/1.png,,no,p1,train,Ann\na\\2.png,m/2.png,1,,train,Bob\n",
    )
    one, two = open_dataset(tmp_path).samples
    assert (one.defect, one.group, one.split, one.mask) == (False, "p1", "train", None)
    assert (two.defect, two.group, two.name) == (True, "a/2.png", "a/2.png")
    assert load_mask(two).sum() == 30


def test_table_of_a_spreadsheet(tmp_path: Path) -> None:
    put_image(tmp_path / "1.png")
    put_image(tmp_path / "2.png")
    table(tmp_path, "\ufeffImage; Defect\r\n1.png;0\r\n2.png;1\r\n")
    assert labels(tmp_path) == {"1.png": False, "2.png": True}


@pytest.mark.parametrize(
    ("ok", "defect"),
    [
        ("OK", "NOK"),
        ("pass", "Fail"),
        ("FALSE", "TRUE"),
        ("0.0", "1.0"),
        ("n", "y"),
        ("i.O.", "n.i.O."),
        ("good", "anomaly"),
        ("accepted", "rejected"),
    ],
)
def test_table_in_other_words(tmp_path: Path, ok: str, defect: str) -> None:
    put_image(tmp_path / "1.png")
    put_image(tmp_path / "2.png")
    table(tmp_path, f"image,defect\n1.png,{ok}\n2.png,{defect}\n")
    assert labels(tmp_path) == {"1.png": False, "2.png": True}


def test_a_column_that_is_not_used_is_named(tmp_path: Path) -> None:
    rows = [("ok", ""), ("nok", "scratch"), ("nok", "dent"), ("nok", "dent"), ("ok", "dent")]
    for number in range(len(rows)):
        put_image(tmp_path / f"{number}.png")
    lines = [f"{n}.png,{defect},{kind},Ann" for n, (defect, kind) in enumerate(rows)]
    table(tmp_path, "\n".join(["image,defect,kind,operator", *lines]))
    notes = open_dataset(tmp_path).notes
    assert "the table's column is not used: operator" in notes
    assert any("column kind (dent 2, scratch 1) is not used" in note for note in notes)
    assert any("1 ok images have a kind (such as 4.png: dent)" in note for note in notes)


def test_table_wins_over_folders(tmp_path: Path) -> None:
    put_image(tmp_path / "ok" / "1.png")
    put_image(tmp_path / "defect" / "2.png")
    table(tmp_path, "image,defect\nok/1.png,1\ndefect/2.png,0\n")
    assert labels(tmp_path) == {"ok/1.png": True, "defect/2.png": False}


def test_table_errors_are_told_by_line(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out.png"
    put_image(outside)
    put_image(inside / "1.png")
    (inside / "link.png").symlink_to(outside)
    table(
        inside,
        "image,defect,split\n1.png,maybe,\n../out.png,1,\n"
        f"{outside},1,\nlink.png,1,\n,1,\n1.png,1,holdout\n1.png,0,\n1.png,1,\nnone.png,1,\n",
    )
    report = refusal(inside)
    assert "wrong rows in the table (7): correct them" in report
    for line in (
        "line 2: defect is 'maybe'",
        "line 3: ../out.png is not a path inside",
        f"line 4: {outside} is not a path inside",
        "line 5: link.png leads outside",
        "line 6: the image's path is empty",
        "line 7: split is 'holdout'",
        "line 9: 1.png was listed before",
    ):
        assert f"manifest.csv {line}" in report
    assert "listed images that don't exist (1)" in report


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"file,label\n1.png,1\n", "no column image and no column defect"),
        (b"", "no column image"),
        (b"image,defect,Defect\n1.png,0,1\n", "names the column defect more than once"),
        (b"image,defect\n\xff\xfe.png,1\n", "not UTF-8"),
        (b"image,defect\n", "no image at all"),
        (b'image,defect\n"' + b"x" * 200_000 + b'",1\n', "line 2 is not CSV: field larger than"),
        (b"x" * 200_000, "line 1 is not CSV"),
    ],
)
def test_table_that_is_none(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "manifest.csv").write_bytes(content)
    assert said in refusal(tmp_path)


# What is wrong, whatever the layout


def test_images_of_more_pixels_than_usual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_image(tmp_path / "ok" / "1.png")
    put_image(tmp_path / "defect" / "2.png")
    put_mask(tmp_path / "masks" / "2.png")
    with pytest.raises(DatasetError) as caught:
        open_dataset(tmp_path, max_pixels=767)
    report = str(caught.value)
    assert "above the pixel limit (2): give --max-pixels, and max_pixels in" in report
    assert "defect/2.png: 24 x 32 pixels is more than the limit of 767: raise it to 768" in report
    assert "unreadable" not in report
    monkeypatch.setattr(readers, "MAX_PIXELS", 767)
    assert "above the pixel limit" in refusal(tmp_path)
    dataset = open_dataset(tmp_path, max_pixels=768)
    assert any("needs max_pixels = 768 in [worker]" in note for note in dataset.notes)
    flawed = dataset.samples[1]
    assert load_image(flawed).size == (24, 32)
    assert load_mask(flawed).any()
    too_small = replace(flawed, max_pixels=767)
    for load in (load_image, load_mask):
        with pytest.raises(DatasetError, match="limit of 767"):
            load(too_small)


def test_everything_wrong_is_in_one_report(tmp_path: Path) -> None:
    for name in ("good", "size", "badmask", "black", "copy"):
        put_image(tmp_path / "defect" / f"{name}.png")
    put_mask(tmp_path / "masks" / "good.png")
    put_mask(tmp_path / "masks" / "size.png", size=(20, 20))
    (tmp_path / "masks" / "badmask.png").write_text("no mask")
    put_mask(tmp_path / "masks" / "black.png", black=True)
    put_mask(tmp_path / "masks" / "orphan.png")
    (tmp_path / "ok").mkdir()
    shutil.copy(tmp_path / "defect" / "copy.png", tmp_path / "ok" / "other.png")
    whole = put_image(tmp_path / "ok" / "truncated.png").read_bytes()
    (tmp_path / "ok" / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "ok" / "empty.png").touch()
    (tmp_path / "ok" / "line\nbreak.png").write_text("text")
    os.mkfifo(tmp_path / "ok" / "pipe.png")
    (tmp_path / "ok" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    report = refusal(tmp_path, folds=6)
    assert "listed images that don't exist (1)" in report
    assert "  ok/gone.png" in report
    assert "  ok/pipe.png: not a regular file" in report
    assert "unreadable images (4): copy them again or remove them" in report
    assert "  ok/empty.png: the file is empty" in report
    assert "  ok/truncated.png: damaged or truncated" in report
    assert "  ok/line\\nbreak.png: not an image" in report
    assert "masks of another size than their image (1)" in report
    assert "  masks/size.png: 20 x 20, the image 24 x 32" in report
    assert "unreadable masks (1)" in report
    assert "  masks/badmask.png: not an image" in report
    assert "defective images with an all-black mask (1)" in report
    assert "  defect/black.png: masks/black.png" in report
    assert "  masks/orphan.png" in report
    assert "the same picture labelled ok and defective (1)" in report
    assert "  defect/copy.png: defective; the same bytes are ok/other.png: ok" in report
    assert "too few images (1)" in report
    assert "5 groups with defective images and 6 with ok ones" in report


def test_a_long_list_is_cut(tmp_path: Path) -> None:
    put_image(tmp_path / "defect" / "1.png")
    (tmp_path / "ok").mkdir()
    for number in range(SHOWN + 5):
        (tmp_path / "ok" / f"{number:02}.png").touch()
    report = refusal(tmp_path)
    assert f"ok/{SHOWN - 1:02}.png" in report
    assert f"ok/{SHOWN:02}.png" not in report
    assert "  and 5 more" in report


def test_a_class_that_is_missing(tmp_path: Path) -> None:
    put_image(tmp_path / "ok" / "1.png")
    assert "good images, no defective ones" in refusal(tmp_path)
    (tmp_path / "ok").rename(tmp_path / "ng")
    assert "defective images, no good ones" in refusal(tmp_path)


def test_a_class_missing_in_one_part_of_the_split(ksdd2: Path) -> None:
    for number in (20001, 20003):
        put_mask(ksdd2 / "test" / f"{number}_GT.png", black=True)
    assert re.search(r"in test/: \d+ good images, no defective ones", refusal(ksdd2))


def test_too_few_for_the_folds(ksdd2: Path) -> None:
    assert "4 groups" not in refusal(ksdd2, folds=3)  # the test part is never folded
    assert "2 groups with defective images" in refusal(ksdd2, folds=3)
    open_dataset(ksdd2, folds=2)


def test_unknown_layouts(tmp_path: Path) -> None:
    put_image(tmp_path / "pictures" / "1.png")
    report = refusal(tmp_path)
    for layout in ("manifest.csv", "KolektorSDD2", "KolektorSDD", "MVTec AD", "ok and defect"):
        assert f"\n{layout}" in report
    put_image(tmp_path / "pictures" / "ok" / "1.png")
    assert f"{tmp_path / 'pictures'} (read as ok and defect folders)" in refusal(tmp_path)
    assert "does not exist" in refusal(tmp_path / "nothing")
    assert "is not a folder" in refusal(tmp_path / "pictures" / "1.png")


def test_fingerprint(tmp_path: Path, mvtec: Path) -> None:
    before = fingerprint(open_dataset(mvtec))
    moved = tmp_path.parent / f"{tmp_path.name}-moved"
    shutil.copytree(mvtec, moved)
    assert fingerprint(open_dataset(moved)) == before
    put_mask(moved / "ground_truth" / "dent" / "000_mask.png")
    assert fingerprint(open_dataset(moved)) == before
    Image.fromarray(np.full((32, 24), 255, np.uint8)).save(
        moved / "ground_truth" / "dent" / "000_mask.png"
    )
    masked = fingerprint(open_dataset(moved))
    assert masked != before
    (moved / "train" / "good" / "000.png").rename(moved / "train" / "good" / "999.png")
    assert fingerprint(open_dataset(moved)) not in {before, masked}


def test_fingerprint_holds_the_labels(tmp_path: Path) -> None:
    for number in range(4):
        put_image(tmp_path / f"{number}.png")
    rows = "0.png,0\n1.png,1\n2.png,{}\n3.png,0\n"
    one = fingerprint(open_dataset(table(tmp_path, "image,defect\n" + rows.format(0))))
    other = fingerprint(open_dataset(table(tmp_path, "image,defect\n" + rows.format(1))))
    assert one != other
