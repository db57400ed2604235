"""``/healthz`` over a real socket."""

from __future__ import annotations

import json
import socket
import threading
import urllib.error
import urllib.request
from dataclasses import asdict, replace

import pytest

from edge_agent.telemetry.health import Health, HealthServer, PortError
from tests.broker import free_port

WELL = Health(
    status="ok",
    reasons=(),
    inspections=3,
    verdicts={"ok": 2, "defect": 1, "review": 0, "error": 0},
    last_inspection_age=0.5,
    in_work=1,
    waiting=0,
    outbox=0,
    broker="connected",
    worker_restarts=0,
    ignored={"a\\n.txt": "its name matches none of the patterns"},
)


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def server(port):
    made = HealthServer("127.0.0.1", port)
    yield made
    made.close()


def get(port: int, path: str = "/healthz"):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


@pytest.mark.parametrize(("status", "code"), [("ok", 200), ("degraded", 200), ("failing", 503)])
def test_the_state_is_told_whole(server, port, status, code):
    health = replace(WELL, status=status, reasons=() if status == "ok" else ("no worker: x",))
    server.serve(lambda: health)

    found, headers, body = get(port)

    assert found == code
    assert headers["Content-Type"] == "application/json"
    expected = asdict(health)
    assert json.loads(body) == {**expected, "reasons": list(health.reasons)}


def test_each_answer_is_asked_for_anew(server, port):
    answers = iter([WELL, replace(WELL, inspections=4)])
    server.serve(lambda: next(answers))

    assert [json.loads(get(port)[2])["inspections"] for _ in range(2)] == [3, 4]


@pytest.mark.parametrize("path", ["/", "/healthz/", "/etc/passwd", "/../healthz"])
def test_there_is_no_other_page(server, port, path):
    server.serve(lambda: WELL)

    assert get(port, path)[0] == 404


def test_a_query_is_no_matter(server, port):
    server.serve(lambda: WELL)

    assert get(port, "/healthz?verbose=1")[0] == 200


def test_nothing_can_be_changed(server, port):
    server.serve(lambda: WELL)

    for method in ("POST", "PUT", "DELETE"):
        request = urllib.request.Request(f"http://127.0.0.1:{port}/healthz", b"", method=method)
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=20)
        caught.value.close()
        assert caught.value.code == 501


def test_somebody_who_says_nothing_holds_nobody_up(server, port):
    server.serve(lambda: WELL)
    with (
        socket.create_connection(("127.0.0.1", port)),
        socket.create_connection(("127.0.0.1", port)) as rude,
    ):
        rude.send(b"\x16\x03\x01 not HTTP at all\r\n\r\n")

        assert get(port)[0] == 200


def test_many_at_once(server, port):
    server.serve(lambda: WELL)
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(get(port)[0])) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [200] * 20


def test_a_port_in_use_is_a_mistake_with_an_address(server, port):
    with pytest.raises(PortError) as caught:
        HealthServer("127.0.0.1", port)

    assert f"[http] 127.0.0.1:{port} can't be used (Address already in use)" in str(caught.value)


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host"])
def test_an_address_that_is_not_ours(host, port):
    with pytest.raises(PortError, match="choose another port"):
        HealthServer(host, port)


def test_the_port_is_taken_before_anything_is_answered_and_free_after(port):
    server = HealthServer("127.0.0.1", port)
    with pytest.raises(PortError):
        HealthServer("127.0.0.1", port)
    server.close()

    HealthServer("127.0.0.1", port).close()
