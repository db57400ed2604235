"""How the station is: asked of all of its parts, from whatever thread wants to know."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import psutil

from edge_agent.system.text import iso_utc
from edge_agent.telemetry.drift import sentence
from edge_agent.telemetry.log import log_trouble
from edge_agent.types.reading import Disk, Health, Reading

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from edge_agent.engine.worker.pool import WorkerPool
    from edge_agent.line.loop import Loop
    from edge_agent.publish import Publisher
    from edge_agent.settings import StorageSettings
    from edge_agent.sources.several import Source
    from edge_agent.sources.spool import Spool
    from edge_agent.telemetry.drift import DriftWatch
    from edge_agent.telemetry.progress import Progress
    from edge_agent.telemetry.tally import Tally
    from edge_agent.types import Model


_REPAIR = (
    "stop the agent and run `edge-agent journal repair`, which recovers what it can from the "
    "images and clears this warning"
)


class Runs(Protocol):
    """What runs now."""

    @property
    def degraded(self) -> str: ...

    @property
    def model(self) -> Model: ...


class Reloads(Protocol):
    """What became of the last reload."""

    refused: str


class Pauses(Protocol):
    """Whether a command keeps it from taking images."""

    @property
    def since(self) -> float | None: ...


class Keeps(Protocol):
    """What lets go of what has had its time."""

    @property
    def trouble(self) -> list[str]: ...


class Silent(Protocol):
    """Whether images are missing that are expected."""

    @property
    def text(self) -> str: ...


class Mounts(Protocol):
    """Whether the folders lie where they lay."""

    @property
    def trouble(self) -> str: ...


@dataclass(frozen=True)
class Parts:
    """What is asked."""

    loop: Loop
    tally: Tally
    source: Source
    spool: Spool
    pool: WorkerPool
    publisher: Publisher | None
    running: Runs
    reload: Reloads
    pause: Pauses
    drift: DriftWatch
    progress: Progress
    housekeeping: Keeps
    mounts: Mounts
    silence: Silent


class Vitals:
    """Reads the parts; changes none."""

    def __init__(self, parts: Parts, storage: StorageSettings, losses: Sequence[str] = ()) -> None:
        """Nothing is asked yet.

        Args:
            parts: of the station.
            storage: whose disks are looked at.
            losses: what is missing from the journal, until a person has acknowledged it.
        """
        self._parts = parts
        self._losses = losses
        self._failing = False
        self._places = {
            "state": storage.root,
            "processed": storage.processed_dir,
            "quarantine": storage.quarantine_dir,
        }
        self._process = psutil.Process()

    @property
    def failing(self) -> bool:
        """Whether it was failing when it was asked last: the loop asks every second. At no cost."""
        return self._failing or bool(self._parts.progress.stuck())

    def known(self) -> Health:
        """What the parts say of themselves."""
        loop, pool, running = self._parts.loop, self._parts.pool, self._parts.running
        last = self._parts.tally.last
        failing = [f"no worker: {pool.trouble}"] if not pool.working() else []
        failing += list(loop.trouble.values())
        failing += [self._parts.source.trouble] if self._parts.source.trouble else []
        degraded = [f"a worker is missing: {pool.trouble}"] if pool.trouble and not failing else []
        if running.degraded:
            degraded.append(f"not as configured: {running.degraded}")
        if self._parts.reload.refused:
            degraded.append(f"not reloaded: {self._parts.reload.refused}")
        waiting_again = loop.delayed
        if delayed := waiting_again | self._parts.source.delayed:
            degraded.append(_delayed(delayed))
        degraded += [f"{loss}: {_REPAIR}" for loss in self._losses]
        since = self._parts.pause.since
        if since is not None:
            degraded.append(f"paused by a command at {iso_utc(since)}: images wait for resume")
        state = self._parts.publisher.state() if self._parts.publisher else None
        if state and state.reason:
            degraded.append(f"mqtt: {state.reason}")
        degraded += [self._parts.mounts.trouble] if self._parts.mounts.trouble else []
        degraded += self._parts.housekeeping.trouble
        if state and state.commands:
            degraded.append(f"mqtt: {state.commands}")
        degraded += self._parts.source.warnings
        degraded += [f"drift: {sentence(one)}" for one in self._parts.drift.figures if one.drifting]
        if trouble := log_trouble():
            degraded.append(trouble)
        in_work = 0
        try:
            in_work = self._parts.spool.depth()
        except OSError as error:  # told, and no reason to stop: it may be mended
            failing.append(f"{error.filename} can't be listed: {error.strerror}")
        silent = not failing and bool(self._parts.silence.text)  # else something else is the reason
        failing += [self._parts.silence.text] if silent else []
        self._failing = bool(failing)
        verdicts = {verdict.value: count for verdict, count in self._parts.tally.verdicts.items()}
        return Health(
            status="failing" if failing else "degraded" if degraded else "ok",
            reasons=(*failing, *degraded),
            inspections=sum(verdicts.values()),
            verdicts=verdicts,
            last_inspection_age=None if last is None else time.monotonic() - last,
            in_work=in_work,
            waiting=self._parts.source.waiting(),
            outbox=state.backlog if state else 0,
            broker="none" if state is None else "connected" if state.connected else "not connected",
            worker_restarts=pool.restarts,
            ignored=self._parts.source.ignored | waiting_again,
            paused=since is not None,
            silent=silent,
            held_up=loop.held_up(),
            commands_refused=state.commands_refused if state else 0,
            sessions_lost=self._parts.source.forgotten,
        )

    def health(self) -> Health:
        """The same, and whether the parts have fallen silent."""
        known = self.known()
        stuck = self._parts.progress.stuck()
        if not stuck:
            return known
        reason = (
            f"nothing has moved for {stuck:.0f} s: a disk or a driver does not answer; "
            "see the log, then restart the agent"
        )
        return replace(known, status="failing", reasons=(reason, *known.reasons))

    def reading(self) -> Reading:
        """Health, and every figure beside it."""
        return Reading(
            health=self.health(),
            model=self._parts.running.model,
            degraded=bool(self._parts.running.degraded),
            workers=self._parts.pool.working(),
            agent_rss=int(self._process.memory_info().rss),
            worker_rss=_resident(self._parts.pool.processes()),
            gpu_memory=self._parts.tally.gpu_memory,
            disks=tuple(_disks(self._places)),
            stages=self._parts.tally.histograms(),
            recent=self._parts.tally.recent(),
            drift=self._parts.drift.figures,
        )


def _delayed(delayed: dict[str, str]) -> str:
    name, why = next(iter(delayed.items()))
    others = f", and {len(delayed) - 1} more" if len(delayed) > 1 else ""
    return f"images wait and are retried: {name} {why}{others}"


def _resident(processes: Iterable[int]) -> int:
    total = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):  # it may be gone since
            total += psutil.Process(process).memory_info().rss
    return total


def _disks(places: dict[str, Path]) -> Iterable[Disk]:
    for place, path in places.items():
        with contextlib.suppress(OSError):  # what is wrong with it, the loop says
            found = os.statvfs(path)
            yield Disk(place, found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)
