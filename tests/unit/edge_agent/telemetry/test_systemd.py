"""What the service manager hears, over a real datagram socket."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from dataclasses import replace

import pytest

from edge_agent.telemetry.progress import Progress
from edge_agent.telemetry.systemd import Pulse, ServiceLink, status_line
from tests.readings import WELL


class Ear:
    """The service manager's end."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.setblocking(False)

    def heard(self) -> list[str]:
        words = []
        with contextlib.suppress(BlockingIOError):
            while True:
                words.append(self._socket.recv(65536).decode())
        return words

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def ear(tmp_path):
    made = Ear(str(tmp_path / "notify"))
    yield made
    made.close()


@pytest.fixture
def environment(ear, tmp_path):
    return {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}


def test_a_life_as_the_manager_hears_it(ear, environment):
    link = ServiceLink(environment)

    link.status("starting")
    link.ready()
    link.alive()
    link.stopping()

    assert ear.heard() == ["STATUS=starting", "READY=1", "WATCHDOG=1", "STOPPING=1"]


def test_children_can_not_speak_in_our_name(environment):
    ServiceLink(environment)

    assert environment == {}


def test_an_address_in_the_abstract_namespace():
    name = f"edge-agent-test-{os.getpid()}"
    ear = Ear(f"\0{name}")
    try:
        ServiceLink({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert ear.heard() == ["READY=1"]
    finally:
        ear.close()


def test_without_a_manager_nothing_happens():
    link = ServiceLink({})

    link.ready()
    link.alive()


def test_a_manager_that_is_gone_is_no_reason_to_stop(tmp_path, caplog):
    ServiceLink({"NOTIFY_SOCKET": str(tmp_path / "none")}).ready()

    assert "systemd can't be notified (READY=1): No such file or directory" in caplog.text


def test_pings_are_as_rare_as_the_period_allows(ear, environment):
    link = ServiceLink(environment)

    for _ in range(1000):
        link.alive()

    assert len(ear.heard()) < 100


@pytest.mark.parametrize("watchdog", [{}, {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}])
def test_no_pings_where_none_are_asked_of_us(ear, environment, watchdog):
    del environment["WATCHDOG_USEC"]
    link = ServiceLink(environment | watchdog)

    link.alive()

    assert ear.heard() == []


def test_a_status_is_one_line_and_said_once(ear, environment):
    link = ServiceLink(environment)

    link.status("this\nand that")
    link.status("this\nand that")

    assert ear.heard() == ["STATUS=this and that"]


def test_reloading_says_when(ear, environment):
    before = time.monotonic_ns() // 1000

    ServiceLink(environment).reloading()

    (words,) = ear.heard()
    first, second = words.split("\n")
    assert first == "RELOADING=1"
    assert before <= int(second.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000


# -- the pulse -----------------------------------------------------------------------------------


def beat_once(ear, environment, health, *, stalled):
    """What is heard of one beat, the work standing still for longer than patience allows."""
    now = [0.0]
    progress = Progress(60.0, lambda: now[0])
    progress.advances(waiting=True, moved=1)
    now[0] = 100.0 if stalled else 1.0
    Pulse(ServiceLink(environment), progress, lambda: health).beat(1)
    return ear.heard()


def test_a_beat_says_how_it_stands_and_feeds_the_watchdog(ear, environment):
    heard = beat_once(ear, environment, replace(WELL, waiting=4), stalled=False)

    assert heard == [
        "STATUS=ok: 3 inspections, 5 waiting, broker connected, 0 unsent",
        "WATCHDOG=1",
    ]


def test_the_watchdog_starves_when_frames_wait_and_nothing_moves(ear, environment, caplog):
    heard = beat_once(ear, environment, replace(WELL, waiting=4), stalled=True)

    assert "WATCHDOG=1" not in heard
    assert "images wait and nothing moves" in caplog.text


def test_a_station_at_rest_is_fed(ear, environment):
    health = replace(WELL, waiting=0, in_work=0)

    assert "WATCHDOG=1" in beat_once(ear, environment, health, stalled=True)


def test_a_full_disk_is_waited_for_and_not_restarted_over(ear, environment):
    health = replace(WELL, status="failing", reasons=("the disk is full",), waiting=4)

    heard = beat_once(ear, environment, health, stalled=True)

    assert heard[-1] == "WATCHDOG=1"
    assert heard[0].endswith("; the disk is full")


def test_an_image_that_ends_a_silence_and_then_hangs_starves_the_watchdog(ear, environment):
    health = replace(WELL, status="failing", silent=True, waiting=1)

    assert "WATCHDOG=1" not in beat_once(ear, environment, health, stalled=True)


def test_a_pause_is_no_stall(ear, environment):
    health = replace(WELL, status="degraded", waiting=4, paused=True)

    assert "WATCHDOG=1" in beat_once(ear, environment, health, stalled=True)


def test_a_station_without_a_broker_says_nothing_of_one():
    health = replace(WELL, broker="none", status="degraded", reasons=("a", "b"))

    assert status_line(health) == "degraded: 3 inspections, 1 waiting; a; b"
