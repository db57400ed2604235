"""A real mosquitto on a loopback port, that can be stopped, killed and started again."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.program import Program

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    """A loopback port on which nothing listens.

    Below those that the kernel gives to whoever connects: else a client that tries again and again
    gets this very one some day, is connected to itself, and nobody can listen there.
    """
    given = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = 10_000 + secrets.randbelow(max(given, 20_000) - 10_000)
        with socket.socket() as found, contextlib.suppress(OSError):
            found.bind(("127.0.0.1", port))
            return port


@dataclass
class Broker(Program):
    """mosquitto with a directory, a configuration and a port of its own."""

    directory: Path
    settings: str = ""
    """Lines for the configuration beyond listener, persistence and log."""
    port: int = field(default_factory=free_port)
    whole: str = ""
    """The whole configuration instead, of a broker that listens on ``port``."""

    def start(self) -> Broker:
        """Start it, on the same port and with what it kept; wait until it listens."""
        assert MOSQUITTO is not None
        config = self.directory / "mosquitto.conf"
        config.write_text(
            self.whole
            or f"listener {self.port} 127.0.0.1\n"
            f"persistence true\npersistence_location {self.directory}/\n"
            # Without these two a killed broker forgets what it has acknowledged.
            "autosave_interval 1\nautosave_on_changes true\n"
            # Not 0, which means no limit: mosquitto 2.0.11 then drops a client whose publish the
            # access list denies, and says "Unknown error".
            "max_queued_messages 100000\n"
            f"log_dest file {self.directory / 'mosquitto.log'}\nlog_type all\n"
            + ("user root\n" if os.geteuid() == 0 else "")
            + (self.settings or "allow_anonymous true\n")
        )
        self._running = subprocess.Popen([MOSQUITTO, "-c", str(config)], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            assert self._running.poll() is None, (self.directory / "mosquitto.log").read_text()
            time.sleep(0.01)
        raise AssertionError("mosquitto does not listen")

    def stop(self) -> None:
        """SIGTERM; it saves what it holds."""
        self._end(signal.SIGTERM, 10)

    def kill(self) -> None:
        """SIGKILL: it saves nothing more."""
        self._end(signal.SIGKILL, 10)

    def reload(self) -> None:
        """Have it read its access and password files again."""
        self._send(signal.SIGHUP)

    def log(self) -> str:
        return (self.directory / "mosquitto.log").read_text(errors="replace")
