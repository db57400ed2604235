"""``/healthz`` over a real socket."""

from __future__ import annotations

import http.client
import json
import logging
import socket
import threading
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace

import psutil
import pytest

from edge_agent.telemetry.health import _CONNECTIONS, HealthServer, PortError
from edge_agent.telemetry.pages import Answer, running_pages, starting_pages
from tests.broker import free_port
from tests.readings import READING, WELL


def pages(health=lambda: WELL):
    return running_pages(health, lambda: replace(READING, health=health()), "1.2.3")


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
    server.serve(pages(lambda: health))

    found, headers, body = get(port)

    assert found == code
    assert headers["Content-Type"] == "application/json"
    expected = asdict(health)
    assert json.loads(body) == {**expected, "reasons": list(health.reasons)}


def test_connections_that_are_left_open_cost_a_few_descriptors_and_no_answer(server, port):
    server.serve(pages())
    before = (psutil.Process().num_fds(), threading.active_count())
    with ExitStack() as idle:
        links = [
            idle.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
            for _ in range(4 * _CONNECTIONS)
        ]
        assert get(port)[0] == 200

        def held():  # ours apart
            theirs = psutil.Process().num_fds() - 4 * _CONNECTIONS - before[0]
            return max(theirs, threading.active_count() - before[1])

        deadline = time.monotonic() + 60
        while held() > _CONNECTIONS:
            assert time.monotonic() < deadline, held()
            for link in links:
                with suppress(ConnectionError):
                    link.send(b"x")  # never silent for as long as it would be left for
            time.sleep(0.1)


def test_a_page_that_fails_is_told_and_an_early_end_is_not(server, port, caplog):
    server.serve(pages(lambda: 1 / 0))
    with pytest.raises(http.client.RemoteDisconnected):
        get(port)
    assert "ZeroDivisionError" in caplog.text
    caplog.clear()
    server.serve({"/large": lambda: Answer(200, "text/plain", bytes(50_000_000))})
    with socket.create_connection(("127.0.0.1", port), timeout=60) as link:
        link.sendall(b"GET /large HTTP/1.0\r\n\r\n")
        link.recv(1)
    caplog.set_level(logging.DEBUG)
    server.close()
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    ("status", "paused", "code"),
    [
        ("ok", False, 200),
        ("degraded", False, 200),
        ("degraded", True, 503),
        ("failing", False, 503),
    ],
)
def test_ready_is_who_judges_what_is_offered(server, port, status, paused, code):
    server.serve(pages(lambda: replace(WELL, status=status, paused=paused, reasons=("why",))))

    found, _, body = get(port, "/readyz")

    assert (found, json.loads(body)) == (code, {"ready": code == 200, "reasons": ["why"]})


def test_a_station_that_starts_says_so_and_then_more(server, port):
    server.serve(starting_pages())
    for path in ("/healthz", "/readyz"):
        code, _, body = get(port, path)
        assert code == 503
        assert json.loads(body)["reasons"][0].startswith("starting: ")
    assert get(port, "/metrics")[0] == 404

    server.serve(pages())

    assert [get(port, path)[0] for path in ("/healthz", "/readyz", "/metrics")] == [200] * 3


def test_metrics_are_told_as_prometheus_wants_them(server, port):
    server.serve(pages())

    code, headers, body = get(port, "/metrics")

    assert code == 200
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b'edge_agent_inspections_total{verdict="defect"} 1.0' in body


def test_each_answer_is_asked_for_anew(server, port):
    answers = iter([WELL, replace(WELL, inspections=4)])
    server.serve(pages(lambda: next(answers)))

    assert [json.loads(get(port)[2])["inspections"] for _ in range(2)] == [3, 4]


@pytest.mark.parametrize("path", ["/", "/healthz/", "/etc/passwd", "/../healthz"])
def test_there_is_no_other_page(server, port, path):
    server.serve(pages())

    assert get(port, path)[0] == 404


def test_a_query_is_no_matter(server, port):
    server.serve(pages())

    assert get(port, "/healthz?verbose=1")[0] == 200


PATHS = ("/healthz", "/readyz", "/metrics")


def ask(port, method, path="/healthz"):
    """Status, headers and body of any request."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        link.request(method, path)
        answer = link.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        link.close()


@pytest.mark.parametrize("path", [*PATHS, "/elsewhere"])
def test_head_is_get_without_the_page(server, port, path):
    server.serve(pages())

    code, headers, body = ask(port, "HEAD", path)

    got, told, page = ask(port, "GET", path)
    assert (code, headers["Content-Type"], body) == (got, told["Content-Type"], b"")
    assert abs(int(headers["Content-Length"]) - len(page)) < 20  # a figure has moved meanwhile


def test_options_says_what_may_be_asked(server, port):
    server.serve(pages())

    for path in (*PATHS, "*"):
        code, headers, body = ask(port, "OPTIONS", path)
        assert (code, headers["Allow"], body) == (204, "GET, HEAD, OPTIONS", b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "BREW"])
def test_nothing_can_be_changed(server, port, method):
    server.serve(pages())

    code, headers, body = ask(port, method)

    assert (code, headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
    assert b"nothing can be changed here" in body


def test_no_answer_tells_which_python_it_is_nor_repeats_the_request(server, port):
    server.serve(pages())
    mark = b"<mark>"
    requests = [
        b"GET /healthz HTTP/1.0",
        b"GET /" + mark + b" HTTP/1.0",
        mark + b" / HTTP/1.0",
        b"GET / HTTP/" + mark,
        b"GET / HTTP/9.0" + mark,
        mark,
        b"GET /" + mark + b"x" * 70_000 + b" HTTP/1.0",
    ]
    for request in requests:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as link:
            link.sendall(request + b"\r\n\r\n")
            answer = b""
            with suppress(ConnectionError):
                while part := link.recv(1 << 16):
                    answer += part
        assert answer, request[:40]
        assert b"Python" not in answer, request[:40]
        assert mark not in answer, request[:40]


def test_somebody_who_says_nothing_holds_nobody_up(server, port):
    server.serve(pages())
    with (
        socket.create_connection(("127.0.0.1", port)),
        socket.create_connection(("127.0.0.1", port)) as rude,
    ):
        rude.send(b"\x16\x03\x01 not HTTP at all\r\n\r\n")

        assert get(port)[0] == 200


def test_many_at_once(server, port):
    server.serve(pages())
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
