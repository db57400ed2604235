"""Real worker processes, really killed, stopped, starved and replaced: every claim comes back."""

from __future__ import annotations

import io
import os
import select
import signal
import stat
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from PIL import Image

from edge_agent.engine.worker import pool as module
from edge_agent.engine.worker.pool import Lost, Outcome, WorkerPool, WorkerStartError
from edge_agent.engine.worker.protocol import Failed, Judged
from edge_agent.system.wake import Wake
from edge_agent.types import Claim
from tests.bundles import make_bundle, make_image
from tests.slow import FOREVER, make_slow_bundle, make_slow_image
from tests.workers import plain_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def slow_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_slow_bundle(tmp_path_factory.mktemp("slow") / "bundle").path


@pytest.fixture
def make_pool(slow_bundle: Path) -> Iterator[Callable[..., WorkerPool]]:
    made: list[WorkerPool] = []

    def make(*, workers: int = 1, bundle: Path = slow_bundle, **changes: Any) -> WorkerPool:
        own = ("frame_timeout", "start_timeout", "wake")
        limits = {name: changes.pop(name) for name in own if name in changes}
        told = plain_options(bundle=str(bundle), **changes)
        made.append(WorkerPool(told, workers=workers, **limits))
        return made[-1]

    yield make
    pids = [worker.process.pid for pool in made for worker in pool._workers]
    for pool in made:
        pool.close()
    assert not any(psutil.pid_exists(pid) for pid in pids)


@pytest.fixture
def claim(tmp_path: Path) -> Callable[..., Claim]:
    def make(identity: str, content: bytes | None = None) -> Claim:
        path = tmp_path / f"{identity}.png"
        path.write_bytes(make_image(defect=False) if content is None else content)
        return Claim(identity, path.name, path, 0.0, 0.0, time.monotonic())

    return make


def collect(pool: WorkerPool, count: int, seconds: float = 60) -> list[Outcome]:
    outcomes: list[Outcome] = []
    deadline = time.monotonic() + seconds
    while len(outcomes) < count:
        assert time.monotonic() < deadline, (outcomes, pool.trouble)
        outcomes += pool.poll(0.1)
    assert len(outcomes) == count
    return outcomes


