"""What is said of a data set before it is trained on."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from PIL import Image, ImageFilter

from edge_agent.bundle import Preprocess
from trainer.data import DatasetError, open_dataset
from trainer.data.duplicates import near_pairs
from trainer.data.framefile import store_frames
from trainer.data.summary import summarise

LIGHT = np.linspace(0, 40, 96)[:, None]  # what all images of a line share


def picture(seed, *, size=(128, 192), grain=18.0, brightness=120.0):
    """A part: a surface of its own under the light of the line."""
    rng = np.random.default_rng(seed)
    height, width = size[1], size[0]
    coarse = rng.normal(0, 255, (24, 16)).clip(-255, 255)
    surface = Image.fromarray(coarse.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
    noise = rng.normal(0, grain / 3, (height, width))
    light = np.asarray(Image.fromarray(LIGHT.astype(np.float32)).resize(size))
    grey = brightness + light + np.asarray(surface) * grain / 255 + noise
    return Image.fromarray(grey.clip(0, 255).astype(np.uint8))


def png(image):
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def photographed_again(image):
    """Moved by a pixel, brighter, noisier, and through a JPEG."""
    grey = np.roll(np.asarray(image, np.float32), 1, axis=1) * 1.05 + 6
    grey += np.random.default_rng(99).normal(0, 2, grey.shape)
    stream = io.BytesIO()
    Image.fromarray(grey.clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=80)
    return Image.open(io.BytesIO(stream.getvalue()))


class Folder:
    """A data set with a manifest.csv, image by image."""

    def __init__(self, root):
        self.root, self.rows = root, []

    def add(self, name, content, *, defect=False, group="", split="", mask=None):
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else png(content))
        drawn = "" if mask is None else f"mask-{file.name}"
        if mask is not None:
            Image.fromarray(mask.astype(np.uint8) * 255).save(self.root / drawn)
        self.rows.append([name, drawn, int(defect), group, split])

    def open(self):
        with (self.root / "manifest.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows(
                [["image", "mask", "defect", "group", "split"], *self.rows]
            )
        return open_dataset(self.root)

    def findings(self):
        return {finding.kind: finding for finding in summarise(self.open()).findings}


@pytest.fixture
def folder(tmp_path):
    """Seventy ordinary images: thirty-five parts, each once ok and once defective."""
    made = Folder(tmp_path / "data")
    for number in range(70):
        group = f"part{number // 2}"
        made.add(f"{number}.png", picture(number), defect=number % 2 == 0, group=group)
    return made


def test_groups_on_both_sides_of_the_test_split_are_told(folder):
    folder.rows = [
        [*row[:4], "test" if n % 7 == 0 else "train"] for n, row in enumerate(folder.rows)
    ]
    finding = folder.findings()["groups across the test split"]
    assert finding.warning
    assert finding.count == 10
    assert finding.images[0] == ("1.png", "0.png")
    assert "part0, with 1.png and 0.png" in finding.text


def test_images_without_a_group_are_not_groups_across_the_test_split(folder):
    folder.rows = [
        [*row[:3], "", "test" if n % 7 else "train"] for n, row in enumerate(folder.rows)
    ]
    folder.add("copy.png", (folder.root / "0.png").read_bytes(), defect=True, split="test")
    found = folder.findings()
    assert "byte copies across the test split" in found
    assert "groups across the test split" not in found


def test_an_ordinary_set_gives_no_warning(folder):
    summary = summarise(folder.open())
    assert summary.findings == ()
    assert (summary.images, summary.defects, summary.groups, summary.masks) == (70, 35, 35, 0)
    assert summary.sizes == {"128 x 192": 70}
    assert summary.splits == {"": (70, 35)}
    assert summary.grey
    assert summary.looks["brightness"].low < summary.looks["brightness"].high
    again = json.loads(json.dumps(summary.as_json()))
    assert again["looks"]["sharpness"]["median"] == summary.looks["sharpness"].median


@pytest.mark.parametrize(
    ("group", "place", "warning"),
    [("part0", "within a group", False), ("another", "in different groups", True)],
)
def test_a_part_that_was_photographed_again(folder, group, place, warning):
    folder.add("again.png", photographed_again(picture(1)), group=group)
    finding = next(iter(folder.findings().values()))
    assert finding.kind == f"near-duplicates {place}"
    assert finding.images == (("1.png", "again.png"),)
    assert finding.warning is warning
    assert "1.png and again.png" in finding.text


def test_copies_on_both_sides_of_the_test_split(folder):
    for number in range(80, 84):
        defect = number % 2 == 0
        folder.add(f"{number}.png", picture(number), defect=defect, split="test")
    folder.add("copy.png", picture(3), split="test")
    folder.add("again.png", photographed_again(picture(5)), split="test")
    findings = folder.findings()
    assert findings["byte copies across the test split"].images == (("3.png", "copy.png"),)
    assert findings["near-duplicates across the test split"].images == (("5.png", "again.png"),)
    assert findings["byte copies across the test split"].warning
    assert findings["near-duplicates across the test split"].warning


def test_the_same_part_labelled_both_ways(folder):
    folder.add("again.png", photographed_again(picture(1)), defect=True)
    assert folder.findings()["near-duplicates labelled both ways"].images == (
        ("1.png", "again.png"),
    )


def test_byte_copies_in_one_group_do_no_harm(folder):
    folder.add("copy.png", picture(2), defect=True)
    finding = folder.findings()["byte copies within a group"]
    assert not finding.warning
    assert finding.images == (("2.png", "copy.png"),)


def test_what_all_images_share_makes_none_alike():
    """Under one light, with one pattern, parts differ in their grain alone."""
    rng = np.random.default_rng(0)
    shared = rng.normal(120, 40, (32, 32))
    slope = np.linspace(-1, 1, 32)[None, :] * rng.uniform(-60, 60, (200, 1, 1))
    thumbs = (shared + slope + rng.normal(0, 4, (200, 32, 32))).astype(np.float32)
    assert near_pairs(thumbs) == []
    assert near_pairs(np.full((20, 32, 32), 7, np.float32)) == []  # blank, without a warning
    thumbs[150] = thumbs[20] + rng.normal(0, 1, (32, 32))
    ((first, second, likeness),) = near_pairs(thumbs)
    assert (first, second) == (20, 150)
    assert likeness > 0.9


@pytest.mark.parametrize(
    ("kind", "image"),
    [
        ("blurred images", picture(500).filter(ImageFilter.GaussianBlur(4))),
        ("flat images", Image.new("L", (128, 192), 140)),
        ("dark images", picture(502, brightness=40.0)),
        ("bright images", picture(503, brightness=190.0)),
        ("over-exposed images", picture(504, brightness=235.0)),
        ("odd sizes", picture(505, size=(192, 128))),
    ],
)
def test_an_image_unlike_the_others_is_named(folder, kind, image):
    folder.add("strange.png", image, group="part3")
    finding = folder.findings()[kind]
    assert finding.warning
    assert finding.images[0] == ("strange.png",)
    assert "strange.png" in finding.text


@pytest.mark.parametrize(("bits", "told"), [(12, True), (16, False)])
def test_a_camera_s_12_bits_saved_in_16_are_told(tmp_path, bits, told):
    """Sixteen grey levels are left of them, for the model as for the eye."""
    made = Folder(tmp_path / "data")
    for number in range(12):
        deep = np.asarray(picture(number), np.uint16) << (bits - 8)
        made.add(f"{number}.png", Image.fromarray(deep), defect=number % 2 == 0)

    found = made.findings()

    assert ("few grey levels" in found) is told
    if told:
        assert found["few grey levels"].warning
        assert (
            "black but for 12 of 255 grey levels (such as 0.png)" in found["few grey levels"].text
        )


def test_missing_and_inverted_masks_are_named(folder):
    mask = np.zeros((192, 128), bool)
    mask[20:40, 20:40] = True
    folder.add("drawn.png", picture(700), defect=True, mask=mask)
    folder.add("inverted.png", picture(701), defect=True, mask=~mask)
    findings = folder.findings()
    assert findings["missing masks"].count == 35
    assert findings["large masks"].images == (("inverted.png",),)


@pytest.mark.parametrize(
    ("defects", "oks", "kinds"),
    [
        (4, 12, {"few defects"}),
        (40, 20, {"class balance"}),
        (1, 120, {"few defects", "class balance"}),
    ],
)
def test_class_balance(tmp_path, defects, oks, kinds):
    folder = Folder(tmp_path)
    for number in range(defects + oks):
        folder.add(f"{number}.png", picture(number), defect=number < defects)
    findings = folder.findings()
    assert {kind for kind, finding in findings.items() if finding.warning} == kinds
    assert not findings["groups"].warning


def test_an_image_that_has_gone_is_named(folder):
    dataset = folder.open()
    (folder.root / "4.png").unlink()
    assert summarise(dataset).images == len(dataset.samples)  # it was seen
    with pytest.raises(DatasetError, match=r"4\.png can't be read"):
        store_frames(dataset.samples, Preprocess(width=32, height=32), folder.root / "frames")
