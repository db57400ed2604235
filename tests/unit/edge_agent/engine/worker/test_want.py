"""What a worker was short of, and what becomes of its place."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from edge_agent.engine.worker import pool as module
from edge_agent.engine.worker.pool import WorkerPool
from edge_agent.engine.worker.want import want_in
from tests.bundles import make_bundle
from tests.line import wait_for
from tests.workers import plain_options

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow


class Guard:
    """The kernel has killed for want of memory, each time that it is asked."""

    def killed(self) -> str:
        return "the memory is full"


@pytest.fixture
def pool(tmp_path) -> Iterator[WorkerPool]:
    bundle = make_bundle(tmp_path / "bundle").path
    made = WorkerPool(plain_options(bundle=str(bundle)), workers=2, guard=Guard())
    made.start()
    yield made
    made.close()


def kill(pool: WorkerPool, number: int) -> None:
    restarts = pool.restarts
    (worker,) = (w for w in pool._workers if w.number == number)
    os.kill(worker.process.pid, signal.SIGKILL)
    wait_for(lambda: pool.poll(0.01) == [] and pool.restarts > restarts)


def test_a_worker_without_room_beside_another_is_tried_later_and_later(pool, monkeypatch):
    pauses = []
    for _ in range(2):
        kill(pool, 0)
        assert (pool.working(), pool.trouble[:18], pool.lost) == (1, "the memory is full", "")
        ((at, number),) = pool._vacant
        pauses.append(round(at - pool._rests[number][1]))
        pool._vacant[:] = [(0.0, number)]  # its time has come
        wait_for(lambda: pool.poll(0.01) == [] and pool.working() == 2)
        assert pool.trouble == ""

    assert pauses == [5, 10]


def test_the_last_one_is_tried_again_soon_and_the_provider_is_not_lost(pool):
    for _ in range(4):
        wait_for(lambda: pool.poll(0.01) == [] and pool._workers)
        kill(pool, pool._workers[0].number)
    pauses = [at - module.time.monotonic() for at, _ in pool._vacant]
    assert min(pauses) < 5
    assert pool.lost == ""

    wait_for(lambda: pool.poll(0.01) == [] and pool.working())


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ("cpu failed: std::bad_alloc", "memory_mb = 300"),
        ("Traceback (most recent call last):\nMemoryError", "memory_mb = 300"),
        ("libx.so: failed to map segment: Cannot allocate memory", "memory_mb = 300"),
        ("BFCArena: Failed to allocate memory for requested buffer", "memory_mb = 300"),
        ("RuntimeError: can't start new thread", "process or thread"),
        ("blas_thread_init: pthread_create failed for thread 1 of 2", "process or thread"),
        ("the device was removed", ""),
    ],
)
def test_what_last_words_speak_of(said, what):
    want = want_in(said, 300, "cpu")

    assert what in want.words if what else want is None


def test_the_memory_of_a_device_is_not_the_workers():
    assert want_in("BFCArena: Failed to allocate memory for 1 MB", 300, "cuda") is None
