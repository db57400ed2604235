"""What is answered on ``/healthz``, ``/readyz`` and ``/metrics``."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from edge_agent.telemetry.metrics import TEXT, Metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from edge_agent.types.reading import Health, Reading

_STARTING = "starting: the bundle is being verified, measured and loaded; the log shows progress"


@dataclass(frozen=True)
class Answer:
    """What is sent back."""

    code: int
    kind: str = ""
    """The content type; empty where there is no content."""
    body: bytes = b""


def starting_pages(reason: str = _STARTING) -> Mapping[str, Callable[[], Answer]]:
    """Until there is more to tell; ``reason``: what is waited for."""
    answer = _json(503, {"status": "failing", "ready": False, "reasons": [reason]})
    return {"/healthz": lambda: answer, "/readyz": lambda: answer}


def running_pages(
    health: Callable[[], Health], reading: Callable[[], Reading], version: str
) -> Mapping[str, Callable[[], Answer]]:
    """Asked anew for each answer, in the threads that answer."""
    metrics = Metrics(reading, version)
    return {
        "/healthz": lambda: _told(health()),
        "/readyz": lambda: _ready(health()),
        "/metrics": lambda: Answer(200, TEXT, metrics.text()),
    }


def no_such_page(pages: Collection[str]) -> Answer:
    """For any other path."""
    return _words(404, f"there is no such page; there are: {', '.join(pages)}")


def refused(code: int) -> Answer:
    """For a request that can't be answered, in words of our own: nothing of it is repeated."""
    if code == HTTPStatus.NOT_IMPLEMENTED:  # by the server in the library; this is what it means
        return _words(405, "nothing can be changed here: pages are read with GET or HEAD")
    return _words(code, HTTPStatus(code).phrase)


def _told(health: Health) -> Answer:
    """Whether the station does its work: 503 when it does not."""
    return _json(503 if health.status == "failing" else 200, asdict(health))


def _ready(health: Health) -> Answer:
    """`Health.ready`: 503 when it is not."""
    return _json(200 if health.ready else 503, {"ready": health.ready, "reasons": health.reasons})


def _words(code: int, text: str) -> Answer:
    return Answer(code, "text/plain; charset=utf-8", text.encode() + b"\n")


def _json(code: int, content: object) -> Answer:
    return Answer(code, "application/json", json.dumps(content).encode() + b"\n")
