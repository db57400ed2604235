"""What is old goes, as far as the settings say so; a thread beside the station's work.

The journal says what there is and how old: the walk is over rows, oldest first, and costs what
is deleted, not what is kept.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import shutil
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

from edge_agent.journal import Archive, JournalError, Outbox
from edge_agent.sources.message import file_names
from edge_agent.sources.spool import REASON, numbered, sha256_of
from edge_agent.types import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge_agent.journal.archive import Filed
    from edge_agent.settings import Settings

log = logging.getLogger(__name__)

_PERIOD = 60.0  # seconds between two rounds
_PATIENCE = 2.0  # seconds that a stop waits
_BATCH = 100  # images between two looks at the limits, and at a stop
_DAY = 86_400.0
_ALL = 1 << 62  # no sequence ever comes so far
_ONE = (errno.EACCES, errno.EPERM, errno.EISDIR, errno.ELOOP)  # of one file, not of the disk


class Housekeeping:
    """Removes images, inspections and messages that have had their time."""

    def __init__(
        self,
        settings: Settings,
        *,
        period: float = _PERIOD,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Nothing happens before `start`; ``clock`` is the wall clock."""
        self._keep = settings.retention
        self._broker = settings.mqtt is not None
        self._journal = settings.storage.journal
        self._processed = settings.storage.processed_dir
        self._quarantine = settings.storage.quarantine_dir
        self._period = period
        self._clock = clock
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)

    def start(self) -> None:
        """Begin, in a thread of its own, with a first round at once."""
        self._thread.start()

    def stop(self) -> None:
        """End soon; what is in hand may be cut short, as by a kill, and does no harm."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_PATIENCE)

    def tidy(self) -> None:
        """One round.

        Raises:
            JournalError: the journal fails.
            OSError: the disk does.
        """
        now, keep = self._clock(), self._keep
        with closing(Outbox(self._journal)) as outbox, closing(Archive(self._journal)) as archive:
            for ok, days in ((True, keep.ok_days), (False, keep.defect_days)):
                if days:
                    self._remove(archive, lambda: _BATCH, ok=ok, before=now - days * _DAY)
            for ok in (True, False):  # the others only when nothing that was judged ok is left
                self._remove(archive, self._too_many, ok=ok, before=float("inf"))
            outbox.prune(keep.replay_days * _DAY, now)
            if keep.journal_days:
                deleted = archive.prune(
                    now - keep.journal_days * _DAY,
                    # Without its inspection an image would never be found again.
                    ok=archive.last_passed(ok=True) if keep.ok_images_go else _ALL,
                    others=archive.last_passed(ok=False) if keep.other_images_go else _ALL,
                    unsent=not self._broker,
                )
                if deleted:
                    log.info("%d inspections older than journal_days were deleted", deleted)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.tidy()
            except (JournalError, OSError) as error:  # it is tried again
                log.warning("nothing is tidied up: %s", error)
            except Exception:  # a station runs for years: a thread that ends would tell nobody
                log.exception("tidying up failed and is tried again")
            self._stopping.wait(self._period)

    def _remove(
        self, archive: Archive, wanted: Callable[[], int], *, ok: bool, before: float
    ) -> None:
        """Remove the oldest images, as many as ``wanted`` says before each batch."""
        removed = 0
        while not self._stopping.is_set() and (limit := min(wanted(), _BATCH)) > 0:
            batch = archive.images(ok=ok, before=before, limit=limit)
            if not batch:
                break
            removed += sum(self._remove_one(filed) for filed in batch)
            archive.passed(batch[-1].sequence, ok=ok)
        if removed:
            log.info(
                "%d of the oldest images were deleted, as [retention] says: those judged %s",
                *(removed, "ok" if ok else "defect, review or error"),
            )

    def _too_many(self) -> int:
        """How many images have to go for the sake of the limits; a batch where it is the room."""
        keep = self._keep
        if keep.min_free_mb and self._free() < keep.min_free_mb << 20:
            return _BATCH
        if keep.max_images:
            return _count(self._processed) + _count(self._quarantine) - keep.max_images
        return 0

    def _free(self) -> int:
        return min(shutil.disk_usage(where).free for where in (self._processed, self._quarantine))

    def _remove_one(self, filed: Filed) -> bool:
        error = filed.verdict is Verdict.ERROR
        for path in _places(self._quarantine if error else self._processed, filed):
            try:
                if not _is(path, filed):
                    continue
                path.unlink(missing_ok=error)  # of a round that was cut short: the note is left
                if error:
                    path.with_name(path.name + REASON).unlink()
            except FileNotFoundError:
                continue
            except OSError as failure:
                if failure.errno not in _ONE:
                    raise
                # One file that can't go must not keep all that come after it.
                log.warning("%s stays, though its time has come: %s", path, failure.strerror)
            else:
                return True
        return False


def _is(path: Path, filed: Filed) -> bool:
    """Whether what lies there is this image, and not another one that has taken its name.

    Raises:
        OSError: it can't be read, or is not there.
    """
    if filed.id in path.name:
        return True
    if filed.verdict is Verdict.ERROR:
        try:
            note = json.loads(path.with_name(path.name + REASON).read_bytes())
        except ValueError:  # a power cut has emptied it
            note = None
        if isinstance(note, dict):
            return bool(note.get("id") == filed.id)
    return sha256_of(path) == filed.sha256


def _places(directory: Path, filed: Filed) -> list[Path]:
    """Where the image may have been filed: the journal has its name in printable form."""
    names = [filed.name]
    with contextlib.suppress(UnicodeError):
        plain = filed.name.encode("latin-1", "backslashreplace").decode("unicode_escape")
        names += [plain] if plain != filed.name else []
    # Of a message it is what a camera has written: any text, also a path that leads elsewhere.
    names += [file for name in names for file in file_names(name)]
    names = [name for name in names if "/" not in name and "\0" not in name]
    own = [directory / numbered(directory / name, filed.id) for name in names]
    return list(dict.fromkeys(own + [directory / name for name in names]))


def _count(directory: Path) -> int:
    with os.scandir(directory) as entries:
        return sum(1 for e in entries if e.name[0] != "." and not e.name.endswith(REASON))
