"""The parts of a station, as the settings want them."""

from __future__ import annotations

import errno
import logging
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from edge_agent import __version__
from edge_agent.engine.worker.pool import BACKOFF
from edge_agent.journal import Journal, JournalError, Outbox
from edge_agent.mqtt import MqttOptions, TlsOptions
from edge_agent.publish import (
    Announcements,
    Publisher,
    Station,
    Telemetry,
    birth_payload,
    offline_payload,
    topics_of,
)
from edge_agent.settings import SettingsError
from edge_agent.sources.folder import FolderSource, check_inbox
from edge_agent.sources.mqtt import MqttSource
from edge_agent.sources.session import KnownSession
from edge_agent.sources.spool import Spool, check_root
from edge_agent.system.mounts import MOUNTINFO, mount_of, read_mounts
from edge_agent.system.secret import check_secret, read_secret
from edge_agent.system.trouble import Trouble
from edge_agent.telemetry.health import HealthServer
from edge_agent.telemetry.pages import starting_pages

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import ExitStack
    from pathlib import Path

    from edge_agent.engine.running import Running
    from edge_agent.line.pause import Pause
    from edge_agent.publish import Command
    from edge_agent.settings import MqttSettings, Settings, WorkerSettings
    from edge_agent.system.wake import Wake
    from edge_agent.telemetry.drift import DriftWatch
    from edge_agent.telemetry.systemd import ServiceLink
    from edge_agent.types import Seen
    from edge_agent.vitals import Vitals

log = logging.getLogger(__name__)

_RETRY = 1.0  # seconds between two tries to open the journal


def make_spool(settings: Settings) -> Spool:
    """The spool, where images lie until they are judged; its folders are checked early."""
    storage, folder = settings.storage, settings.source.folder
    places = (storage.work_dir, storage.processed_dir, storage.quarantine_dir)
    check_root(storage.root, storage.work_dir)
    if folder is None:
        return Spool(*places)
    check_inbox(folder)  # early: measuring what runs best may take minutes
    return Spool(*places, inbox=folder.path, root=storage.root)


def make_folder(
    settings: Settings, spool: Spool, journal: Journal, wake: Wake, stack: ExitStack
) -> FolderSource | None:
    """The source of ``[source.folder]``, closed with the stack; None: there is no such section."""
    if settings.source.folder is None:
        return None
    mounts = read_mounts(MOUNTINFO.read_text(encoding="utf-8", errors="surrogateescape"))
    lies_on = mount_of(settings.source.folder.path, mounts)
    folder = FolderSource(
        settings.source.folder,
        spool,
        judged=journal.judged,
        wake=wake.set,
        max_bytes=settings.worker.max_bytes,
        patience=settings.worker.retry_truncated,
        inodes_last=lies_on is None or lies_on.numbers_last,
    )
    stack.callback(folder.close)
    return folder


def make_topic(
    settings: Settings, spool: Spool, journal: Journal, wake: Wake, stack: ExitStack
) -> MqttSource | None:
    """The source of ``[source.mqtt]``, closed with the stack; None: there is no such section."""
    found = settings.source.mqtt
    if found is None or found.folder is None:
        spool.refuse_expected("named by a message, but [source.mqtt] folder is no longer set")
    if found is None or settings.mqtt is None:
        return None
    options = mqtt_options(settings.mqtt, station_of(settings))
    own = replace(options, client_id=found.client_id or f"{options.client_id}-source")
    session = KnownSession(
        settings.storage.session, broker=own.broker, client_id=own.client_id, topic=found.topic
    )
    topic = MqttSource(
        *(found, own, spool, session),
        seen=_seen_in(journal),
        wake=wake.set,
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


def station_of(settings: Settings) -> Station:
    """Who the station is, for its topics and payloads."""
    return Station(settings.station.site, settings.station.line, settings.station.name)


def patience_of(worker: WorkerSettings) -> float:
    """Seconds after which it is no longer the pool's business that nothing moves."""
    return max(worker.frame_timeout, worker.start_timeout) + BACKOFF[1] + 10.0


def make_cache(directory: Path) -> Path | None:
    """Where measurements and compiled models are kept; None: nothing can be."""
    try:
        directory.mkdir(exist_ok=True)
    except OSError as error:
        log.warning("nothing is cached: %s can't be made: %s", directory, error.strerror)
        return None
    return directory


def make_journal(path: Path, page: HealthServer | None, service: ServiceLink) -> Journal:
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


def make_page(settings: Settings, stack: ExitStack) -> HealthServer | None:
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


def make_publisher(
    mqtt: MqttSettings, station: Station, journal: Path, commands: Mapping[str, Command[Any]]
) -> Publisher:
    """What publishes the outbox of a journal; ``commands``: obeyed if the settings allow it."""
    return Publisher(
        mqtt_options(mqtt, station),
        topics_of(station, mqtt.root),
        partial(Outbox, journal),
        JournalError,
        commands=commands if mqtt.commands else None,
    )


@dataclass(frozen=True)
class OwnWords:
    """What a station says of itself at the broker."""

    station: Station
    started: float
    """Seconds since the epoch."""
    running: Running
    pause: Pause
    drift: DriftWatch
    vitals: Vitals
    topic: MqttSource | None

    def birth(self) -> bytes:
        """The retained ``status``, as it is now."""
        return birth_payload(
            self.station,
            self.running.model,
            version=__version__,
            started=self.started,
            degraded=bool(self.running.degraded),
            paused=self.pause.holds(),
            failing=self.vitals.failing,
            drift=[one.figure for one in self.drift.figures if one.drifting],
        )

    def offline(self, reason: Literal["stopped", "connection lost"]) -> bytes:
        """The retained ``status`` once it is gone."""
        return offline_payload(self.station, reason, version=__version__, started=self.started)

    def ready(self) -> bool:
        """Whether what it listens to is heard."""
        return self.topic is None or self.topic.settled

    def announcements(self, telemetry_every: float) -> Announcements:
        """For the publisher; a message on ``telemetry`` every so many seconds."""
        return Announcements(
            birth=self.birth,
            last_will=self.offline("connection lost"),
            farewell=self.offline("stopped"),
            telemetry=Telemetry(self.station, self.vitals.reading).payload,
            telemetry_every=telemetry_every,
            ready=self.ready,
        )
