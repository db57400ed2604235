"""The station's HTTP port: read-only, on loopback unless the settings say otherwise."""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from edge_agent.telemetry.pages import Answer, no_such_page, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

log = logging.getLogger(__name__)


_CONNECTIONS = 16


class PortError(Exception):
    """The HTTP port can't be had; the message says what to do."""


def check_port(host: str, port: int) -> None:
    """Whether a station could take the port now; nobody is kept from taking it meanwhile.

    Raises:
        PortError: it could not.
    """
    with _explained(host, port), socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        trial.bind((host, port))  # without listening


@contextlib.contextmanager
def _explained(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PortError(
            f"[http] {host}:{port} can't be used ({error.strerror}): choose another port, "
            "or leave the [http] section out"
        ) from None


class HealthServer:
    """Answers from threads of its own, one a connection."""

    def __init__(self, host: str, port: int) -> None:
        """Take the port; nothing is answered before ``serve``.

        Raises:
            PortError: the address is in use or not ours.
        """
        with _explained(host, port):
            self._server = _Server((host, port), BaseHTTPRequestHandler)
        self._thread: threading.Thread | None = None
        self._pages: Mapping[str, Callable[[], Answer]] = {}

    def serve(self, pages: Mapping[str, Callable[[], Answer]]) -> None:
        """Answer from now on with these pages, by path, and no others."""
        self._pages = pages
        if self._thread is None:
            self._server.RequestHandlerClass = self._handler()
            thread = threading.Thread(
                target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, name="http"
            )
            thread.start()
            self._thread = thread

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Page(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                page = server._pages.get(self.path.split("?")[0])
                self._send(page() if page else no_such_page(server._pages))

            def do_HEAD(self) -> None:
                self.do_GET()

            def do_OPTIONS(self) -> None:
                self._send(Answer(204))

            def send_error(self, code: int, *_: object) -> None:
                """What is no request, or has a method that is none of these."""
                self._send(refused(code))

            def _send(self, answer: Answer) -> None:
                self.send_response(answer.code)
                if answer.code in (204, 405):
                    self.send_header("Allow", "GET, HEAD, OPTIONS")
                if answer.kind:
                    self.send_header("Content-Type", answer.kind)
                    self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer.body)

            def version_string(self) -> str:
                return "edge-agent"  # and not which Python, for whoever looks for its faults

            def log_message(self, form: str, *arguments: object) -> None:
                log.debug("http: %s", form % arguments)

        return Page

    def close(self) -> None:
        """Stop serving and free the port."""
        if self._thread:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    """Serves the latest connections: one that is left open must not cost the line its descriptors.

    A new one is never refused, for it may be the watchdog of the station; the oldest has to go.
    """

    daemon_threads = True
    request_queue_size = _CONNECTIONS

    def __init__(self, address: tuple[str, int], pages: type[BaseHTTPRequestHandler]) -> None:
        self._lock = threading.Lock()
        self._open: deque[socket.socket] = deque()
        super().__init__(address, pages)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.append(request)
            if len(self._open) > _CONNECTIONS:
                with contextlib.suppress(OSError):
                    self._open.popleft().shutdown(socket.SHUT_RDWR)  # its thread hears of it
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread to be had: then one after the other, each with its limit
            self.process_request_thread(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock, contextlib.suppress(ValueError):
            self._open.remove(request)
        super().shutdown_request(request)

    def handle_error(self, _: Any, client_address: Any) -> None:
        """Somebody who hangs up early is nothing to be told; a page that fails is."""
        failure = sys.exc_info()[1]
        if isinstance(failure, OSError):
            log.debug("http: %s is gone: %s", client_address, failure)
        else:
            log.error("a page could not be served", exc_info=failure)
