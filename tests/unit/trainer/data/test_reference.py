"""What drift is measured against."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from edge_agent.bundle.appearance import appearance
from trainer.data import Sample
from trainer.data.reference import BINS, distribution, make_reference


def test_every_value_is_counted_about_evenly():
    values = np.random.default_rng(0).normal(120, 2, 1000)
    found = distribution(values, 255.0)
    assert sum(found.counts) == 1000
    assert found.edges[0] == 0.0
    assert found.edges[-1] == 255.0
    assert len(found.counts) == BINS
    assert max(found.counts) <= 52


@pytest.mark.parametrize("values", [[5.0], [0.0, 0.0], [255.0, 255.0], [7.0] * 50])
def test_values_that_are_all_the_same_still_make_a_histogram(values):
    found = distribution(values, 255.0)
    assert sum(found.counts) == len(values)
    assert list(found.edges) == sorted(set(found.edges))


def test_reference_covers_all_five(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    good = []
    for number, frame in enumerate(frames):
        file = tmp_path / f"{number}.bmp"
        Image.fromarray(frame).save(file)
        good.append(Sample(file.name, file, None, defect=False, group=file.name))
    found = make_reference(good, [appearance(frame) for frame in frames], np.linspace(0, 1, 4))
    for name in ("score", "brightness", "contrast", "sharpness", "compression"):
        assert sum(getattr(found, name).counts) == 4
    assert 24 < found.compression.edges[1] < 25  # a bitmap: three bytes a pixel and a header
