"""A server of somebody else's in a process of its own, that can be stopped in every way."""

from __future__ import annotations

import signal
import subprocess  # noqa: TC003  a type of a class attribute


class Program:
    """What ``_running`` is; None before it starts and after its end."""

    _running: subprocess.Popen[bytes] | None = None

    def freeze(self) -> None:
        """SIGSTOP: connections stay, nothing answers."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        assert self._running is not None
        self._running.send_signal(number)

    def _end(self, number: signal.Signals, seconds: float = 30) -> None:
        """Send it and wait, frozen or not; nothing to do if it does not run."""
        if self._running is not None:
            self._running.send_signal(signal.SIGCONT)
            self._running.send_signal(number)
            self._running.wait(seconds)
            self._running = None
