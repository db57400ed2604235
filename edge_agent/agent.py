"""The composition root: the whole station on one screen.

    lock -> bundle -> journal -> spool -> workers -> sources -> publisher -> page -> loop

Each is acquired in that order on one stack and released in reverse, also when a start fails.
"""

from __future__ import annotations

import errno
import logging
import signal
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from edge_agent import __version__
from edge_agent.engine.orders import Orders
from edge_agent.engine.running import Running
from edge_agent.engine.tuning.select import Choice, Selector
from edge_agent.engine.worker.pool import BACKOFF, WorkerPool, WorkerStartError
from edge_agent.journal import Journal, JournalError, Outbox
from edge_agent.line.decide import decisions_for, in_words
from edge_agent.line.housekeeping import Housekeeping, check_limits
from edge_agent.line.judgement import Judgement
from edge_agent.line.loop import Loop, Stages
from edge_agent.line.pause import Pause
from edge_agent.line.recorder import Outlets
from edge_agent.mqtt import MqttOptions, TlsOptions
from edge_agent.publish import (
    Announcements,
    Publisher,
    Station,
    Telemetry,
    birth_payload,
    offline_payload,
    topics_of,
    verdict_payload,
)
from edge_agent.reload import Reload, ReloadParts, note_running, open_trusted, wish_of
from edge_agent.settings import SettingsError
from edge_agent.sources.folder import FolderSource, check_inbox
from edge_agent.sources.mqtt import MqttSource
from edge_agent.sources.session import KnownSession
from edge_agent.sources.several import Sources
from edge_agent.sources.spool import Spool, check_root
from edge_agent.system import lock
from edge_agent.system.mounted import MountWatch
from edge_agent.system.mounts import MOUNTINFO, mount_of, read_mounts
from edge_agent.system.secret import check_secret, read_secret
from edge_agent.system.trouble import Trouble
from edge_agent.telemetry.drift import DriftWatch
from edge_agent.telemetry.health import HealthServer
from edge_agent.telemetry.pages import running_pages, starting_pages
from edge_agent.telemetry.progress import Progress
from edge_agent.telemetry.silence import Silence
from edge_agent.telemetry.systemd import Pulse, ServiceLink
from edge_agent.telemetry.tally import Tally
from edge_agent.vitals import Parts, Vitals

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge_agent.engine.worker.protocol import Ready
    from edge_agent.settings import MqttSettings, Settings, WorkerSettings
    from edge_agent.types import Inspection, Seen
    from edge_agent.types.reading import Reading

log = logging.getLogger(__name__)

