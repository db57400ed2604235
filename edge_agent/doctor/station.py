"""The agent of this station: whether one runs, what it says of itself, and its journal."""

from __future__ import annotations

import fcntl
import json
import os
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

from edge_agent.doctor.finding import Finding, Level
from edge_agent.doctor.who import user_name
from edge_agent.journal import JournalError, Unreadable, mark_of, missing, tail
from edge_agent.system.text import iso_utc, printable
from edge_agent.telemetry.health import PortError, check_port

if TYPE_CHECKING:
    from pathlib import Path

    from edge_agent.settings import HttpSettings, Settings, StorageSettings

TOPIC = "station"
_LIMIT = 3.0
_BESIDE = ("-wal", "-shm")  # what SQLite keeps beside a journal
_SKEW = 60.0  # seconds that the journal may be ahead


def look_at_station(settings: Settings) -> list[Finding]:
    """The lock's holder, the station's files, its health, the last inspection."""
    pid = holder_of(settings.storage.lock)
    found = [_running(settings.storage.root, pid), *look_at_files(settings.storage)]
    if settings.http is not None:
        found += look_at_health(settings.http, runs=pid is not None)
    if settings.storage.journal.exists():
        found.append(look_at_journal(settings.storage.journal, time.time()))
        found += look_at_losses(settings.storage.journal)
    return found


def holder_of(lock: Path) -> str | None:
    """Process id of who holds the state's lock, as it is written there; None: nobody does."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None  # there is none yet; what may not be read, the folders' topic says
    try:
        try:
            # Held for this instant at most; the kernel has no way to ask without taking.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return os.read(descriptor, 64).decode(errors="replace").strip() or "unknown"
        except OSError:
            return None
        return None
    finally:
        os.close(descriptor)


def look_at_health(http: HttpSettings, *, runs: bool) -> list[Finding]:
    """What ``/healthz`` says; a port that somebody else has, while no agent runs."""
    host = f"[{http.host}]" if ":" in http.host else http.host
    url = f"http://{host}:{http.port}/healthz"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_LIMIT) as reply:
            body = reply.read(1 << 20)
    except urllib.error.HTTPError as error:  # 503 has a body like any other
        with error:
            body = error.read(1 << 20)
    except (OSError, ValueError) as error:
        if not runs:
            return look_at_port(http)
        what = f"{url} does not answer: {getattr(error, 'reason', error)}"
        mend = "the agent hangs, or runs with other settings: look at its log, then restart it"
        return [Finding(TOPIC, "error", what, mend)]
    try:
        health = json.loads(body)
        status, reasons = str(health["status"]), [str(reason) for reason in health["reasons"]]
    except (ValueError, KeyError, TypeError):
        what = f"another program answers on {url}"
        return [Finding(TOPIC, "error", what, "choose another [http] port, or stop that program")]
    if not runs:
        what = f"another station's agent answers on {url}"
        return [Finding(TOPIC, "error", what, "give each station its own [http] port")]
    if status == "ok":
        return [Finding(TOPIC, "ok", f"{url} says ok")]
    level: Level = "error" if status == "failing" else "warning"
    mend = "do what the reason says; the agent continues by itself once it is fixed"
    return [
        Finding(TOPIC, level, f"{url} says {printable(status)}: {printable(reason)}", mend)
        for reason in reasons or ["without a reason"]
    ]


def look_at_port(http: HttpSettings) -> list[Finding]:
    """Whether a start could have the port: what holds it need not speak HTTP."""
    try:
        check_port(http.host, http.port)
    except PortError as error:
        mend = f"ss -tlnp 'sport = {http.port}' shows which program uses it, as administrator"
        return [Finding(TOPIC, "error", str(error), mend)]
    return []


def look_at_files(storage: StorageSettings) -> list[Finding]:
    """Whether a start could write to its files: a run by another user leaves that user's behind."""
    journal = storage.journal
    beside = (journal.with_name(journal.name + end) for end in _BESIDE)
    found = []
    for file in (storage.lock, journal, mark_of(journal), *beside):
        if not os.path.lexists(file):
            continue
        if not file.is_file():
            what, mend = f"{file} is not a file", "move it away"
        elif not os.access(file, os.R_OK | os.W_OK, effective_ids=True):
            what = f"{file} can't be written by this user"
            mend = f"as administrator: chown it to the user of the service, now {user_name()}"
        else:
            continue
        found.append(Finding(TOPIC, "error", what, mend))
    return found


def look_at_journal(journal: Path, now: float) -> Finding:
    """Whether it can be read, and whether its end lies in the future."""
    try:
        last = tail(journal, 1)
    except JournalError as error:
        mend = "keep a copy of it before anything else; docs/troubleshooting.md"
        return Finding(TOPIC, "error", str(error), mend)
    if not last:
        return Finding(TOPIC, "ok", "the journal is empty")
    if isinstance(last[0], Unreadable):
        what = f"row {last[0].sequence} of the journal can't be read: {last[0].fault}"
        mend = "the disk or another program has damaged it: keep a copy; docs/troubleshooting.md"
        return Finding(TOPIC, "error", what, mend)
    completed = last[0].inspection.completed
    what = f"last inspection {last[0].sequence} at {iso_utc(completed)}"
    if completed > now + _SKEW:
        mend = "verdicts are still in the order of their sequence numbers; synchronise the clock"
        return Finding(TOPIC, "warning", f"{what}: the clock was set back since", mend)
    return Finding(TOPIC, "ok", what)


def look_at_losses(journal: Path) -> list[Finding]:
    """What is missing from it."""
    mend = "stop the agent, then: edge-agent journal repair --config FILE; docs/troubleshooting.md"
    try:
        return [Finding(TOPIC, "error", loss, mend) for loss in missing(journal)]
    except JournalError:  # said above
        return []


def _running(root: Path, pid: str | None) -> Finding:
    if pid is None:
        return Finding(TOPIC, "ok", f"no agent runs on {root}")
    return Finding(TOPIC, "ok", f"an agent runs on {root} (process {pid})")
