"""The test split can't be learned from, even by mistake."""

from __future__ import annotations

import csv
import pickle

import pytest
from PIL import Image

from tests.bundles import make_bundle, make_image
from trainer.data import DatasetError, HeldBack, LearningSet, fingerprint, hold_back, open_dataset


@pytest.fixture
def dataset(tmp_path):
    """Twelve images, a third of them for the test."""
    root = tmp_path / "data"
    root.mkdir()
    with (root / "manifest.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "mask", "defect", "split"])
        for number in range(12):
            defect = number % 2 == 0
            (root / f"{number}.png").write_bytes(make_image(defect=defect, seed=number))
            writer.writerow([f"{number}.png", "", int(defect), "test" if number < 4 else "train"])
    return open_dataset(root)


def test_what_is_learned_from_has_no_test_image(dataset):
    learned, test = hold_back(dataset)
    assert {sample.split for sample in learned.samples} == {"train"}
    assert (len(learned.samples), test.images) == (8, 4)
    assert (learned.root, learned.layout) == (dataset.root, dataset.layout)
    assert fingerprint(learned) != fingerprint(dataset)


def test_a_learning_set_takes_no_test_image(dataset):
    with pytest.raises(ValueError, match="test image"):
        LearningSet(**vars(dataset))


def test_opens_once_and_only_to_a_finished_bundle(dataset, tmp_path):
    _, test = hold_back(dataset)
    bundle = make_bundle(tmp_path / "bundle")
    manifest = tmp_path / "bundle" / "manifest.json"
    manifest.rename(tmp_path / "aside")
    with pytest.raises(DatasetError, match="finished bundle"):
        test.open(bundle)
    (tmp_path / "aside").rename(manifest)
    assert {sample.name for sample in test.open(bundle)} == {f"{n}.png" for n in range(4)}
    with pytest.raises(DatasetError, match="opened before"):
        test.open(bundle)


def test_nothing_leaks_before(dataset):
    _, test = hold_back(dataset)
    for access in (iter, len, list, pickle.dumps, lambda held: held[0], lambda held: held.samples):
        with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
            access(test)
    assert "png" not in repr(test) + repr(vars(test))


def test_the_input_size_does_not_depend_on_it(dataset):
    """Not even when most images, all of the test split, are larger."""
    with (dataset.root / "manifest.csv").open("a", newline="") as stream:
        for number in range(30):
            Image.effect_noise((200, 300), 50 + number).save(dataset.root / f"large{number}.png")
            csv.writer(stream).writerow([f"large{number}.png", "", number % 2, "test"])
    again = open_dataset(dataset.root)
    assert (again.width, again.height) == (dataset.width, dataset.height)


def test_without_a_test_split_nothing_is_held_back(dataset):
    learned, _ = hold_back(dataset)
    again, test = hold_back(learned)
    assert again.samples == learned.samples
    assert test.images == 0
    assert isinstance(test, HeldBack)