_DRAIN = 4.0  # seconds that a stop may take to finish frames
_FLUSH = 3.0  # and to flush messages
_RETRY = 1.0  # seconds between two tries to open the journal


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

    def run(self) -> None:
        """Inspect until SIGTERM or SIGINT; then drain, say offline and return.

        Raises:
            SettingsError, LockedError, BundleError, SpoolError, PortError, ProviderError,
            WorkerStartError: the station can't be started as it is set up.
            LostError: the execution provider failed, and there is no other.
            JournalError: the journal is damaged, or its disk failing.
        """
        settings, storage = self._settings, self._settings.storage
        started = time.time()
        service = ServiceLink()
        with ExitStack() as stack:
            spool = _spool(settings)
            stack.enter_context(lock.hold(storage.lock))
            check_limits(settings)
            mounts = MountWatch(storage.mounts, settings.image_folders)
            mounts.look()
            wish = wish_of(settings)
            service.status(f"verifying {wish.bundle}")
            bundle = open_trusted(wish)
            decisions = decisions_for(bundle, settings.decision)
            page = _page(settings, stack)
            journal = stack.enter_context(_journal(storage.journal, page, service))
            for loss in journal.losses:
                log.error("%s", loss)
            cache = _cache(storage.cache)
            selector = Selector(bundle, settings.runtime, settings.worker, cache)
            service.status("choosing the fastest runtime")
            choice = selector.select()
            service.status(f"starting workers: {choice.candidate}")
            pool = WorkerPool(
                selector.options(choice.candidate),
                workers=choice.candidate.workers,
                frame_timeout=settings.worker.frame_timeout,
                start_timeout=settings.worker.start_timeout,
            )
            stack.callback(pool.close)
            folder = _folder(settings, spool, journal, pool, stack)
            topic = _topic(settings, spool, journal, pool, stack)
            source = Sources([found for found in (folder, topic) if found])
            publisher: Publisher | None = None
            choice, ready = _start(pool, selector, choice)
            running = Running(bundle, selector, choice, ready)
            note_running(wish, bundle)
            pause, orders = Pause(pool.wake), Orders(pool.wake)
            station = _station(settings)
            watch = DriftWatch(lambda: running.bundle.manifest.reference)

            def read() -> Reading:
                return vitals.reading()

            if settings.mqtt:
                publisher = _publisher(
                    settings.mqtt,
                    station,
                    running,
                    pause,
                    orders,
                    storage.journal,
                    started,
                    watch,
                    lambda: vitals.failing,
                    read,
                    lambda: topic is None or topic.settled,
                )
            tally = Tally()

            def count(inspection: Inspection) -> None:
                tally.add(inspection)
                watch.add(inspection)

            judgement = Judgement(
                decisions,
                settings.decision.implausible,
                running.model_of,
                lambda claim, error: spool.reserve(claim, quarantined=error),
            )
            loop = Loop(
                settings.worker,
                judgement,
                Stages(source, spool, pool, journal),
                Outlets(
                    render=lambda sequence, one: verdict_payload(station, sequence, one),
                    count=count,
                    notify=publisher.notify if publisher else lambda: None,
                ),
                paused=lambda: pause.since is not None,
            )
            reload = Reload(
                self._file,
                settings,
                ReloadParts(
                    orders=orders,
                    running=running,
                    pool=pool,
                    judgement=judgement,
                    cache=cache,
                    service=service,
                    notify=publisher.notify if publisher else lambda: None,
                ),
            )
            # Up to here there is nothing to finish: signals kill.
            self._obey_signals(stack, pool, reload)
            progress = Progress(_patience(settings.worker))
            housekeeping = Housekeeping(settings, away=mounts.away)
            silence = Silence(
                settings.source.expect_every,
                last=lambda: tally.last,
                paused=lambda: pause.since is not None,
            )
            vitals = Vitals(
                Parts(
                    loop=loop,
                    tally=tally,
                    source=source,
                    spool=spool,
                    pool=pool,
                    publisher=publisher,
                    running=running,
                    reload=reload,
                    pause=pause,
                    drift=watch,
                    progress=progress,
                    housekeeping=housekeeping,
                    mounts=mounts,
                    silence=silence,
                ),
                storage,
                journal.losses,
            )
            if publisher:
                publisher.start()
                stack.callback(publisher.stop, _FLUSH)
            stack.callback(reload.close)  # before the publisher, which sends its answers
            recovered = loop.recover()
            housekeeping.start()
            stack.callback(housekeeping.stop)
            if topic:
                topic.start()  # not before: what it receives would be recovered too
            if page:
                page.serve(running_pages(vitals.health, vitals.reading, __version__))
            if running.degraded:
                log.warning("degraded: %s", running.degraded)
            model = running.model_of(ready)
            log.info(
                "ready: %s, %s on %s %s, self-test passed (largest difference %.4f); %d images "
                "recovered",
                *(
                    in_words(bundle, decisions[model.variant]),
                    model.variant,
                    model.provider,
                    model.device,
                ),
                *(ready.golden_error, recovered),
            )
            service.ready()
            pulse = Pulse(service, progress, vitals.known)
            while not self._stopping:
                loop.step(1.0)
                if pool.lost:
                    running.fall_back(pool, service.alive)
                    if publisher:
                        publisher.notify()  # what it says at birth has changed
                mounts.look()
                silence.look()
                reload.step()
                pulse.beat(loop.recorded + pool.restarts)
            service.stopping()
            log.info("stopping: finishing %d images", pool.pending())
            if not loop.drain(_DRAIN):
                log.warning("images left in %s: the next start judges them", storage.work_dir)
        log.info("stopped")

    def _obey_signals(self, stack: ExitStack, pool: WorkerPool, reload: Reload) -> None:
        def stop(number: int, _: object) -> None:
            log.info("%s received", signal.Signals(number).name)
            self._stopping = True
            pool.wake()

        def hang_up(*_: object) -> None:
            reload.want()

        for number in (signal.SIGTERM, signal.SIGINT):
            stack.callback(signal.signal, number, signal.signal(number, stop))
        stack.callback(signal.signal, signal.SIGHUP, signal.signal(signal.SIGHUP, hang_up))


