"""``edge-agent journal repair``: images whose inspection was lost get one again.

What was lost is the verdict, and no other is invented: such an image is an ``error`` with a reason
that says so, published like any other, and lies in ``quarantine/``, where people look. It may be
cut short at any call; what is left is done when it is called again.
"""

from __future__ import annotations

import contextlib
import errno
import filecmp
import hashlib
import os
import re
import stat
import time
from collections import deque
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.journal import RECOVERED, FiledImage, Journal, JournalError, mark_of, orphans
from edge_agent.publish import Station, verdict_payload
from edge_agent.sources.copying import copy_in_steps
from edge_agent.sources.identity import PATTERN
from edge_agent.sources.places import numbered
from edge_agent.sources.reason import REASON, leaves_room, read_note, write_note
from edge_agent.sources.spool import sha256_of
from edge_agent.system import lock
from edge_agent.system.durable import sync_directory
from edge_agent.system.text import printable
from edge_agent.types import Image, Inspection, Latency, Model, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edge_agent.journal import Orphan
    from edge_agent.settings import Settings

_REASON = "the journal has lost the inspection of this image, and its verdict with it"
_UNKNOWN = Model(*["unknown"] * 5)
_NUMBERED = re.compile(rf"\.({PATTERN})(?:\.|$)")
_BATCH = 100  # images in one commit


@dataclass(frozen=True)
class Repaired:
    """What was done."""

    losses: tuple[str, ...]
    """What is told no longer."""
    images: int
    """That no row of the journal named."""
    recovered: int
    """That have one now; the others can't be read."""


def repair(settings: Settings, *, images: bool = True) -> Repaired:
    """Record the images that no row names, and acknowledge what is missing.

    Args:
        settings: of a station whose agent is stopped.
        images: False: acknowledge alone.

    Raises:
        LockedError: its agent runs.
        JournalError: there is no journal, or it is damaged.
        OSError: an image can't be moved to ``quarantine/``.
    """
    path = settings.storage.journal
    if not path.exists() and not mark_of(path).exists():
        raise JournalError(f"there is no journal at {path}: has the agent run with this state?")
    with lock.hold(settings.storage.lock), Journal(path) as journal:
        found = recovered = 0
        if images:
            repairer = _Repairer(settings, journal)
            without_row = orphans(path, repairer.files(), sha256_of)
            while batch := list(islice(without_row, _BATCH)):
                found += len(batch)
                recovered += repairer.recover(batch)
        losses = journal.losses
        journal.acknowledge_losses()
    return Repaired(losses, found, recovered)


class _Repairer:
    def __init__(self, settings: Settings, journal: Journal) -> None:
        storage, station = settings.storage, settings.station
        self._processed = storage.processed_dir
        self._quarantine = storage.quarantine_dir
        self._station = Station(station.site, station.line, station.name)
        self._journal = journal

    def files(self) -> Iterator[FiledImage]:
        """Every image that was filed away."""
        for directory in (self._processed, self._quarantine):
            with contextlib.suppress(FileNotFoundError), os.scandir(directory) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or entry.name.endswith(REASON):
                        continue
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        path = Path(entry.path)
                        quarantined = directory == self._quarantine
                        identity = _note_of(path).get("id") if quarantined else None
                        if not isinstance(identity, str):
                            inside = _NUMBERED.search(entry.name)
                            identity = inside[1] if inside else ""
                        yield FiledImage(
                            path, quarantined, identity, status.st_size, status.st_mtime
                        )

    def recover(self, batch: Sequence[Orphan]) -> int:
        """Record them, then file them away; return how many could be read."""
        made = [(one.file, self._inspection(one)) for one in batch if one.sha256]
        self._journal.record(
            [inspection for _, inspection in made],
            lambda sequence, one: verdict_payload(self._station, sequence, one),
        )
        self._quarantine.mkdir(parents=True, exist_ok=True)
        for file, inspection in made:
            if not file.quarantined:
                self._set_aside(file.path, inspection)
            elif _note_of(file.path).get("id") != inspection.id:
                _write_note(file.path, inspection)
        sync_directory(self._quarantine)
        return len(made)

    def _inspection(self, orphan: Orphan) -> Inspection:
        file, now = orphan.file, time.time()
        note = _note_of(file.path) if file.quarantined else {}
        received = note.get("received")
        return Inspection(
            id=self._identity(orphan),
            verdict=Verdict.ERROR,
            score=None,
            threshold=0.0,
            reason=RECOVERED + str(note.get("reason") or _REASON).removeprefix(RECOVERED),
            name=str(note.get("name") or printable(file.path.name)),
            image=Image(orphan.sha256, file.size),
            captured=file.captured,
            received=received if isinstance(received, float) else file.captured,
            completed=now,
            model=_UNKNOWN,
            latency=Latency(),
            worker_rss=0,
            agent_rss=0,
        )

    def _identity(self, orphan: Orphan) -> str:
        """Its own where that is known; otherwise the same at every call, for this one file."""
        own = orphan.file.id
        if own and (not self._journal.has(own) or self._recovered(own)):
            return own
        status = orphan.file.path.lstat()
        key = f"{orphan.sha256}\0{status.st_ino}\0{status.st_ctime_ns}"
        return hashlib.sha256(key.encode()).hexdigest()[:24]

    def _recovered(self, identity: str) -> bool:
        """Whether it was recorded by a repair that was cut short before it moved the file."""
        found = self._journal.find(identity)
        return found is not None and found.reason.startswith(RECOVERED)

    def _set_aside(self, path: Path, made: Inspection) -> None:
        target = self._quarantine / path.name
        if not leaves_room(path.name) or (
            os.path.lexists(target) and _note_of(target).get("id") != made.id
        ):
            target = self._quarantine / numbered(path, made.id)
        if os.path.lexists(target) and filecmp.cmp(path, target, shallow=False):
            path.unlink()  # of a call that was cut short between the copy and this
            return
        _write_note(target, made)
        try:
            path.rename(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            partial = self._quarantine / f".{made.id}.partial"
            deque(copy_in_steps(path, partial), maxlen=0)
            partial.rename(target)
            sync_directory(self._quarantine)
            path.unlink()


def _note_of(path: Path) -> dict[str, object]:
    """What lies beside an image in quarantine; empty where it can't be read."""
    try:
        return read_note(path)
    except OSError:
        return {}


def _write_note(path: Path, made: Inspection) -> None:
    write_note(path, frame=made.id, name=made.name, reason=made.reason, received=made.received)
