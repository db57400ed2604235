"""Every topic, all at once, each with a limit: whatever hangs, the answer comes."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from edge_agent.doctor.ask import within
from edge_agent.doctor.broker import look_at_broker
from edge_agent.doctor.clock import look_at_clock
from edge_agent.doctor.devices import look_at_devices
from edge_agent.doctor.environment import look_at_environment
from edge_agent.doctor.finding import Finding
from edge_agent.doctor.folders import look_at_folders
from edge_agent.doctor.inotify import look_at_inotify
from edge_agent.doctor.model import look_at_bundle
from edge_agent.doctor.providers import look_at_providers
from edge_agent.doctor.retention import look_at_retention
from edge_agent.doctor.service import look_at_service
from edge_agent.doctor.station import look_at_station
from edge_agent.settings import Settings, SettingsError, load_settings
from edge_agent.types.target import AUTO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

LIMIT = 27.0
"""Seconds until whatever has not answered is given up."""


@dataclass(frozen=True)
class Topic:
    """Something to look at."""

    name: str
    look: Callable[[], list[Finding]]
    hung: str
    """How to mend that it does not answer."""


def examine(config: Path | None, limit: float = LIMIT) -> Iterator[list[Finding]]:
    """The findings, topic by topic, as soon as they are known.

    Args:
        config: the station's settings; None: only the machine is looked at.
        limit: seconds for all of it.
    """
    began = time.monotonic()
    settings: Settings | None = None
    if config is not None:
        try:
            settings = within(limit / 4, lambda: load_settings(config))
            yield [Finding("settings", "ok", f"{config} can be used")]
        except TimeoutError:
            mend = "is its disk missing, or one that it names?"
            yield [Finding("settings", "error", f"{config}: no answer when reading it", mend)]
        except SettingsError as error:
            mend = "until then only the machine is checked; deploy/examples/station.toml has all"
            yield [Finding("settings", "error", str(error), mend)]
    left = limit - (time.monotonic() - began)
    yield from look_at_all(topics(settings), left)


def topics(settings: Settings | None) -> list[Topic]:
    """What is looked at, in the order in which it is told."""
    wanted = settings.runtime.provider if settings else AUTO
    found = [
        Topic("python", look_at_environment, "is the disk with this environment failing?"),
        Topic("devices", lambda: look_at_devices(wanted), "a driver hangs: reboot, look at dmesg"),
        Topic(
            "providers",
            lambda: look_at_providers(settings),
            "a driver hangs: reboot, look at dmesg; runtime.provider = 'cpu' needs none",
        ),
    ]
    if settings is not None:
        one = settings
        found += [
            Topic(
                "bundle",
                lambda: look_at_bundle(one),
                f"compiling for a device may take this long: edge-agent bundle verify {one.bundle}",
            ),
            Topic(
                "folders",
                lambda: look_at_folders(one),
                "a network disk does not respond: umount -l it",
            ),
            Topic(
                "retention",
                lambda: look_at_retention(one),
                "a network disk does not respond: umount -l it",
            ),
        ]
    found.append(Topic("inotify", look_at_inotify, "is this machine overloaded?"))
    if settings is not None:
        found += [
            Topic("station", lambda: look_at_station(one), "is the disk of storage.root failing?"),
            Topic("broker", lambda: look_at_broker(one), "the network swallows what is sent"),
        ]
    found.append(Topic("clock", look_at_clock, "is this machine overloaded?"))
    found.append(Topic("systemd", look_at_service, "systemctl status, as an administrator"))
    return found


def look_at_all(asked: Sequence[Topic], limit: float) -> Iterator[list[Finding]]:
    """Each topic in a thread of its own, told in order; what hangs is given up and killed."""
    until = time.monotonic() + limit
    before = set(psutil.Process().children(recursive=True))
    answers: list[queue.Queue[list[Finding]]] = []
    for topic in asked:
        answer: queue.Queue[list[Finding]] = queue.Queue()
        answers.append(answer)
        # Daemon threads: what can't be interrupted must not hold up the end.
        threading.Thread(target=_look, args=(topic, answer), name=topic.name, daemon=True).start()
    for topic, answer in zip(asked, answers, strict=True):
        late = [Finding(topic.name, "error", f"no answer within {limit:.0f} s", topic.hung)]
        found = _wait(answer, until)
        yield late if found is None else found
    for process in set(psutil.Process().children(recursive=True)) - before:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _wait(answer: queue.Queue[list[Finding]], until: float) -> list[Finding] | None:
    try:
        return answer.get(timeout=max(0.0, until - time.monotonic()))
    except queue.Empty:
        return None


def _look(topic: Topic, answer: queue.Queue[list[Finding]]) -> None:
    try:
        answer.put(topic.look())
    except Exception as error:  # one topic that fails must not silence the others
        what = f"the check failed: {type(error).__name__}: {error}"
        mend = "please report it, with a description of this machine"
        answer.put([Finding(topic.name, "error", what, mend)])