def until(satisfied: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not satisfied():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def pid_of(pool: WorkerPool, number: int = 0) -> int:
    return pool._workers[number].process.pid


def until_busy(pid: int) -> None:
    """Until a worker is at a frame: it burns the processor's time."""
    process = psutil.Process(pid)
    start = process.cpu_times().user
    until(lambda: process.cpu_times().user > start + 0.05)


# -- the fair way ------------------------------------------------------------------------------


def test_a_worker_proves_itself_then_judges(make_pool, claim):
    pool = make_pool()
    assert pool.room() == 0

    ready = pool.start()

    assert (ready.provider, ready.device) == ("cpu", "CPU")
    assert ready.golden_error <= 0.01
    assert pool.room() == 2
    for identity, defect in (("good", False), ("bad", True)):
        pool.submit(claim(identity, make_image(defect=defect, seed=5)))
    assert (pool.room(), pool.pending()) == (0, 2)
    good, bad = collect(pool, 2)
    assert (good.claim.id, bad.claim.id) == ("good", "bad")
    assert isinstance(good.reply, Judged)
    assert isinstance(bad.reply, Judged)
    assert good.reply.prediction.score < 0.5 <= bad.reply.prediction.score
    assert bad.reply.prediction.regions
    assert (pool.room(), pool.pending(), pool.restarts, pool.trouble) == (2, 0, 0, "")


def test_two_workers_share_the_frames(make_pool, claim):
    pool = make_pool(workers=2)
    pool.start()
    assert pool.room() == 4

    for number in range(4):
        pool.submit(claim(str(number)))

    assert {o.claim.id for o in collect(pool, 4)} == {"0", "1", "2", "3"}
    assert all(worker.judged for worker in pool._workers)


def test_wake_ends_a_poll(make_pool):
    with closing(Wake()) as wake:
        pool = make_pool(wake=wake)
        pool.start()
        start = time.monotonic()

        for _ in range(100_000):  # more than the socket holds
            wake.set()
        pool.poll(60)

        assert time.monotonic() - start < 30
        pool.close()


def test_a_wake_up_call_that_comes_late_goes_nowhere():
    """A bundle that is still being proved at the stop calls when it is done."""
    wake = Wake()
    wake.close()
    reading, writing = os.pipe2(os.O_NONBLOCK)  # with the numbers that its sockets had
    try:
        wake.set()
        with pytest.raises(BlockingIOError):
            os.read(reading, 1)
    finally:
        os.close(reading)
        os.close(writing)


def test_closing_leaves_no_process_and_no_descriptor(make_pool, claim, slow_bundle):
    before = psutil.Process().num_fds()
    pool = WorkerPool(plain_options(bundle=str(slow_bundle)))
    pool.start()
    pool.submit(claim("slow", make_slow_image(FOREVER)))
    pid = pid_of(pool)
    until_busy(pid)

    pool.close()

    assert not psutil.pid_exists(pid)
    assert psutil.Process().num_fds() == before


# -- death -------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_worker_that_dies_at_a_frame_costs_that_frame_and_no_other(make_pool, claim, number):
    pool = make_pool()
    pool.start()
    pool.submit(claim("slow", make_slow_image(FOREVER)))
    pool.submit(claim("behind"))
    first = pid_of(pool)
    until_busy(first)

    os.kill(first, number)

    lost, behind = collect(pool, 2)
    assert (lost.claim.id, behind.claim.id) == ("slow", "behind")
    assert lost.reply == Lost(f"it was killed by {number.name}")
    assert isinstance(behind.reply, Judged)
    assert pid_of(pool) != first
    assert pool.restarts == 1
    assert pool.trouble == ""  # it has been replaced


@pytest.mark.slow
def test_a_worker_that_hangs_is_killed_when_its_time_is_over(make_pool, claim):
    pool = make_pool(frame_timeout=1.0)
    pool.start()
    os.kill(pid_of(pool), signal.SIGSTOP)
    pool.submit(claim("frozen"))
    pool.submit(claim("behind"))

    lost, behind = collect(pool, 2)

    assert lost.reply == Lost("hung for 1 s at a frame")
    assert (lost.claim.id, behind.claim.id) == ("frozen", "behind")
    assert isinstance(behind.reply, Judged)


def test_each_frame_has_the_whole_time_for_itself(make_pool, claim):
    pool = make_pool(frame_timeout=2.0)
    pool.start()
    submitted, outcomes = 0, []
    while len(outcomes) < 5:
        while pool.room() and submitted < 5:
            pool.submit(claim(str(submitted), make_slow_image(70)))  # half a second
            submitted += 1
        outcomes += pool.poll(1.0)

    assert all(isinstance(outcome.reply, Judged) for outcome in outcomes)
    assert pool.restarts == 0


def test_a_worker_that_dies_idle_costs_no_frame(make_pool, claim):
    pool = make_pool()
    pool.start()
    pool.submit(claim("before"))
    collect(pool, 1)

    os.kill(pid_of(pool), signal.SIGKILL)
    until(lambda: pool.poll(0.05) == [] and pool.restarts)
    until(lambda: pool.poll(0.05) == [] and pool.room())
    pool.submit(claim("after"))

    (after,) = collect(pool, 1)
    assert isinstance(after.reply, Judged)


def test_a_reply_that_arrived_before_the_death_counts(make_pool, claim):
    # The link and stderr become readable together: what is left to be told of a worker that the
    # first has buried must not be looked for in the second.
    pool = make_pool()
    pool.start()
    pool.submit(claim("last"))
    worker = pool._workers[0]
    assert select.select([worker.link], [], [], 60)[0]
    os.kill(worker.process.pid, signal.SIGKILL)
    until(lambda: worker.process.poll() is not None)

    (outcome,) = collect(pool, 1)

    assert isinstance(outcome.reply, Judged)
    assert pool.restarts == 1
    pool.submit(claim("next"))
    assert isinstance(collect(pool, 1)[0].reply, Judged)


def test_one_worker_of_two_dies_and_the_other_goes_on(make_pool, claim):
    pool = make_pool(workers=2)
    pool.start()
    pool.submit(claim("slow", make_slow_image(FOREVER)))
    victim = pid_of(pool)
    until_busy(victim)

    pool.submit(claim("other"))
    (other,) = collect(pool, 1)
    assert other.claim.id == "other"
    os.kill(victim, signal.SIGKILL)
    (lost,) = collect(pool, 1)

    assert isinstance(lost.reply, Lost)
    assert pool.working() == 1
    assert pool.trouble == "it was killed by SIGKILL"
    until(lambda: pool.poll(0.05) == [] and pool.working() == 2)
    assert pool.trouble == ""


@pytest.mark.slow
def test_a_worker_dies_with_the_daemon(slow_bundle):
    # Even if the daemon has no time for a word.
    program = f"""if True:
        import os, signal
        from edge_agent.engine.worker.pool import WorkerPool
        from tests.workers import plain_options
        pool = WorkerPool(plain_options(bundle={str(slow_bundle)!r}))
        pool.start()
        print(pool._workers[0].process.pid, flush=True)
        signal.pause()
    """
    daemon = psutil.Popen([sys.executable, "-c", program], stdout=-1)
    pid = int(daemon.stdout.readline())
    daemon.stdout.close()
    assert psutil.pid_exists(pid)

    daemon.kill()
    daemon.wait()

    until(lambda: not psutil.pid_exists(pid))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_worker_leaves_stopping_to_the_daemon(make_pool, claim, number):
    pool = make_pool()
    pool.start()
    pool.submit(claim("slow", make_slow_image(40)))
    until_busy(pid_of(pool))

    os.kill(pid_of(pool), number)

    assert isinstance(collect(pool, 1)[0].reply, Judged)
    assert pool.restarts == 0


# -- want --------------------------------------------------------------------------------------


def test_an_image_beyond_the_memory_limit_fails_and_the_next_is_judged(make_pool, claim):
    stream = io.BytesIO()
    Image.new("RGB", (7900, 8000)).save(stream, "PNG", compress_level=1)
    pool = make_pool(memory_mb=256)
    pool.start()
    pool.submit(claim("large", stream.getvalue()))
    pool.submit(claim("small"))

    large, small = collect(pool, 2)

    assert isinstance(large.reply, Failed)
    assert "memory" in large.reply.failure.reason
    assert isinstance(small.reply, Judged)
    assert pool.restarts == 0
    assert small.reply.prediction.worker_rss < 400 << 20


@pytest.mark.slow
def test_no_process_can_be_started_for_a_while(make_pool, claim, monkeypatch):
    pool = make_pool()
    pool.start()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/nowhere/python")
        os.kill(pid_of(pool), signal.SIGKILL)
        until(lambda: pool.poll(0.05) == [] and "No such file" in pool.trouble)
        assert pool.trouble == "no process could be started: No such file or directory"
        assert pool.working() == 0

    until(lambda: pool.poll(0.05) == [] and pool.working())
    pool.submit(claim("after"))
    assert isinstance(collect(pool, 1)[0].reply, Judged)
    assert pool.trouble == ""


def test_delays_grow_to_a_limit_however_often_a_start_fails(make_pool, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    pool = make_pool()
    pauses = []
    for _ in range(2000):  # most of a day at half a minute each
        pool.poll(0.0)
        pauses.append(pool._vacant[0][0] - clock[0])
        clock[0] = pool._vacant[0][0]

    assert pauses[:8] == pytest.approx([0.5, 1, 2, 4, 8, 16, 30, 30])
    assert set(pauses[8:]) == {30.0}


# -- refusal -----------------------------------------------------------------------------------


def test_a_variant_that_there_is_not(make_pool):
    with pytest.raises(WorkerStartError, match="has no variant 'int8'; it has: fp32"):
        make_pool(variant="int8").start()


def test_a_provider_that_there_is_not(make_pool):
    with pytest.raises(WorkerStartError, match="provider 'abacus' is unknown"):
        make_pool(provider="abacus").start()


def test_a_bundle_that_is_not_there(make_pool, tmp_path):
    with pytest.raises(WorkerStartError, match="does not exist: give the folder"):
        make_pool(bundle=tmp_path / "none").start()


def test_a_golden_score_that_is_off(make_pool, tmp_path):
    manifest = make_bundle(tmp_path / "right").manifest
    golden = manifest.golden[0].model_copy(update={"scores": {"fp32": 0.3}})
    bundle = make_bundle(tmp_path / "wrong", golden=(golden, manifest.golden[1])).path

    with pytest.raises(WorkerStartError, match=r"golden/ok.png scores 0\.0000.*must be 0\.3000"):
        make_pool(bundle=bundle).start()


def test_one_of_two_refuses(make_pool):
    with pytest.raises(WorkerStartError, match="has no variant"):
        make_pool(workers=2, variant="fp16").start()


def test_a_start_that_takes_too_long(make_pool):
    with pytest.raises(WorkerStartError, match=r"hung for 0\.05 s at its start"):
        make_pool(start_timeout=0.05).start()


@pytest.mark.slow
def test_what_the_old_workers_had_is_judged_by_the_new_ones(make_pool, claim, slow_bundle):
    pool = make_pool()
    pool.start()
    for number in range(2):
        pool.submit(claim(str(number)))

    pool.replace(plain_options(bundle=str(slow_bundle)), 2)
    assert pool.pending() == 2
    pool.start()  # the first to be ready waits for the second: nobody takes in outcomes yet

    outcomes = collect(pool, 2)
    assert sorted(outcome.claim.id for outcome in outcomes) == ["0", "1"]
    assert all(isinstance(outcome.reply, Judged) for outcome in outcomes)
    assert pool.working() == 2


def test_a_proven_worker_takes_over_at_once_and_another_joins_it(make_pool, claim, tmp_path):
    pool = make_pool()
    pool.start()
    for number in range(2):
        pool.submit(claim(str(number)))
    old = pid_of(pool)
    other = make_bundle(tmp_path / "other").path
    proven = make_pool(bundle=other)
    proven.start()
    new = pid_of(proven)

    pool.replace(plain_options(bundle=str(other)), 2, proven.release())

    assert pid_of(pool) == new
    assert (pool.working(), pool.pending()) == (1, 2)
    assert (proven.working(), proven.processes()) == (0, [])
    assert not psutil.pid_exists(old)
    outcomes = collect(pool, 2)
    assert all(isinstance(outcome.reply, Judged) for outcome in outcomes)
    until(lambda: pool.poll(0.05) == [] and pool.working() == 2)
    assert (pool.restarts, pool.trouble) == (0, "")


def test_a_proven_worker_that_died_before_it_took_over_gets_no_frame(make_pool, claim):
    pool, proven = make_pool(), make_pool()
    pool.start()
    proven.start()
    gone = psutil.Process(pid_of(proven))
    gone.kill()
    until(lambda: gone.status() == psutil.STATUS_ZOMBIE)

    pool.replace(pool._options, 1, proven.release())
    pool.submit(claim("late"))

    assert isinstance(collect(pool, 1)[0].reply, Judged)


def test_a_bundle_that_went_away_is_told_and_waited_for(make_pool, claim, tmp_path):
    bundle = make_bundle(tmp_path / "bundle").path
    pool = make_pool(bundle=bundle)
    pool.start()
    bundle.rename(tmp_path / "away")
    os.kill(pid_of(pool), signal.SIGKILL)

    until(lambda: pool.poll(0.05) == [] and "does not exist" in pool.trouble)
    assert pool.working() == 0
    (tmp_path / "away").rename(bundle)

    until(lambda: pool.poll(0.05) == [] and pool.working())
    assert pool.trouble == ""


# -- a worker that was taken over --------------------------------------------------------------


@pytest.fixture
def impostor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have workers run other code, from the next one on."""

    def replace(code: str) -> None:
        script = tmp_path / "impostor"
        script.write_text(
            f"#!{sys.executable}\n"
            "import os, socket, sys, time\n"
            "link = socket.socket(fileno=int(sys.argv[-2]))\n"
            "link.recv(1 << 18)\n"
            'READY = b\'{"variant":"fp32","provider":"cpu","device":"CPU","golden_error":0,\''
            'b\'"rss":1,"kind":"ready"}\'\n' + code
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(sys, "executable", str(script))

    return replace


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("b'hello'", "it broke the protocol: Invalid JSON"),
        ("b'{}'", "it broke the protocol: Unable to extract tag"),
        ("b'[' * 200000", "it broke the protocol: "),
        ("b'\\x80\\x04}q.'", "it broke the protocol: "),  # a pickle
        ('b\'{"kind":"judged","id":"x"}\'', "it broke the protocol: Field required"),
        ('b\'{"kind":"refused","reason":"no","provider":false}\'', "no"),
        ("b'x' * 100000", "it broke the protocol: "),
    ],
)
def test_nonsense_is_the_end_of_a_worker(make_pool, impostor, said, told):
    impostor(f"link.send({said})\ntime.sleep(60)\n")

    with pytest.raises(WorkerStartError) as caught:
        make_pool().start()

    assert told in str(caught.value)


ANSWER = """
def answer(identity):
    link.send(b'{"id":"%b","failure":{"reason":"x","image":{"sha256":"","bytes":0}},'
              b'"signature":[0,0],"kind":"failed"}' % identity)
link.send(READY)
mine = link.recv(1 << 18).split(b'\\0')[0]
"""


def test_an_answer_for_another_frame_is_the_end_of_a_worker(make_pool, claim, impostor):
    impostor(ANSWER + "answer(b'ANOTHER')\ntime.sleep(60)\n")
    pool = make_pool()
    pool.start()
    pool.submit(claim("mine"))

    (outcome,) = collect(pool, 1)

    assert outcome.reply == Lost("it answered for a frame that it did not have")


def test_a_second_answer_is_the_end_of_a_worker_and_the_first_one_counts(
    make_pool, claim, impostor, caplog
):
    impostor(ANSWER + "answer(mine)\nanswer(mine)\ntime.sleep(60)\n")
    pool = make_pool()
    pool.start()
    pool.submit(claim("mine"))

    (outcome,) = collect(pool, 1)

    assert isinstance(outcome.reply, Failed)
    until(lambda: pool.poll(0.05) == [] and pool.restarts)
    assert "it answered for a frame that it did not have" in caplog.text


def test_a_worker_that_hangs_up_and_lives_on_is_killed(make_pool, claim, impostor):
    impostor("link.send(READY)\nlink.recv(1 << 18)\nlink.close()\ntime.sleep(60)\n")
    pool = make_pool()
    pool.start()
    pid = pid_of(pool)
    pool.submit(claim("mine"))

    (outcome,) = collect(pool, 1)

    assert isinstance(outcome.reply, Lost)
    assert not psutil.pid_exists(pid)


def test_what_a_worker_prints_is_logged_and_explains_its_death(make_pool, impostor, caplog):
    caplog.set_level("INFO")
    impostor("os.write(2, b'driver: \\x1b[31mno device\\xff\\n')\nsys.exit(7)\n")

    with pytest.raises(WorkerStartError, match=r"it ended with exit code 7: driver: no device"):
        make_pool().start()

    assert "no device" in caplog.text
    assert "\x1b" not in caplog.text


def test_a_flood_on_stderr_does_not_stop_the_work(make_pool, claim, impostor):
    flood = "for _ in range(3000):\n    os.write(2, b'y' * 99 + b'\\n')\n"
    impostor(ANSWER + flood + "answer(b'ANOTHER')\ntime.sleep(60)\n")
    pool = make_pool()
    pool.start()
    pool.submit(claim("mine"))

    (outcome,) = collect(pool, 1)

    assert isinstance(outcome.reply, Lost)
    assert len(pool._workers) + len(pool._vacant) == 1
