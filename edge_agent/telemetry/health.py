"""``/healthz`` on loopback: is the station doing its work, and if not, why not."""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)


class PortError(Exception):
    """The HTTP port can't be had; the message says what to do."""


@dataclass(frozen=True)
class Health:
    """The station's state, as told to whoever asks."""

    status: Literal["ok", "degraded", "failing"]
    """``degraded``: images are judged and kept, but not all is well. ``failing``: they are not."""
    reasons: tuple[str, ...]
    """What is wrong, in words an operator can act on; empty when ``ok``."""
    inspections: int
    """Since the start."""
    verdicts: dict[str, int]
    last_inspection_age: float | None
    """Seconds; None before the first."""
    in_work: int
    waiting: int
    """Whole files in the folder, not yet claimed."""
    outbox: int
    """Inspections not yet acknowledged by the broker."""
    broker: str
    worker_restarts: int
    ignored: dict[str, str]
    """What lies in the folder and is not taken, with the reason."""
    paused: bool = False
    """By a command: images wait."""


class HealthServer:
    """Serves ``/healthz`` from a thread of its own: 503 when it fails to inspect."""

    def __init__(self, host: str, port: int) -> None:
        """Take the port; nothing is answered before ``serve``.

        Raises:
            PortError: the address is in use or not ours.
        """
        try:
            self._server = ThreadingHTTPServer((host, port), BaseHTTPRequestHandler)
        except OSError as error:
            raise PortError(
                f"[http] {host}:{port} can't be used ({error.strerror}): choose another port, "
                "or leave the [http] section out"
            ) from None
        self._server.daemon_threads = True
        self._thread: threading.Thread | None = None

    def serve(self, ask: Callable[[], Health]) -> None:
        """Answer from now on, with what ``ask`` says."""

        class Page(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                if self.path.split("?")[0] != "/healthz":
                    self.send_error(404)
                    return
                health = ask()
                body = json.dumps(asdict(health)).encode() + b"\n"
                self.send_response(503 if health.status == "failing" else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, form: str, *arguments: object) -> None:
                log.debug("http: %s", form % arguments)

        self._server.RequestHandlerClass = Page
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, name="http"
        )
        self._thread.start()

    def close(self) -> None:
        """Stop serving and free the port."""
        if self._thread:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
