"""Make again what ``edge-agent demo`` ships: ``python -m trainer.demo_bundle OUT``.

OUT/bundle learned from synthetic surfaces alone; OUT/images come from another seed, so that the
bundle has never seen them.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from trainer.cli import run
from trainer.data.synth import make_surfaces

NOTICE = (
    "For trying the daemon, not for a line: it knows synthetic surfaces only. The backbone's "
    "weights are EfficientNet-Lite0's, Apache-2.0; see the NOTICE beside this bundle."
)
TRAINING_SEED, IMAGES_SEED = 1, 2
GOOD, DEFECT = 480, 320
GOOD_SHOWN = 8
FLAWED_SHOWN = (0, 4, 8, 7)
"""By number: every material and every kind of flaw, chosen before anything was judged."""
SETTINGS = {
    "--strides": "8,16",  # a bundle of 3 MB instead of 12, and half the time a frame
    "--size": "160x256",
    "--folds": "3",
    "--name": "demo-surfaces",
    "--notice": NOTICE,
}


def make_demo(out: Path) -> int:
    """Replace OUT/bundle and OUT/images; return 0, or the exit code of the step that failed."""
    with tempfile.TemporaryDirectory() as scratch:
        surfaces, finished = Path(scratch) / "surfaces", Path(scratch) / "run"
        make_surfaces(surfaces, GOOD, DEFECT, TRAINING_SEED)
        options = [word for option in SETTINGS.items() for word in option]
        code = run(["train", str(surfaces), "--out", str(finished), *options])
        if code:
            return code
        shown = Path(scratch) / "shown"
        make_surfaces(shown, GOOD_SHOWN, max(FLAWED_SHOWN) + 1, IMAGES_SEED)
        for name in ("bundle", "images"):
            shutil.rmtree(out / name, ignore_errors=True)
        shutil.copytree(finished / "bundle", out / "bundle")
        _mix(shown, out / "images")
    return 0


def _mix(shown: Path, images: Path) -> None:
    """Number the images so that a flawed one comes after every two good ones."""
    images.mkdir(parents=True)
    good = iter(sorted((shown / "ok").iterdir(), key=_number))
    every = sorted((shown / "defect").iterdir(), key=_number)
    flawed = iter([every[number] for number in FLAWED_SHOWN])
    for place in range(1, GOOD_SHOWN + len(FLAWED_SHOWN) + 1):
        file = next(flawed if place % 3 == 0 else good)
        kind = file.stem.rpartition("_")[0].replace("_", "-")
        shutil.copyfile(file, images / f"{place:02d}-{kind}.png")


def _number(file: Path) -> int:
    return int(file.stem.rpartition("_")[2])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m trainer.demo_bundle OUT")
    sys.exit(make_demo(Path(sys.argv[1])))
