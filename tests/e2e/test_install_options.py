"""What install.sh makes of its options, as --dry-run tells it: for this it need not be root."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.machine import REPO

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

SCRIPT = REPO / "deploy/install.sh"


def dry_run(*options: str, here: Path = REPO) -> subprocess.CompletedProcess[str]:
    given = ("--dry-run", "--runtime", "cpu", "--python", sys.executable)
    command = ["bash", SCRIPT, *given, *options]
    return subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)


def release(*options: str, here: Path = REPO) -> str:
    """What it would install."""
    done = dry_run(*options, here=here)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return re.search(r"installing (\S+)", done.stdout)[1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--inbox", "images"), "give the whole path"),
        (("--inbox", "/home/camera/images"), "the service sees nothing there"),
        (("--inbox", "/tmp"), "the service sees nothing there"),
        (("--inbox", "/srv/100 %"), 'a path without " \\ % $ & |'),
        (("--inbox", "/srv/a\nb"), "and line ends"),
        (("--station", "left.2"), "letters, digits"),
        (("--station", "state"), "choose another name"),
        (("--station", "station"), "choose another name"),
    ],
)
def test_what_could_not_work_is_refused_before_anything_is_done(
    options: tuple[str, ...], said: str
) -> None:
    done = dry_run(*options)

    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""


def test_what_was_installed_for_another_python_is_another_release(tmp_path: Path) -> None:
    """After an upgrade of the system the old one's can't run: it is installed again."""
    newer = tmp_path / "python3"
    newer.write_text(
        f'#!/bin/sh\ncase $2 in *print*) echo /usr 3 99 ;; *) exec {sys.executable} "$@" ;; esac\n'
    )
    newer.chmod(0o755)

    assert release() == release()
    assert release("--python", str(newer)) != release()


def test_other_wheels_are_another_release_wherever_they_are_named_from(tmp_path: Path) -> None:
    wheels = tmp_path / "the wheels"
    wheels.mkdir()
    (wheels / "edge_inspect-0.1.0-py3-none-any.whl").write_bytes(b"one")
    first = release("--wheels", str(wheels))

    assert release("--wheels", "the wheels", here=tmp_path) == first
    (wheels / "edge_inspect-0.1.0-py3-none-any.whl").write_bytes(b"another")
    assert release("--wheels", "the wheels", here=tmp_path) != first