def _spool(settings: Settings) -> Spool:
    storage, folder = settings.storage, settings.source.folder
    places = (storage.work_dir, storage.processed_dir, storage.quarantine_dir)
    check_root(storage.root, storage.work_dir)
    if folder is None:
        return Spool(*places)
    check_inbox(folder)  # early: measuring what runs best may take minutes
    return Spool(*places, inbox=folder.path, root=storage.root)


def _folder(
    settings: Settings, spool: Spool, journal: Journal, pool: WorkerPool, stack: ExitStack
) -> FolderSource | None:
    if settings.source.folder is None:
        return None
    mounts = read_mounts(MOUNTINFO.read_text(encoding="utf-8", errors="surrogateescape"))
    lies_on = mount_of(settings.source.folder.path, mounts)
    folder = FolderSource(
        settings.source.folder,
        spool,
        judged=journal.judged,
        wake=pool.wake,
        max_bytes=settings.worker.max_bytes,
        patience=settings.worker.retry_truncated,
        inodes_last=lies_on is None or lies_on.numbers_last,
    )
    stack.callback(folder.close)
    return folder


def _topic(
    settings: Settings, spool: Spool, journal: Journal, pool: WorkerPool, stack: ExitStack
) -> MqttSource | None:
    found = settings.source.mqtt
    if found is None or found.folder is None:
        spool.refuse_expected("named by a message, but [source.mqtt] folder is no longer set")
    if found is None or settings.mqtt is None:
        return None
    options = mqtt_options(settings.mqtt, _station(settings))
    own = replace(options, client_id=found.client_id or f"{options.client_id}-source")
    session = KnownSession(
        settings.storage.session, broker=own.broker, client_id=own.client_id, topic=found.topic
    )
    topic = MqttSource(
        *(found, own, spool, session),
        seen=_seen_in(journal),
        wake=pool.wake,
        patience=settings.worker.retry_truncated,
    )
    stack.callback(topic.close)
    return topic


def _seen_in(journal: Journal) -> Callable[[str], Seen | None]:
    """Ask the journal for a source, which knows none: what fails is an OSError."""

    def seen(identity: str) -> Seen | None:
        try:
            return journal.seen(identity)
        except JournalError as error:
            raise OSError(errno.EIO, str(error)) from error

    return seen


def _station(settings: Settings) -> Station:
    return Station(settings.station.site, settings.station.line, settings.station.name)


def _start(pool: WorkerPool, selector: Selector, choice: Choice) -> tuple[Choice, Ready]:
    """Start what was chosen; where an earlier start chose it and it is gone, choose again."""
    try:
        return choice, pool.start()
    except WorkerStartError as error:
        if not choice.remembered:
            raise
        log.warning("%s, which was chosen before, is not available: %s", choice.candidate, error)
    choice = selector.select(again=True)
    pool.replace(selector.options(choice.candidate), choice.candidate.workers)
    return choice, pool.start()


