"""Rows 24 and 25: memory, processes and threads that can't be had, and which limit it is."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.broker import free_port
from tests.bundles import make_image
from tests.integration.conftest import children_of
from tests.integration.test_agent import until_busy
from tests.line import at_rest, finish, health, told, wait_for
from tests.slow import FOREVER, make_slow_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.line import Station

pytestmark = pytest.mark.slow

GROUPS = Path("/sys/fs/cgroup/memory")
TWO = '[runtime]\nprovider = "cpu"\nvariant = "fp32"\nworkers = 2\nthreads = 1\n'


def workers_of(station: Station) -> list[psutil.Process]:
    return [c for c in children_of(station) if "edge_agent.engine.worker" in " ".join(c.cmdline())]


# -- memory ------------------------------------------------------------------------------------


def test_workers_that_are_killed_from_outside_are_not_the_providers_fault(
    make_station, slow_bundle
):
    """As the kernel does it where memory is short: three in a row, at one image and another."""
    port = free_port()
    limits = "[worker]\nmax_attempts = 1\n"
    station = make_station(f"{limits}[http]\nport = {port}\n", bundle=slow_bundle).start()
    poison = [make_slow_image(FOREVER, grey=70 + n) for n in range(3)]
    for number, image in enumerate(poison):
        station.drop(f"{number}.png", image)
    for deaths in range(1, 4):
        until_busy(station).kill()
        wait_for(lambda n=deaths: health(port)["worker_restarts"] == n)
        wait_for(lambda: health(port)["status"] == "ok" or station.daemon.poll() is not None)
    station.drop("good.png", make_image(defect=False))

    finish(station, [*poison, make_image(defect=False)])
    assert "was lost" not in station.log


def test_an_image_that_the_workers_memory_does_not_hold_ends_no_station(make_station, go_wrong):
    port = free_port()
    station = make_station(f"[worker]\nmemory_mb = 300\n[http]\nport = {port}\n").start()
    go_wrong("memory@4", "cpu")  # behind the golden images: at the second image of each worker
    images = [make_image(defect=False, seed=n) for n in range(4)]
    for number, image in enumerate(images):
        station.drop(f"{number}.png", image)

    wait_for(lambda: "[worker] memory_mb = 300 is too little" in station.log)
    at_rest(station, 4, 120)
    assert station.daemon.poll() is None
    assert "was lost" not in station.log
    finish(station, images)


def test_memory_that_does_not_do_for_a_start_is_named(make_station, go_wrong):
    station = make_station("[worker]\nmemory_mb = 300\n")
    go_wrong("memory", "cpu")
    station.start(wait=False)

    assert station.daemon.wait(60) == 2
    assert "[worker] memory_mb = 300 is too little" in station.log
    assert "Traceback" not in station.log


HOG = """if True:
    import os, sys, time
    kills = lambda: int(open(sys.argv[1]).read().split("oom_kill ")[1].split()[0])
    held, before = os.memfd_create("held"), kills()
    while kills() == before:  # none of it counts as this process's own: others are killed for it
        os.write(held, bytes(1 << 20))
        time.sleep(0.001)
    print("full", flush=True)
    sys.stdin.read()
"""


@contextmanager
def group(megabytes: int) -> Iterator[Path]:
    made = GROUPS / f"edge-agent-test-{os.getpid()}"
    try:
        made.mkdir()
        (made / "memory.limit_in_bytes").write_text(str(megabytes << 20))
    except OSError as error:
        pytest.skip(f"no control group of version 1 can be made here: {error}")
    try:
        yield made
    finally:

        def gone() -> bool:
            try:
                made.rmdir()
            except OSError:
                return False
            return True

        for pid in (made / "cgroup.procs").read_text().split():
            os.kill(int(pid), signal.SIGKILL)
        wait_for(gone)


def test_where_memory_is_short_one_worker_goes_on(make_station):
    """The kernel's own killing, in a group of the station's that another program fills."""
    port = free_port()
    station = make_station(f"{TWO}[http]\nport = {port}\n")
    images = [make_image(defect=False, seed=n) for n in range(6)]
    with group(700) as own:
        enter = ["sh", "-c", f'echo $$ > {own}/cgroup.procs && exec "$@"', "sh"]
        station.start(under=enter)
        wait_for(lambda: len(workers_of(station)) == 2)
        hog = subprocess.Popen(
            [*enter, sys.executable, "-c", HOG, str(own / "memory.oom_control")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        try:
            assert hog.stdout.readline() == b"full\n"
            full = "the 700 MB that the service or container may have are full"
            told(station, port, full, status="degraded")
            for number, image in enumerate(images):
                station.drop(f"{number}.png", image)
            at_rest(station, len(images))
        finally:
            hog.communicate(b"")
        wait_for(lambda: health(port)["status"] == "ok")  # there is room for the other one again
        assert len(workers_of(station)) == 2
        finish(station, images)
        assert "cost a worker" not in station.log
        assert "was lost" not in station.log


# -- processes and threads ---------------------------------------------------------------------

# A user of its own: nothing else counts, and root is bound by no such limit.
USER = 54321
CAPABILITIES = "+dac_override,+dac_read_search,+fowner"
needs_users = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None,
    reason="needs root, and setpriv to become somebody else",
)


def bound(processes: int) -> list[str]:
    rights = [f"--inh-caps={CAPABILITIES}", f"--ambient-caps={CAPABILITIES}"]
    return ["setpriv", f"--reuid={USER}", *rights, "prlimit", f"--nproc={processes}:40"]


def bind(station: Station, processes: int) -> None:
    """The same, of a daemon that runs."""
    pid = str(station.daemon.pid)
    asked = ["prlimit", f"--nproc={processes}:40", "--pid", pid]
    subprocess.run(["setpriv", f"--reuid={USER}", *asked], check=True)


@needs_users
@pytest.mark.parametrize("most", [1, 2, 3, 4, 5, 6, 7, 8])
def test_too_few_processes_and_threads_are_named(make_station, most):
    """Each number ends the start at another thread or process, or lets the station work."""
    port = free_port()
    station = make_station(f"[http]\nport = {port}\n")
    station.drop("a.png", make_image(defect=False))
    station.start(wait=False, under=bound(most))
    wait_for(lambda: station.daemon.poll() is not None or "ready: " in station.log)

    if station.daemon.poll() is None:
        at_rest(station, 1)
        assert health(port)["inspections"] == 1
        assert station.stop() == 0
    else:
        assert station.daemon.returncode == 2, station.log
        assert f"this user may have {most} (`ulimit -u`" in station.log
    assert "Traceback" not in station.log
    assert not children_of(station)


@needs_users
def test_where_processes_are_few_one_worker_goes_on(make_station):
    port = free_port()
    station = make_station(f"{TWO}[http]\nport = {port}\n")
    images = [make_image(defect=False, seed=n) for n in range(4)]
    station.start(under=bound(40))
    first, second = workers_of(station)
    left = psutil.Process(station.daemon.pid).num_threads() + second.num_threads()
    bind(station, left)
    first.kill()

    told(station, port, f"this user may have {left} (`ulimit -u`")  # and no thread for an answer
    for number, image in enumerate(images):
        station.drop(f"{number}.png", image)
    at_rest(station, len(images))
    assert health(port)["status"] == "degraded"
    bind(station, 40)
    wait_for(lambda: health(port)["status"] == "ok")
    finish(station, images)
