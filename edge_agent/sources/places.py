"""Where judged images are filed: a name for each, chosen before its verdict says it, and kept.

A verdict can't be corrected once it is published, so nothing may take the name in between. Other
frames of the station don't: they ask here. A stranger's file is renamed.
"""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING

from edge_agent.sources.reason import NAME_LIMIT, REASON, leaves_room, note_of
from edge_agent.system.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge_agent.types import Claim

log = logging.getLogger(__name__)


def numbered(path: Path, identity: str) -> str:
    """The name under which a frame is filed away when its own is taken, or too long."""
    tail = os.fsencode("." + identity + path.suffix[:16])
    stem = os.fsencode(path.stem)[: NAME_LIMIT - len(REASON) - len(tail)]
    return os.fsdecode(stem + tail)


class Places:
    """The names in ``processed/`` and ``quarantine/`` that frames have been given."""

    def __init__(self, processed: Path, quarantine: Path, new_id: Callable[[], str]) -> None:
        """``new_id`` makes an identity that nothing else has."""
        self._processed = processed
        self._quarantine = quarantine
        self._new_id = new_id
        self._given: dict[str, Path] = {}
        """By frame, until it is filed."""

    def give(self, claim: Claim, *, quarantined: bool) -> str:
        """Choose the name of a frame, or say again which it is; no other one gets it.

        Returns:
            ``processed/NAME`` or ``quarantine/NAME``, printable.
        """
        directory = self._quarantine if quarantined else self._processed
        found = self._given.get(claim.id)
        if found is None or found.parent != directory:
            self.take_back(claim.id)
            found = self._given[claim.id] = directory / self._free(directory, claim)
        return self._said(found)

    def give_again(self, claim: Claim, said: str) -> None:
        """Give a frame the name that its inspection says, as `give` returned it."""
        own = (claim.path.name, numbered(claim.path, claim.id))
        for directory in (self._processed, self._quarantine):
            for name in own:
                if said == self._said(directory / name):
                    self._given[claim.id] = directory / name

    def take_back(self, frame: str) -> None:
        """The frame is filed, or will not be."""
        self._given.pop(frame, None)

    def clear(self, claim: Claim, directory: Path) -> Path:
        """Where a frame is to be filed now, with nothing there.

        Raises:
            OSError: what is there can't be renamed.
        """
        found = self._given.get(claim.id)
        if found is None or found.parent != directory:
            return directory / self._free(directory, claim)
        if os.path.lexists(found):
            aside = directory / numbered(found, self._new_id())
            with contextlib.suppress(FileNotFoundError):
                note_of(found).rename(note_of(aside))
            found.rename(aside)
            log.warning("%s was not filed by this station and is %s now", found, aside.name)
        return found

    def _free(self, directory: Path, claim: Claim) -> str:
        """A name that is free in ``directory`` and leaves room for the reason's suffix."""
        name = claim.path.name
        taken = directory / name in self._given.values() or os.path.lexists(directory / name)
        return name if leaves_room(name) and not taken else numbered(claim.path, claim.id)

    def _said(self, path: Path) -> str:
        folder = "quarantine" if path.parent == self._quarantine else "processed"
        return f"{folder}/{printable(path.name, 8 * NAME_LIMIT)}"
