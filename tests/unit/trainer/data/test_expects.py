"""Bounds of a picture of the part: wider than what was seen, and never open for nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_agent.bundle.plausible import Sight, why_implausible
from trainer.data.expects import judged_blanks, make_expects

PART = Sight(500, 1250, 0.0, 150.0, 20.0, 60.0, 120.0)


def many(count=100, seed=0, **spreads):
    """Sights like ``PART``, each of ``spreads`` drawn evenly between its two ends."""
    rng = np.random.default_rng(seed)
    return [
        replace(PART, **{name: float(rng.uniform(*ends)) for name, ends in spreads.items()})
        for _ in range(count)
    ]


def made(sights):
    return make_expects(sights, [str(number) for number in range(len(sights))])


def test_every_training_image_is_inside_with_room():
    sights = many(brightness=(100.0, 200.0), contrast=(10.0, 30.0), sharpness=(10.0, 100.0))
    expects = made(sights)

    assert expects.images == 100
    assert not any(why_implausible(sight, expects) for sight in sights)
    for name, down, up in (("contrast", 2, 2), ("sharpness", 4, 2), ("darkest", 2, 1.9)):
        low, high = getattr(expects, name)
        assert low < min(getattr(one, name) for one in sights) / down
        assert high > max(getattr(one, name) for one in sights) * up


def test_pictures_of_nothing_and_turned_ones_are_outside():
    expects = made(many(brightness=(100.0, 200.0), contrast=(10.0, 30.0)))
    turned = replace(PART, width=PART.height, height=PART.width)

    assert judged_blanks([PART], expects) == []
    assert "1250 x 500 pixels (expected 476 to 525 x 1190 to 1313)" in why_implausible(
        turned, expects
    )
    assert "darkest" in why_implausible(replace(PART, darkest=2.0), expects)


def test_a_size_that_never_changes_may_differ_by_what_encoders_round():
    expects = made([PART] * 30)

    assert not why_implausible(replace(PART, width=496, height=1248), expects)
    assert why_implausible(replace(PART, width=468), expects)


def test_sizes_that_vary_have_more_room_the_fewer_groups_were_seen():
    sights = many(width=(200.0, 400.0))
    by_image = made(sights).width
    by_group = make_expects(sights, ["a", "b"] * 50).width

    assert by_group[0] < by_image[0] < 200
    assert by_group[1] > by_image[1] > 400


@pytest.mark.parametrize("brightness", [250.0, 254.0])
def test_a_bright_line_may_get_a_little_brighter_and_never_white(brightness):
    expects = made([replace(PART, brightness=brightness)] * 30)

    assert brightness < expects.brightness[1] <= 255.0
    assert judged_blanks([PART], expects) == []  # it has contrast


def test_colour_may_be_missing_where_there_was_little_of_it():
    pale, strong = (made([replace(PART, colour=colour)] * 30).colour for colour in (20.0, 80.0))
    assert pale == (0.0, 52.0)
    assert strong == (48.0, 112.0)


def test_black_frames_among_the_training_images_are_told():
    black = replace(PART, brightness=0.0, contrast=0.0, sharpness=0.0, darkest=0.0)
    sights = [*many(), black]

    assert judged_blanks(sights, made(sights)) == ["black"]


def test_a_dark_field_has_no_lower_bound_for_its_darkest_part():
    expects = made([replace(PART, darkest=value) for value in (0.1, 0.4, 2.0)])
    assert expects.darkest[0] == 0.0
