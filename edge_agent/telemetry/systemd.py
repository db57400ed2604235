"""Tells systemd what the agent is about, by the protocol of sd_notify(3); silent without it.

The watchdog is fed from the loop that moves the images, so that a loop which no longer turns (at a
disk that does not answer, say) starves it; and only while the work advances. A worker that hangs
is the pool's to replace, and a full disk no reason for a restart: it is waited for, and said.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from typing import TYPE_CHECKING

from edge_agent.system.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from edge_agent.telemetry.progress import Progress
    from edge_agent.types.reading import Health

log = logging.getLogger(__name__)

_PINGS = 4
"""In one watchdog period: what one slow turn of the loop costs must not be the service."""


class ServiceLink:
    """The way to the service manager that started this process, if one did."""

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        """Take the address out of the environment: no child is to speak in our name."""
        address = environment.pop("NOTIFY_SOCKET", "")
        period = environment.pop("WATCHDOG_USEC", "")
        meant = environment.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        # A leading @ is the abstract namespace, which begins with a zero byte.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._period = int(period) / 1e6 / _PINGS if period.isdecimal() and meant else None
        self._next = 0.0
        self._status = ""

    def ready(self) -> None:
        """The agent judges from now on."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``; sent only when it changes."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={printable(' '.join(text.split()), 2000)}")

    def reloading(self) -> None:
        """The settings are read again; ``ready`` says when that is done."""
        # Since systemd 253 the time of the request is asked for, in CLOCK_MONOTONIC.
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The agent finishes what it has and ends."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """Feed the watchdog; to be called often, and only while the work advances."""
        now = time.monotonic()
        if self._period is not None and now >= self._next:
            self._next = now + self._period
            self._send("WATCHDOG=1")

    def _send(self, words: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
                link.settimeout(1.0)
                link.sendto(words.encode(), self._address)
        except OSError as error:  # inspecting goes on; the watchdog does what it is there for
            log.warning(
                "systemd can't be notified (%s): %s", words.partition("\n")[0], error.strerror
            )


class Pulse:
    """Once a second, from the loop: says how things stand, and feeds the watchdog if they move."""

    def __init__(self, link: ServiceLink, progress: Progress, ask: Callable[[], Health]) -> None:
        self._link = link
        self._progress = progress
        self._ask = ask
        self._next = 0.0
        self._starving = False

    def beat(self, moved: int) -> None:
        """One turn of the loop has been made; ``moved`` changes with every step forward."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + 1.0
        health = self._ask()
        self._link.status(status_line(health))
        # What is failing is known, said and tried again: a new start would do no better. And
        # whoever has paused the station wants its images to wait. That none came does not excuse
        # that one which has come now does not move.
        waiting = health.ready and bool(health.waiting or health.in_work > health.held_up)
        if self._progress.advances(waiting=waiting, moved=moved):
            self._link.alive()
            self._starving = False
        elif not self._starving:
            self._starving = True
            log.error("images wait and nothing moves: the watchdog is no longer notified")


def status_line(health: Health) -> str:
    """What ``systemctl status`` shows of a running station."""
    parts = [f"{health.inspections} inspections", f"{health.waiting + health.in_work} waiting"]
    if health.broker != "none":
        parts.append(f"broker {health.broker}, {health.outbox} unsent")
    line = f"{health.status}: {', '.join(parts)}"
    return f"{line}; {'; '.join(health.reasons)}" if health.reasons else line
