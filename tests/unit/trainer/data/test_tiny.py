"""Defects that the network's input is too small for."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from edge_agent.bundle import Preprocess
from trainer.data import Sample
from trainer.data.marks import largest_mark
from trainer.data.tiny import tiny_defects, warn_of_tiny


@pytest.mark.parametrize(
    ("picture", "largest"),
    [
        ("....", 0),
        ("#..#", 1),
        ("##.#/...#", 2),
        ("#.../.#../..#.", 3),
        ("#.#/#.#/###", 7),
        ("###/#.#/..#/.#.", 7),
        ("#.#.#/#####/.....#/##".replace(".....#", "....."), 8),
        (".#./#.#/.#.", 4),
        ("#....#/##..##/.#..#.", 4),
    ],
)
def test_the_largest_mark_in_one_piece(picture, largest):
    rows = picture.split("/")
    width = max(map(len, rows))
    mask = np.array([[c == "#" for c in row.ljust(width, ".")] for row in rows])
    assert largest_mark(mask, 100) == largest
    assert largest_mark(mask[::-1, ::-1].copy(), 100) == largest


def test_pieces_are_as_by_flooding():
    rng = np.random.default_rng(0)
    for _ in range(30):
        mask = rng.random((20, 25)) < 0.35
        left, largest = mask.copy(), 0
        while left.any():
            todo, size = [tuple(np.argwhere(left)[0])], 0
            left[todo[0]] = False
            while todo:
                y, x = todo.pop()
                size += 1
                for row in range(max(0, y - 1), min(20, y + 2)):
                    for column in range(max(0, x - 1), min(25, x + 2)):
                        if left[row, column]:
                            left[row, column] = False
                            todo.append((row, column))
            largest = max(largest, size)
        assert largest_mark(mask, 500) == largest


def flawed(folder, name, *, size=(2048, 1536), marks=((100, 200, 3),)):
    """A defective image of which only the mask is there: all that is looked at."""
    pixels = np.zeros(size[::-1], np.uint8)
    for x, y, side in marks:
        pixels[y : y + side, x : x + side] = 255
    Image.fromarray(pixels).save(folder / name)
    return Sample(name, folder / name, folder / name, True, name)


def test_pinholes_are_told_with_the_size_that_would_do(tmp_path, capsys):
    pinholes = [
        flawed(tmp_path, "a.png"),
        flawed(tmp_path, "many.png", marks=[(x * 50, 9, 3) for x in range(30)]),
    ]
    large = flawed(tmp_path, "large.png", marks=((0, 0, 3), (300, 300, 40)))
    spec = Preprocess(width=480, height=352)
    tiny = tiny_defects([*pinholes, large], spec)
    finding = tiny.finding
    assert tiny.wanted == (1408, 1024)
    assert (finding.warning, finding.count) == (True, 2)
    assert finding.images == (("a.png",), ("many.png",))
    assert (
        "2 of 3 defects with a mask are smaller than 2 x 2 pixels of the network's" in finding.text
    )
    assert "input, 480 x 352 (such as a.png: 9 pixels of 2048 x 1536)" in finding.text
    assert "--size 1408x1024 would do, at about 9 times the work" in finding.text
    assert tiny_defects([*pinholes, large], Preprocess(width=1408, height=1024)) is None
    warn_of_tiny(pinholes, spec)
    assert capsys.readouterr().err.startswith("warning: 2 of 2 defects with a mask are smaller")


def test_what_no_size_would_help_is_told(tmp_path):
    dot = flawed(tmp_path, "dot.png", size=(64, 64), marks=((3, 3, 1),))
    text = tiny_defects([dot], Preprocess(width=64, height=64)).finding.text
    assert text.endswith("itself: is the mask right? Else take the part closer")
    far = flawed(tmp_path, "far.png", size=(12000, 96), marks=((3, 3, 2),))
    assert (
        "cut the images into smaller ones"
        in tiny_defects([far], Preprocess(width=4096, height=32)).finding.text
    )


@pytest.mark.parametrize(
    ("fit", "told"), [("stretch", False), ("letterbox", True), ("crop", False)]
)
def test_each_way_of_fitting_shrinks_otherwise(tmp_path, fit, told):
    wide = flawed(tmp_path, "wide.png", size=(400, 100), marks=((3, 3, 5),))
    spec = Preprocess(width=96, height=96, fit=fit)
    assert (tiny_defects([wide], spec) is not None) is told


def test_nothing_is_said_of_large_ones_and_of_images_without_a_mask(tmp_path):
    bare = Sample("b.png", tmp_path / "b.png", None, True, "b")
    ok = Sample("c.png", tmp_path / "c.png", None, False, "c")
    large = flawed(tmp_path, "large.png", size=(64, 64), marks=((3, 3, 30),))
    assert tiny_defects([bare, ok, large], Preprocess(width=32, height=32)) is None
