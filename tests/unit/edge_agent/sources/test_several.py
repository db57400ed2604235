"""Sources as one: what one of them can't give is no loss to another."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from edge_agent.settings import FolderSettings
from edge_agent.sources.folder import FolderSource
from edge_agent.sources.several import Sources
from edge_agent.sources.spool import Spool
from tests.line import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Pair:
    """Two folders, each with a spool of its own, and both as one source."""

    def __init__(self, root: Path) -> None:
        self.inboxes = [root / "one", root / "two"]
        self.spools = []
        self.folders = []
        for inbox in self.inboxes:
            inbox.mkdir()
            self.spools.append(Spool(root / f"{inbox.name}-work", root / "p", root / "q"))
            settings = FolderSettings(path=inbox, settle=0.0, scan_every=0.05)
            self.folders.append(
                FolderSource(settings, self.spools[-1], judged=lambda _: {}, wake=lambda: None)
            )
        self.sources = Sources(self.folders)

    def until(self, count: int) -> list[str]:
        """Claim until so many images have come."""
        names: list[str] = []
        while len(names) < count:
            names += [claim.name for claim in self.sources.claim(10)]
        return names


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path)
    yield made
    for folder in made.folders:
        folder.close()


def full(_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "work/1")


@pytest.mark.parametrize("failing", [0, 1])
def test_what_one_source_gave_is_not_lost_when_another_fails(pair, monkeypatch, caplog, failing):
    for inbox in pair.inboxes:
        for number in range(5):
            (inbox / f"{inbox.name} {number}.png").write_bytes(b"pixels")
    pair.sources.look()
    for folder in pair.folders:
        wait_for(lambda folder=folder: len(folder._watch._fresh | folder._fresh) == 5)
        wait_for(lambda folder=folder: not folder._watch._open)
    with monkeypatch.context() as patch:
        patch.setattr(pair.spools[failing], "claim", full)
        claimed = set(pair.until(5))
        assert "No space left on device: work/1" in pair.sources.trouble
        with pytest.raises(OSError, match="No space left"):
            pair.until(1)  # the other one has no more to give

    healthy = pair.inboxes[1 - failing].name
    assert claimed == {f"{healthy} {number}.png" for number in range(5)}
    assert sorted(pair.until(5)) == [f"{pair.inboxes[failing].name} {n}.png" for n in range(5)]
    assert pair.sources.trouble == ""
    assert "images can't be claimed: No space left on device: work/1" in caplog.text


def test_none_starves_another(pair):
    for inbox in pair.inboxes:
        for number in range(5):
            (inbox / f"{inbox.name} {number}.png").write_bytes(b"pixels")

    first = [pair.sources.claim(1)[0].name[:3] for _ in range(4)]

    assert first == ["one", "two", "one", "two"]
