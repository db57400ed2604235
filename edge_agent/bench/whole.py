"""The daemon whole: from a file renamed into the folder to the message at a subscriber."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge_agent.bundle.preprocess import MAX_PIXELS
from edge_agent.settings import SettingsError
from edge_agent.system.child import python_module

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edge_agent.engine.tuning.candidates import Candidate

_READY = 120.0
_STALLED = 120.0  # seconds without a message


@dataclass(frozen=True)
class Whole:
    """What the daemon did."""

    fps: float
    seconds_to_message: dict[str, float]
    """By image, when they came one by one: renamed in -> message at the subscriber."""
    verdicts: list[dict[str, Any]]
    """The messages, as they were received."""
    pss_mb: tuple[float, float]
    """Proportional set size of daemon and workers, after the first tenth and at the end."""


class Plant:
    """A station, its daemon and a subscriber, in a directory of their own."""

    def __init__(
        self,
        home: Path,
        bundle: Path,
        candidate: Candidate,
        broker: tuple[str, int],
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self._home = home
        self._inbox = home / "inbox"
        self._received: dict[bytes, float] = {}
        """When each message came, by its payload: a repeat is the same. Read when all are here."""
        self._news = threading.Condition()
        self._inbox.mkdir(parents=True)
        (home / "aside").mkdir()
        self._config = home / "station.toml"
        self._config.write_text(
            f"bundle = {json.dumps(str(bundle.resolve()))}\n"
            '[station]\nsite = "bench"\n[source.folder]\npath = "inbox"\n'
            f'[storage]\nroot = "state"\n[mqtt]\nhost = "{broker[0]}"\nport = {broker[1]}\n'
            f'[runtime]\nprovider = "{candidate.provider}"\nvariant = "{candidate.variant}"\n'
            f"workers = {candidate.workers}\nthreads = {candidate.threads}\n"
            f"[worker]\nmax_pixels = {max_pixels}\n",
            encoding="utf-8",
        )
        self._client = Client(
            CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5, client_id="bench"
        )
        self._client.on_message = self._on_message
        self._client.on_connect = lambda client, *_: client.subscribe(
            "inspection/bench/line/station/verdict", qos=1
        )
        try:
            self._client.connect(*broker)
        except OSError as error:
            where = f"{broker[0]}:{broker[1]}"
            raise SettingsError(
                f"--broker {where} can't be reached ({error.strerror or error}): is it running?"
            ) from None
        self._client.loop_start()
        with (home / "agent.log").open("wb") as log:
            self._daemon = subprocess.Popen(
                python_module("edge_agent", "run", "--config", str(self._config)),
                stdout=log,
                stderr=log,
            )
        self._wait_until_ready()

    def close(self) -> None:
        """Stop the daemon and the subscriber."""
        self._daemon.send_signal(signal.SIGTERM)
        try:
            self._daemon.wait(20)
        except subprocess.TimeoutExpired:
            self._daemon.kill()
            self._daemon.wait()
        self._client.disconnect()
        self._client.loop_stop()

    def sustain(self, images: Sequence[Path]) -> Whole:
        """Drop all at once; the rate is from the first rename to the last message."""
        names = self._set_aside(images)
        self._received.clear()
        started = time.perf_counter()
        for name in names:
            (self._home / "aside" / name).rename(self._inbox / name)
        self._wait_for(max(1, len(names) // 10))
        first = self._pss()
        self._wait_for(len(names))
        last = max(self._received.values())
        return Whole(len(names) / (last - started), {}, self._verdicts(), (first, self._pss()))

    def one_by_one(self, images: Sequence[Path], pause: float) -> Whole:
        """Drop one, wait for its message, pause, drop the next."""
        names = self._set_aside(images)
        self._received.clear()
        times, memory = {}, self._pss()
        for count, (name, image) in enumerate(zip(names, images, strict=True), 1):
            started = time.perf_counter()
            (self._home / "aside" / name).rename(self._inbox / name)
            self._wait_for(count)
            times[str(image)] = max(self._received.values()) - started
            time.sleep(pause)
        return Whole(0.0, times, self._verdicts(), (memory, self._pss()))

    def _verdicts(self) -> list[dict[str, Any]]:
        return [json.loads(payload) for payload in self._received]

    def _set_aside(self, images: Sequence[Path]) -> list[str]:
        names = []
        for number, image in enumerate(images):
            names.append(f"{time.monotonic_ns():x}-{number:06}{image.suffix.lower()}")
            shutil.copyfile(image, self._home / "aside" / names[-1])
        return names

    def _on_message(self, _client: Client, _user: Any, message: Any) -> None:
        at = time.perf_counter()
        with self._news:
            self._received.setdefault(message.payload, at)
            self._news.notify_all()

    def _wait_for(self, count: int) -> None:
        with self._news:
            while len(self._received) < count:
                before = len(self._received)
                self._news.wait(_STALLED)
                if len(self._received) == before:
                    raise SettingsError(f"the daemon stalled:\n{self._log()}")

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _READY
        while "ready: " not in (said := self._log()):
            if self._daemon.poll() is not None or time.monotonic() > deadline:
                raise SettingsError(f"the agent did not start:\n{said}")
            time.sleep(0.02)

    def _log(self) -> str:
        return (self._home / "agent.log").read_text(encoding="utf-8", errors="replace")

    def _pss(self) -> float:
        tree = [self._daemon.pid, *_children(self._daemon.pid)]
        return round(sum(_pss_of(pid) for pid in tree) / 1024, 1)


@contextmanager
def a_broker(given: tuple[str, int] | None, home: Path) -> Iterator[tuple[str, int]]:
    """The broker that was given, or a mosquitto of our own on a free loopback port.

    Raises:
        SettingsError: there is neither.
    """
    if given is not None:
        yield given
        return
    program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise SettingsError("bench needs a broker: install mosquitto, or give --broker HOST:PORT")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port_number = int(probe.getsockname()[1])
    config = home / "mosquitto.conf"
    config.write_text(
        f"listener {port_number} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 100000\n"
    )
    broker = subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port_number)) == 0:
                    break
            time.sleep(0.02)
        yield "127.0.0.1", port_number
    finally:
        broker.terminate()
        broker.wait()


def _children(pid: int) -> list[int]:
    file = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in file.read_text().split()]


def _pss_of(pid: int) -> int:
    """Kilobytes."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0
