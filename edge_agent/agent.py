"""The composition root: the whole station on one screen.

    lock -> bundle -> journal -> spool -> workers -> sources -> publisher -> page -> loop

Each is acquired in that order on one stack and released in reverse, also when a start fails.
"""

from __future__ import annotations

import logging
import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from edge_agent import __version__
from edge_agent.engine.orders import Orders
from edge_agent.engine.running import Running
from edge_agent.engine.tuning.select import Choice, Selector
from edge_agent.engine.worker.pool import WorkerPool, WorkerStartError
from edge_agent.journal import Journal
from edge_agent.line.decide import decisions_for, in_words
from edge_agent.line.housekeeping import Housekeeping, check_limits
from edge_agent.line.judgement import Judgement
from edge_agent.line.loop import Loop, Stages
from edge_agent.line.pause import Pause
from edge_agent.line.recorder import Outlets
from edge_agent.parts import (
    OwnWords,
    make_cache,
    make_folder,
    make_journal,
    make_page,
    make_publisher,
    make_spool,
    make_topic,
    patience_of,
    station_of,
)
from edge_agent.publish import (
    Announcements,
    Publisher,
    verdict_payload,
)
from edge_agent.reload import Reload, ReloadParts, note_running, open_trusted, wish_of
from edge_agent.sources.mqtt import MqttSource
from edge_agent.sources.several import Sources
from edge_agent.sources.spool import Spool
from edge_agent.system import lock
from edge_agent.system.mounted import MountWatch
from edge_agent.system.wake import Wake
from edge_agent.telemetry.drift import DriftWatch
from edge_agent.telemetry.health import HealthServer
from edge_agent.telemetry.pages import running_pages
from edge_agent.telemetry.progress import Progress
from edge_agent.telemetry.silence import Silence
from edge_agent.telemetry.systemd import Pulse, ServiceLink
from edge_agent.telemetry.tally import Tally
from edge_agent.vitals import Parts, Vitals

if TYPE_CHECKING:
    from pathlib import Path

    from edge_agent.bundle import Bundle, Decision
    from edge_agent.engine.worker.protocol import Ready
    from edge_agent.journal import Journal
    from edge_agent.publish import Announcements, Command, Publisher
    from edge_agent.reload import Wish
    from edge_agent.settings import Settings
    from edge_agent.sources.mqtt import MqttSource
    from edge_agent.sources.spool import Spool
    from edge_agent.telemetry.health import HealthServer

log = logging.getLogger(__name__)

_DRAIN = 4.0  # seconds that a stop may take to finish frames
_FLUSH = 3.0  # and to flush messages


@dataclass(frozen=True)
class _Opened:
    """What a station has before anything judges: its own, and the bundle that it trusts."""

    spool: Spool
    mounts: MountWatch
    wish: Wish
    bundle: Bundle
    decisions: dict[str, Decision]
    page: HealthServer | None
    journal: Journal


@dataclass(frozen=True)
class _Engine:
    """What judges."""

    pool: WorkerPool
    running: Running
    ready: Ready
    cache: Path | None


@dataclass(frozen=True)
class _Sources:
    """Where images come from."""

    all: Sources
    topic: MqttSource | None


@dataclass(frozen=True)
class _Station:
    """All that moves while the station runs."""

    loop: Loop
    reload: Reload
    publisher: Publisher | None
    announcements: Announcements | None
    housekeeping: Housekeeping
    silence: Silence
    progress: Progress
    vitals: Vitals


