"""How good is `dense` from image labels alone? ``python -m tests.bench.elpv RUN [OPTION...]``.

2,624 solar cells in electroluminescence, 300 x 300, without masks (`pip install elpv-dataset`;
Deitsch et al. 2019, CC BY-NC-SA 4.0: for measuring only). A cell counts as defective if half of
those who looked at it, or more, said so. Options are those of `trainer train`; by default they are
what measured best. RUN is a new folder; takes about half an hour on two cores.
"""

from __future__ import annotations

import csv
import importlib.util
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from trainer.cli import run

DEFECTIVE = 0.5
BEST = ("--size", "288x288", "--variants", "fp32", "--name", "elpv")


def write_manifest(root: Path) -> int:
    """Copy the package's images beside a manifest.csv; return how many there are."""
    package = importlib.util.find_spec("elpv_dataset")
    if package is None or package.origin is None:
        sys.exit("elpv-dataset is not installed: pip install elpv-dataset")
    data = Path(package.origin).parent / "data"
    lines = (data / "labels.csv").read_text().splitlines()
    shutil.copytree(data / "images", root / "images")
    with (root / "manifest.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "mask", "defect", "group"])
        for line in lines:
            image, probability, _ = line.split()
            writer.writerow([image, "", int(float(probability) >= DEFECTIVE), ""])
    return len(lines)


def main(out: Path, options: list[str]) -> int:
    """Train and print; the exit code is the trainer's."""
    with TemporaryDirectory() as scratch:
        print(f"{write_manifest(Path(scratch))} cells", file=sys.stderr)
        return run(["train", scratch, "--recipe", "dense", "--out", str(out), *BEST, *options])


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
