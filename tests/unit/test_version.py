"""The version stands in ``edge_agent/__init__.py``; whatever can't read it there is in step."""

from __future__ import annotations

import re
import sys

import pytest

from edge_agent import __version__
from tests.docs import REPO

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def test_the_package_takes_it_from_there():
    whole = tomllib.loads((REPO / "pyproject.toml").read_text())

    assert whole["project"]["dynamic"] == ["version"]
    assert whole["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "edge_agent.__version__"}


def test_the_changelog_s_last_release_is_this_one():
    sections = re.findall(r"^## (.*)$", (REPO / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert sections[0] == "Unreleased"
    assert re.fullmatch(re.escape(__version__) + r" - \d{4}-\d\d-\d\d", sections[1])


@pytest.mark.parametrize("file", ["Dockerfile.edge", "Dockerfile.train"])
def test_the_images_are_labelled_with_it(file):
    assert f"\nARG VERSION={__version__}\n" in (REPO / file).read_text()