class Agent:
    """One station, from start to stop."""

    def __init__(self, settings: Settings, file: Path) -> None:
        """Nothing is started yet.

        Args:
            settings: checked.
            file: where they were read from, and are read again on SIGHUP.
        """
        self._settings = settings
        self._file = file
        self._stopping = False
        self._started = time.time()
        self._service = ServiceLink()
        self._wake = Wake()  # has the loop take its next step at once

    def run(self) -> None:
        """Inspect until SIGTERM or SIGINT; then drain, say offline and return.

        Raises:
            SettingsError, LockedError, BundleError, SpoolError, PortError, ProviderError,
            WorkerStartError: the station can't be started as it is set up.
            LostError: the execution provider failed, and there is no other.
            JournalError: the journal is damaged, or its disk failing.
        """
        with ExitStack() as stack:
            stack.callback(self._wake.close)
            opened = self._open(stack)
            selector, choice, pool, cache = self._choose(opened, stack)
            sources = _sources(self._settings, opened, self._wake, stack)
            engine = _start_engine(opened, selector, choice, pool, cache)
            station = self._build(opened, engine, sources)
            # Up to here there is nothing to finish: signals kill.
            self._obey_signals(stack, station.reload)
            self._begin(opened, engine, sources, station, stack)
            self._serve(opened, engine, station)
            self._service.stopping()
            log.info("stopping: %d frames to finish", pool.pending())
            if not station.loop.drain(_DRAIN):
                log.warning("images left in %s: the next start judges them", opened.spool.work)
        log.info("stopped")

    def _open(self, stack: ExitStack) -> _Opened:
        settings, storage, service = self._settings, self._settings.storage, self._service
        spool = make_spool(settings)
        stack.enter_context(lock.hold(storage.lock))
        check_limits(settings)
        mounts = MountWatch(storage.mounts, settings.image_folders)
        mounts.look()
        wish = wish_of(settings)
        service.status(f"verifying {wish.bundle}")
        bundle = open_trusted(wish)
        decisions = decisions_for(bundle, settings.decision)
        page = make_page(settings, stack)
        journal = stack.enter_context(make_journal(storage.journal, page, service))
        for loss in journal.losses:
            log.error("%s", loss)
        return _Opened(spool, mounts, wish, bundle, decisions, page, journal)

    def _choose(
        self, opened: _Opened, stack: ExitStack
    ) -> tuple[Selector, Choice, WorkerPool, Path | None]:
        """What runs the bundle best, and workers for it that are not started yet."""
        settings = self._settings
        cache = make_cache(settings.storage.cache)
        selector = Selector(opened.bundle, settings.runtime, settings.worker, cache)
        self._service.status("finding out what runs the bundle best")
        choice = selector.select()
        self._service.status(f"starting workers: {choice.candidate}")
        pool = WorkerPool(
            selector.options(choice.candidate),
            workers=choice.candidate.workers,
            frame_timeout=settings.worker.frame_timeout,
            start_timeout=settings.worker.start_timeout,
            wake=self._wake,
        )
        stack.callback(pool.close)
        return selector, choice, pool, cache

    def _build(self, opened: _Opened, engine: _Engine, sources: _Sources) -> _Station:
        """Everything else; nothing runs yet."""
        settings, storage = self._settings, self._settings.storage
        pool, running, journal = engine.pool, engine.running, opened.journal
        pause, orders = Pause(self._wake.set), Orders(self._wake.set)
        station, tally = station_of(settings), Tally()
        drift = DriftWatch(lambda: running.bundle.manifest.reference)
        publisher = None
        if settings.mqtt:
            commands: dict[str, Command[Any]] = {**pause.commands, **orders.commands}
            publisher = make_publisher(settings.mqtt, station, storage.journal, commands)
        notify = publisher.notify if publisher else _nothing
        judgement = Judgement(
            opened.decisions, settings.decision.implausible, running.model_of, opened.spool.reserve
        )
        loop = Loop(
            settings.worker,
            judgement,
            Stages(sources.all, opened.spool, pool, journal),
            Outlets(partial(verdict_payload, station), (tally.add, drift.add), notify),
            paused=pause.holds,
        )
        changed = ReloadParts(
            *(orders, running, pool, self._wake.set, judgement, self._service, notify, engine.cache)
        )
        reload = Reload(self._file, settings, changed)
        progress = Progress(patience_of(settings.worker))
        housekeeping = Housekeeping(settings, away=opened.mounts.away)
        silence = Silence(settings.source.expect_every, last=tally.latest, paused=pause.holds)
        parts = Parts(
            loop=loop,
            tally=tally,
            source=sources.all,
            spool=opened.spool,
            pool=pool,
            publisher=publisher,
            running=running,
            reload=reload,
            pause=pause,
            drift=drift,
            progress=progress,
            housekeeping=housekeeping,
            mounts=opened.mounts,
            silence=silence,
        )
        vitals = Vitals(parts, storage, journal.losses)
        announcements = None
        if settings.mqtt:
            words = OwnWords(station, self._started, running, pause, drift, vitals, sources.topic)
            announcements = words.announcements(settings.mqtt.telemetry_every)
        return _Station(
            *(loop, reload, publisher, announcements, housekeeping, silence, progress, vitals)
        )

    def _begin(
        self,
        opened: _Opened,
        engine: _Engine,
        sources: _Sources,
        station: _Station,
        stack: ExitStack,
    ) -> None:
        """Start what runs beside the loop, and take up what an earlier run has left."""
        if station.publisher and station.announcements:
            station.publisher.start(station.announcements)
            stack.callback(station.publisher.stop, _FLUSH)
        stack.callback(station.reload.close)  # before the publisher, which sends its answers
        recovered = station.loop.recover()
        station.housekeeping.start()
        stack.callback(station.housekeeping.stop)
        if sources.topic:
            sources.topic.start()  # not before: what it receives would be recovered too
        if opened.page:
            vitals = station.vitals
            opened.page.serve(running_pages(vitals.health, vitals.reading, __version__))
        if engine.running.degraded:
            log.warning("degraded: %s", engine.running.degraded)
        model = engine.running.model_of(engine.ready)
        log.info(
            "ready: %s, %s on %s %s, self-test passed (largest difference %.4f); %d images "
            "recovered",
            in_words(opened.bundle, opened.decisions[model.variant]),
            *(model.variant, model.provider, model.device, engine.ready.golden_error, recovered),
        )
        self._service.ready()

    def _serve(self, opened: _Opened, engine: _Engine, station: _Station) -> None:
        """Inspect until a stop is wanted."""
        pool, loop = engine.pool, station.loop
        pulse = Pulse(self._service, station.progress, station.vitals.known)
        while not self._stopping:
            loop.step(1.0)
            if pool.lost:
                engine.running.fall_back(pool, self._service.alive)
                if station.publisher:
                    station.publisher.notify()  # what it says at birth has changed
            opened.mounts.look()
            station.silence.look()
            station.reload.step()
            pulse.beat(loop.recorded + pool.restarts)

    def _obey_signals(self, stack: ExitStack, reload: Reload) -> None:
        def stop(number: int, _: object) -> None:
            log.info("%s received", signal.Signals(number).name)
            self._stopping = True
            self._wake.set()

        def hang_up(*_: object) -> None:
            reload.want()

        for number in (signal.SIGTERM, signal.SIGINT):
            stack.callback(signal.signal, number, signal.signal(number, stop))
        stack.callback(signal.signal, signal.SIGHUP, signal.signal(signal.SIGHUP, hang_up))


def _start_engine(
    opened: _Opened, selector: Selector, choice: Choice, pool: WorkerPool, cache: Path | None
) -> _Engine:
    """Start what was chosen; where an earlier start chose it and it is gone, choose again."""
    try:
        ready = pool.start()
    except WorkerStartError as error:
        if not choice.remembered:
            raise
        log.warning("%s, which was chosen before, is not available: %s", choice.candidate, error)
        choice = selector.select(again=True)
        pool.replace(selector.options(choice.candidate), choice.candidate.workers)
        ready = pool.start()
    running = Running(opened.bundle, selector, choice, ready)
    note_running(opened.wish, opened.bundle)
    return _Engine(pool, running, ready, cache)


def _sources(settings: Settings, opened: _Opened, wake: Wake, stack: ExitStack) -> _Sources:
    folder = make_folder(settings, opened.spool, opened.journal, wake, stack)
    topic = make_topic(settings, opened.spool, opened.journal, wake, stack)
    return _Sources(Sources([found for found in (folder, topic) if found]), topic)


def _nothing() -> None:
    """Nobody is to be told."""
