"""``make sbom``, over the environment that the tests run in."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from edge_agent import __version__

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed"),
    pytest.mark.skipif(find_spec("cyclonedx_py") is None, reason="cyclonedx-bom is not installed"),
]


def commands_of_make() -> tuple[list[str], list[str]]:
    """What it does in ``build`` first, and the command that writes the bill."""
    said = subprocess.run(
        ["make", "--dry-run", "--always-make", "sbom"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    lines = said.replace("\\\n", " ").splitlines()
    (line,) = [one for one in lines if "cyclonedx-py environment" in one]
    return [one for one in lines if " build" in one and one != line], shlex.split(line)


def test_every_part_with_its_version_and_the_whole_with_its_name(tmp_path):
    out = tmp_path / "sbom.json"
    first, (tool, *arguments) = commands_of_make()
    assert Path(tool).name == "cyclonedx-py"
    assert arguments[-1] == ".venv/bin/python"
    arguments[-1] = sys.executable
    arguments[arguments.index("--output-file") + 1] = str(out)

    for line in first:
        subprocess.run(line, shell=True, cwd=ROOT, check=True)
    subprocess.run([sys.executable, "-m", "cyclonedx_py", *arguments], cwd=ROOT, check=True)

    bill = json.loads(out.read_text())
    assert bill["bomFormat"] == "CycloneDX"
    whole = bill["metadata"]["component"]
    assert (whole["name"], whole["version"]) == ("edge-inspect", __version__)
    parts = {re.sub(r"[-_.]+", "-", part["name"]).lower(): part for part in bill["components"]}
    for name in ("numpy", "onnx", "paho-mqtt", "pillow", "psutil", "pydantic", "watchdog"):
        part = parts[name]
        assert part["version"] == importlib.metadata.version(name)
        assert part["purl"].startswith(f"pkg:pypi/{name}@{part['version']}")
        assert part["licenses"], name
    assert str(ROOT) not in out.read_text()
