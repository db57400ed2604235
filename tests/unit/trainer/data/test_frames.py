"""The input's size, and masks that land where the image's pixels land."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from edge_agent.bundle import Preprocess
from edge_agent.bundle.preprocess import fit
from trainer.data import Sample
from trainer.data.frames import PIXELS, choose_size, fitted, survey, target_map


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ((500, 1260), (256, 704)),  # KolektorSDD
        ((230, 630), (256, 640)),  # KolektorSDD2: hardly enlarged
        ((300, 300), (320, 320)),
        ((1024, 1024), (416, 416)),
        ((100, 80), (128, 96)),
    ],
)
def test_size_follows_the_images(images, expected):
    assert choose_size(*images) == expected


@pytest.mark.parametrize("width", [33, 100, 257, 800, 4000, 9000])
@pytest.mark.parametrize("height", [33, 100, 257, 800, 4000, 9000])
def test_size_is_usable_for_any_image(width, height):
    w, h = choose_size(width, height)
    assert w % 32 == h % 32 == 0
    assert w * h <= PIXELS
    assert w < width + 32
    assert h < height + 32


def sample_with(tmp_path, mask, image=None):
    height, width = mask.shape
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    shown = np.full((height, width), 90, np.uint8) if image is None else image
    Image.fromarray(shown).save(tmp_path / "image.png")
    return Sample("image.png", tmp_path / "image.png", tmp_path / "mask.png", True, "g")


@pytest.mark.parametrize("how", ["stretch", "letterbox", "crop"])
def test_mask_lands_where_the_image_lands(tmp_path, how):
    """A white square on black must be found where its mask says, in the input's cells."""
    mask = np.zeros((90, 200), bool)
    mask[30:50, 110:130] = True
    sample = sample_with(tmp_path, mask, (mask * 255).astype(np.uint8))
    spec = Preprocess(width=96, height=96, fit=how)
    cells = target_map(sample, spec, 8)
    seen = fit(Image.open(sample.image), spec).tensor[..., 0]
    # The letterbox pads with grey, so white only.
    bright = (seen > 200).reshape(12, 8, 12, 8).any(axis=(1, 3))
    assert bright.any()
    assert not (bright & ~cells).any()
    assert cells.sum() <= 2 * bright.sum() + 4


def test_padding_is_no_defect(tmp_path):
    sample = sample_with(tmp_path, np.zeros((33, 200), bool) | (np.arange(200) == 100))
    cells = target_map(sample, Preprocess(width=96, height=96, fit="letterbox"), 8)
    rows = np.flatnonzero(cells.any(axis=1))
    assert rows.min() >= 4
    assert rows.max() <= 7


def test_a_scratch_one_pixel_wide_survives(tmp_path):
    mask = np.zeros((1000, 1000), bool)
    mask[:, 500] = True
    cells = target_map(sample_with(tmp_path, mask), Preprocess(width=96, height=96), 8)
    assert cells.any(axis=1).all()


def test_without_a_mask_nothing_is_marked(tmp_path):
    sample = Sample("a.png", tmp_path / "a.png", None, False, "a")
    assert not target_map(sample, Preprocess(width=64, height=32), 8).any()


def test_survey_tells_grey_and_uniform(tmp_path):
    def image(name, size, mode="L"):
        Image.new(mode, size).save(tmp_path / name)
        return Sample(name, tmp_path / name, None, False, name)

    plain = [image("a.png", (100, 50)), image("b.png", (110, 50))]
    assert survey(plain).grey
    assert survey(plain).uniform
    assert not survey([*plain, image("c.png", (100, 50), "RGB")]).grey
    assert not survey([*plain, image("d.png", (50, 100))]).uniform
    assert next(fitted(plain, Preprocess(width=32, height=64))).shape == (64, 32, 3)
