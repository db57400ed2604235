"""A data set that can't be used: one message, before anything is trained, whatever the recipe."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from PIL import Image

from tests.bundles import make_image
from trainer.cli import run


def mask(size=(64, 96), *, marked=True):
    pixels = np.zeros(size[::-1], np.uint8)
    pixels[10:20, 10:20] = 255 * marked
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def write(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def good(oks=12, defects=8):
    files = {f"ok/{n}.png": make_image(defect=False, seed=n) for n in range(oks)}
    flawed = {f"defect/{n}.png": make_image(defect=True, seed=n) for n in range(defects)}
    masks = {f"masks/{n}.png": mask() for n in range(defects)}
    return {**files, **flawed, **masks}


def lying(seed):
    """A JPEG of 64 x 96 pixels that a camera calls 96 x 64."""
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    stream = io.BytesIO()
    Image.open(io.BytesIO(make_image(defect=True, seed=seed))).save(stream, "JPEG", exif=exif)
    return stream.getvalue()


CASES = {
    "no folder": (None, ["does not exist", "give the folder that holds the images"]),
    "no images": ({"ok/readme.txt": b"", "defect/readme.txt": b""}, ["nothing was changed"]),
    "one class": (
        {f"ok/{n}.png": make_image(defect=False, seed=n) for n in range(12)},
        ["good images, no defective ones", "add images of the missing kind"],
    ),
    "three images": (good(2, 1), ["5 folds need", "Use fewer folds or add images"]),
    "wrong masks": (
        {**good(), "masks/3.png": mask((60, 96)), "masks/5.png": mask((64, 90))},
        ["masks/3.png: 60 x 96, the image 64 x 96", "masks/5.png", "export them at the image's"],
    ),
    "corrupt files": (
        {**good(), "ok/2.png": good()["ok/2.png"][:200], "defect/1.png": b"", "ok/7.png": b"text"},
        ["ok/2.png", "defect/1.png", "ok/7.png", "unreadable images (3)", "copy them again"],
    ),
    "masks of images that lie on their side": (
        {**good(defects=0), **{f"defect/{n}.jpg": lying(n) for n in range(8)}}
        | {f"masks/{n}.png": mask() for n in range(8)},
        ["masks/3.png: 64 x 96, the image 96 x 64, upright as its EXIF orientation says"],
    ),
    "one group with everything": (
        {
            name.replace("ok/", "ok/lot/").replace("defect/", "defect/lot/"): content
            for name, content in good().items()
        },
        ["there are 1 groups with defective", "name smaller groups in a manifest.csv", "lot, are"],
    ),
    "a black mask": ({**good(), "masks/4.png": mask(marked=False)}, ["defect/4.png", "all-black"]),
}


@pytest.mark.parametrize("recipe", ["dense", "seed"])
@pytest.mark.parametrize("case", CASES)
def test_is_told_before_any_training(tmp_path, capsys, monkeypatch, recipe, case):
    monkeypatch.setitem(sys.modules, "torch", None)  # so that importing it fails
    files, said = CASES[case]
    data, out = tmp_path / "data", tmp_path / "run"
    if files is not None:
        write(data, files)
    assert run(["train", str(data), "--out", str(out), "--recipe", recipe]) == 2
    captured = capsys.readouterr()
    for part in said:
        assert part in captured.err
    assert captured.err.startswith("trainer train: ")
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--recipe", "seed", "--top-k", "3"], "--top-k: is an option of the dense recipe"),
        (["--recipe", "seed", "--strides", "8"], "--strides: is an option of the dense recipe"),
        (["--focal-gamma", "0.3"], "--focal-gamma: is an option of the seed recipe"),
        (["--unfreeze", "all"], "--unfreeze: is an option of the seed recipe"),
        (["--resume"], "--resume: is an option of the seed recipe"),
        (["--recipe", "seed", "--focal-gamma", "1"], "--focal-gamma: Input should be less than 1"),
        (["--rule", "best"], "--rule: unknown rule 'best'"),
    ],
)
def test_an_option_of_the_other_recipe_is_refused_by_name(tmp_path, capsys, options, said):
    assert run(["train", str(tmp_path), "--out", str(tmp_path / "run"), *options]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_torchrun_is_refused_where_it_has_nothing_to_do(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert run(["train", str(tmp_path), "--out", str(tmp_path / "run")]) == 2
    assert "torchrun needs --recipe seed --unfreeze" in capsys.readouterr().err
