"""Settings as a station has them, and programs that say what a test wants."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edge_agent.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge_agent.settings import Settings


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Settings]:
    """``make_settings(more, bundle=..., home=..., folder=...)``; the inbox is there."""

    def make(
        more: str = "", *, bundle: object = "bundle", home: Path = tmp_path, folder: str = ""
    ) -> Settings:
        (home / "inbox").mkdir(exist_ok=True)
        file = home / "station.toml"
        root = "" if "[storage]" in more else '[storage]\nroot = "state"\n'
        file.write_text(
            f'bundle = "{bundle}"\n[source.folder]\npath = "inbox"\n{folder}\n{root}{more}\n'
        )
        return load_settings(file)

    return make


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """``program(name, script)``: that name is a shell script from now on."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")

    def make(name: str, script: str) -> None:
        file = directory / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    return make