def _patience(worker: WorkerSettings) -> float:
    """Seconds after which it is no longer the pool's business that nothing moves."""
    return max(worker.frame_timeout, worker.start_timeout) + BACKOFF[1] + 10.0


def _cache(directory: Path) -> Path | None:
    try:
        directory.mkdir(exist_ok=True)
    except OSError as error:
        log.warning("nothing is cached: %s can't be made: %s", directory, error.strerror)
        return None
    return directory


def _journal(path: Path, page: HealthServer | None, service: ServiceLink) -> Journal:
    """Open the journal as soon as there is room for it, and nobody else has it locked."""
    trouble = Trouble(log, "the journal can be opened")
    while True:
        try:
            journal = Journal(path)
        except JournalError as error:
            if not error.temporary:
                raise
            trouble.failed(str(error))
        else:
            if page and trouble.text:
                page.serve(starting_pages())
            trouble.worked()
            return journal
        service.status(f"waiting: {trouble.text}")
        if page:
            page.serve(starting_pages(f"waiting: {trouble.text}"))
        time.sleep(_RETRY)


def _page(settings: Settings, stack: ExitStack) -> HealthServer | None:
    """Take the port early: a port in use is a wrong setting, to be told before anything runs."""
    if settings.http is None:
        return None
    page = HealthServer(settings.http.host, settings.http.port)
    stack.callback(page.close)
    page.serve(starting_pages())
    return page


def mqtt_options(mqtt: MqttSettings, station: Station) -> MqttOptions:
    """How to reach the broker of the settings.

    Raises:
        SettingsError: the password can't be read, or everyone can read it or the key.
    """
    _see_secrets(mqtt)
    password = mqtt.password_file
    own = f"edge-agent-{station.site}-{station.line}-{station.station}"
    return MqttOptions(
        client_id=mqtt.client_id or own,
        host=mqtt.host,
        port=mqtt.port or (8883 if mqtt.tls else 1883),
        keepalive=mqtt.keepalive,
        username=mqtt.username,
        password=None if password is None else lambda: read_secret(password),
        tls=TlsOptions(mqtt.ca_file, mqtt.cert_file, mqtt.key_file) if mqtt.tls else None,
    )


def _publisher(
    mqtt: MqttSettings,
    station: Station,
    running: Running,
    pause: Pause,
    orders: Orders,
    journal: Path,
    started: float,
    watch: DriftWatch,
    failing: Callable[[], bool],
    read: Callable[[], Reading],
    ready: Callable[[], bool],
) -> Publisher:
    announcements = Announcements(
        birth=lambda: birth_payload(
            station,
            running.model,
            version=__version__,
            started=started,
            degraded=bool(running.degraded),
            paused=pause.since is not None,
            failing=failing(),
            drift=[one.figure for one in watch.figures if one.drifting],
        ),
        last_will=offline_payload(station, "connection lost", version=__version__, started=started),
        farewell=offline_payload(station, "stopped", version=__version__, started=started),
        telemetry=Telemetry(station, read).payload,
        telemetry_every=mqtt.telemetry_every,
        ready=ready,
    )
    return Publisher(
        mqtt_options(mqtt, station),
        topics_of(station, mqtt.root),
        announcements,
        lambda: Outbox(journal),
        JournalError,
        commands={**pause.commands, **orders.commands} if mqtt.commands else None,
    )


def _see_secrets(mqtt: MqttSettings) -> None:
    """Find out at the start what would otherwise be found out at the first connection.

    A key that is not there yet holds up messages, as a broker that is not there does, and not
    inspections.
    """
    try:
        if mqtt.password_file is not None:
            read_secret(mqtt.password_file)
        if mqtt.key_file is not None and mqtt.key_file.exists():
            check_secret(mqtt.key_file)
    except OSError as error:
        name = "password_file" if error.filename == str(mqtt.password_file) else "key_file"
        raise SettingsError(
            f"mqtt.{name} {error.filename} can't be used: {error.strerror}"
        ) from None
