"""What is old goes, as far as the settings say so; a thread beside the station's work.

The journal says what there is and how old: the walk is over the images that it knows, oldest
first, and costs what is deleted, not what is kept. Whatever is in doubt is kept.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections import Counter
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from edge_agent.journal import Archive, JournalError, Outbox
from edge_agent.journal.archive import OK_RANK, RANKS
from edge_agent.line.filed import Fate, count, remove
from edge_agent.settings import SettingsError
from edge_agent.system import ownclock
from edge_agent.system.trouble import Trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from edge_agent.journal.archive import Filed
    from edge_agent.settings import Settings, StorageSettings
    from edge_agent.system.ownclock import Moment

log = logging.getLogger(__name__)

_PERIOD = 60.0  # seconds between two rounds
_PATIENCE = 2.0  # seconds that a stop waits
BATCH = 100  # images between two looks at the limits, and at a stop
_DAY = 86_400.0
_HOUR = 3_600.0  # seconds in which nothing goes by age, or for room in vain
_ALL = 1 << 62  # no sequence ever comes so far
FREED_LATE = 30.0  # seconds after which a filesystem has freed what was deleted
_LINKED = 1000  # images in a round that are looked at and left for their other links


class _AwayError(Exception):
    """A folder is not on its disk now: nothing can be said of what is in it."""


class Housekeeping:
    """Removes images, inspections and messages that have had their time."""

    def __init__(
        self,
        settings: Settings,
        *,
        away: Callable[..., str] = lambda *_: "",
        period: float = _PERIOD,
        clock: Callable[[], float] = time.time,
        uptime: Callable[[], float] = ownclock.uptime,
        free: Callable[[Path], int] = lambda directory: shutil.disk_usage(directory).free,
    ) -> None:
        """Nothing happens before `start`.

        Args:
            settings: of the station.
            away: why what lies in these folders is not what the station has filed there; empty:
                it is.
            period: seconds between two rounds.
            clock: the wall clock.
            uptime: seconds since the machine was started.
            free: bytes that the disk of a directory has left.
        """
        self._keep = settings.retention
        self._broker = settings.mqtt is not None
        self._journal = settings.storage.journal
        self._work = settings.storage.work_dir
        self._processed = settings.storage.processed_dir
        self._quarantine = settings.storage.quarantine_dir
        self._away = away
        self._period = period
        self._clock = clock
        self._uptime = uptime
        self._free = free
        self._retried = dict.fromkeys(RANKS, 0)
        self._listed_at = float("-inf")
        self._vain_until = float("-inf")
        self._vain = ""
        """Until when, and why, nothing is deleted for room."""
        self._fates: Counter[Fate] = Counter()
        self._stuck = ""
        """In this round: what became of images, and why the first one could not be deleted."""
        self._round = Trouble(log, "housekeeping works again", level=logging.WARNING)
        self._staying = Trouble(log, "all images can be deleted again", level=logging.WARNING)
        self._number = Trouble(log, "retention.max_images is met again", level=logging.WARNING)
        self._room = Trouble(log, "retention.min_free_mb is met again", level=logging.WARNING)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)

    @property
    def trouble(self) -> list[str]:
        """What is not deleted as the settings want it, in words; from any thread."""
        troubles = (self._round, self._staying, self._number, self._room)
        return [trouble.text for trouble in troubles if trouble.text]

    def start(self) -> None:
        """Begin, in a thread of its own, with a first round at once."""
        self._thread.start()

    def stop(self) -> None:
        """End soon; what is in hand may be cut short, as by a kill, and does no harm."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_PATIENCE)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.tidy()
            except (JournalError, OSError, _AwayError) as error:  # it is tried again
                self._round.failed(f"housekeeping failed: {error}")
            except Exception:  # a station runs for years: a thread that ends would tell nobody
                log.exception("housekeeping failed and is retried")
            else:
                self._round.worked()
            self._stopping.wait(self._period)

    def tidy(self) -> None:
        """One round.

        Raises:
            JournalError: the journal fails.
            OSError: the disk does.
        """
        with ExitStack() as stack:
            outbox = stack.enter_context(closing(Outbox(self._journal)))
            archive = stack.enter_context(closing(Archive(self._journal)))
            last, sure = archive.last_look()
            now, step = ownclock.look(last, self._clock(), self._uptime(), ownclock.boot())
            if step:
                sure = now.own + _HOUR
                log.warning(
                    "the clock was set %s by %s: ages are counted by this machine's own clock, and "
                    "nothing is deleted by age for an hour",
                    *("forward" if step > 0 else "back", _duration(abs(step))),
                )
            full: JournalError | None = None
            try:
                archive.take_up(last, now)
                archive.keep_look(now, sure)
            except JournalError as error:
                if not error.full:
                    raise
                full = error  # deleting images may be what makes room
            by_age = now.own >= sure
            self._delete_images(archive, last, now, by_age=by_age)
            if full:
                raise full
            if by_age:
                self._prune(archive, outbox, now)

    def _prune(self, archive: Archive, outbox: Outbox, now: Moment) -> None:
        keep = self._keep
        replay = keep.replay_days * _DAY
        outbox.prune(replay, now.wall, upto=archive.last_before(now.own - replay))
        if keep.journal_days:
            deleted = archive.prune(
                archive.last_before(now.own - keep.journal_days * _DAY),
                ranks=[rank for rank in RANKS if self._go(rank)],
                unsent=not self._broker,
            )
            if deleted:
                log.info("%d inspections older than journal_days were deleted", deleted)

    # -- images ------------------------------------------------------------------------------

    def _go(self, rank: int) -> bool:
        return self._keep.ok_images_go if rank == OK_RANK else self._keep.other_images_go

    def _delete_images(
        self, archive: Archive, last: Moment | None, now: Moment, *, by_age: bool
    ) -> None:
        self._fates.clear()
        self._stuck = ""
        try:
            aged = self._aged(archive, now) if by_age else dict.fromkeys(RANKS, 0)
            self._retry(archive, aged)
            for rank, upto in aged.items():
                self._delete(archive, rank, lambda: BATCH, upto=upto)
            if self._keep.max_images:
                self._keep_number(archive, self._keep.max_images, last, now)
            if self._keep.min_free_mb:
                self._keep_room(archive, self._keep.min_free_mb << 20)
        finally:
            if deleted := self._fates[Fate.REMOVED]:
                log.info("%d of the oldest images were deleted, as [retention] says", deleted)
            self._tell_stuck(archive)

    def _aged(self, archive: Archive, now: Moment) -> dict[int, int]:
        """The last sequence that has had its days, by rank."""
        keep = self._keep
        days = {rank: keep.ok_days if rank == OK_RANK else keep.defect_days for rank in RANKS}
        return {
            rank: archive.last_before(now.own - limit * _DAY) if limit else 0
            for rank, limit in days.items()
        }

    def _delete(
        self, archive: Archive, rank: int, wanted: Callable[[], int], *, upto: int = _ALL
    ) -> None:
        """Delete the oldest images of a rank, as many as ``wanted`` says before each batch."""
        after = 0
        while not self._stopping.is_set() and (limit := min(wanted(), BATCH)) > 0:
            batch = archive.images(rank=rank, after=after, upto=upto, limit=limit)
            if not batch:
                return
            after = batch[-1].sequence
            fates = self._remove(archive, batch)
            if len(batch) == BATCH and set(fates.values()) == {Fate.STUCK}:
                return  # it is not about single files: a folder that may not be changed, say

    def _remove(
        self, archive: Archive, batch: Sequence[Filed], *, for_room: bool = False
    ) -> dict[int, Fate]:
        """Remove images and note it; what became of each, by sequence."""
        fates: dict[int, Fate] = {}
        try:
            for filed in batch:
                if (self._work / filed.id).exists():
                    continue  # it is on its way to its folder
                where = self._quarantine if filed.quarantined else self._processed
                fate, why = remove(where, filed, for_room=for_room)
                fates[filed.sequence] = fate
                self._stuck = self._stuck or why
                self._fates[fate] += 1
        finally:
            away = self._away(self._processed, self._quarantine)
            if away and Fate.MISSING in fates.values():
                raise _AwayError(away)
            archive.gone(s for s, f in fates.items() if f in (Fate.REMOVED, Fate.MISSING))
            archive.mark_stuck(s for s, f in fates.items() if f is Fate.STUCK)
        return fates

    def _retry(self, archive: Archive, aged: dict[int, int]) -> None:
        """Try some of those again that could not be deleted, as far as they still have to go."""
        keep, held = self._keep, archive.held()
        if not held.stuck:
            return
        beyond = held.images + held.stuck - keep.max_images if keep.max_images else 0
        if keep.min_free_mb and any(
            self._free(place) < keep.min_free_mb << 20 for place, _ in self._disks()
        ):
            beyond = BATCH
        for rank, upto in aged.items():
            last, limit = (_ALL, min(beyond, BATCH)) if beyond > 0 else (upto, BATCH)
            after = self._retried[rank]
            batch = archive.images(
                rank=rank, after=after, upto=last, limit=limit, stuck=True
            ) or archive.images(rank=rank, after=0, upto=last, limit=limit, stuck=True)
            if batch:
                fates = self._remove(archive, batch)
                beyond -= sum(fate is not Fate.STUCK for fate in fates.values())
                self._retried[rank] = batch[-1].sequence

    def _tell_stuck(self, archive: Archive) -> None:
        if self._stuck:
            others = archive.held().stuck - 1
            more = f", and {others} more" if others > 0 else ""
            self._staying.failed(
                f"{self._stuck}{more}; let the user of this service delete in that folder. It is "
                "retried every minute"
            )
        else:
            self._staying.worked()

    # -- by number ---------------------------------------------------------------------------

    def _keep_number(self, archive: Archive, most: int, last: Moment | None, now: Moment) -> None:
        """Delete what is beyond a number, of what the journal knows: the rest is not ours."""
        due = self._uptime() >= self._listed_at + _HOUR
        if archive.held().images <= most and not due and not self._number.text:
            return
        there = count(self._processed) + count(self._quarantine)
        self._listed_at = self._uptime()
        archive.take_up(last, now)  # what was filed while they were counted is known, too
        held, before = archive.held(), self._fates.copy()

        def beyond() -> int:
            done = self._fates - before
            known = held.images - sum(done.values())
            deletable = there - held.stuck - done[Fate.REMOVED] - done[Fate.STUCK]
            return min(known, deletable) - most

        for rank in RANKS:
            self._delete(archive, rank, beyond)
        left = there - (self._fates - before)[Fate.REMOVED]
        held = archive.held()
        unknown = left - held.images - held.stuck
        if left > most and unknown > 0:
            self._number.failed(
                f"retention.max_images = {most}: {left} images lie in {self._processed} and "
                f"{self._quarantine}, and {unknown} of them are not in the journal: they are not "
                "counted, and never deleted. Move them elsewhere"
            )
        else:
            self._number.worked()

    # -- by room -----------------------------------------------------------------------------

    def _keep_room(self, archive: Archive, least: int) -> None:
        why = ""
        for directory, quarantined in self._disks():
            if not self._stopping.is_set():
                why = why or self._make_room(archive, least, directory, quarantined=quarantined)
        if why:
            self._room.failed(f"retention.min_free_mb = {least >> 20}: {why}")
        else:
            self._room.worked()

    def _make_room(
        self, archive: Archive, least: int, directory: Path, *, quarantined: bool | None
    ) -> str:
        """Delete what lies on a disk until there is enough room; why there can't be."""
        short = least - self._free(directory)
        if short <= 0:
            return ""
        if self._uptime() < self._vain_until:
            return self._vain
        held = archive.held(quarantined=quarantined).bytes
        if held < short:
            return (
                f"the disk of {directory} has {self._free(directory) >> 20} MB left, and all "
                f"images that the journal knows there have {held >> 20} MB: deleting them is not "
                "enough, so none is deleted to make room. Free some space, or lower the limit"
            )
        linked = 0
        for rank in RANKS:
            after = 0
            while (short := least - self._free(directory)) > 0 and linked < _LINKED:
                batch = archive.images(
                    rank=rank, after=after, upto=_ALL, limit=BATCH, quarantined=quarantined
                )
                batch = _enough(batch, short)
                if not batch or self._stopping.is_set():
                    break
                after = batch[-1].sequence
                fates = self._remove(archive, batch, for_room=True)
                linked += sum(fate is Fate.LINKED for fate in fates.values())
                freed = sum(f.bytes for f in batch if fates.get(f.sequence) is Fate.REMOVED)
                if not self._gained(directory, least - short, freed):
                    self._vain_until = self._uptime() + _HOUR
                    self._vain = (
                        f"{freed >> 10} kB of images were deleted, and the disk of {directory} has "
                        "no more room than before: a snapshot or another program holds them. No "
                        "more is deleted to make room for an hour"
                    )
                    return self._vain
        if short <= 0 or self._stopping.is_set():
            return ""
        why = (
            f": {linked} images have another hard link, so deleting them frees nothing"
            if linked
            else ""
        )
        return (
            f"the disk of {directory} has {self._free(directory) >> 20} MB left, and deleting the "
            f"images there would free nothing{why}. Free some space, or lower the limit"
        )

    def _gained(self, directory: Path, before: int, freed: int) -> bool:
        """Whether deleting has brought room; some filesystems take a while to give it back."""
        until = time.monotonic() + FREED_LATE
        while freed and self._free(directory) - before < freed // 10:
            if time.monotonic() > until or self._stopping.wait(0.5):
                return self._stopping.is_set()
        return True

    def _disks(self) -> Iterator[tuple[Path, bool | None]]:
        """A folder of each disk that images lie on, and which of them do."""
        if self._processed.stat().st_dev == self._quarantine.stat().st_dev:
            yield self._processed, None
        else:
            yield self._processed, False
            yield self._quarantine, True


def check_limits(settings: Settings) -> None:
    """Refuse what no deleting could ever achieve.

    Raises:
        SettingsError: with what to change.
    """
    least = settings.retention.min_free_mb
    for directory in _filed_in(settings.storage) if least else ():
        total = shutil.disk_usage(directory).total >> 20
        if least and least >= total:
            raise SettingsError(
                f"retention.min_free_mb = {least}: the disk of {directory} has {total} MB in all, "
                "so every image would be deleted and it would still not be enough: lower it"
            )


def _filed_in(storage: StorageSettings) -> Iterator[Path]:
    """The folders of images, or what they will be made in."""
    for directory in (storage.processed_dir, storage.quarantine_dir):
        path = directory
        while not path.exists() and path != path.parent:
            path = path.parent
        yield path


def _enough(batch: Sequence[Filed], short: int) -> list[Filed]:
    """As many of the first ones as bring so many bytes."""
    chosen, size = [], 0
    for filed in batch:
        if size >= short:
            break
        chosen.append(filed)
        size += filed.bytes
    return chosen


def _duration(seconds: float) -> str:
    for unit, length in (("days", _DAY), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
