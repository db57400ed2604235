"""Row 31: what was checked judges, whatever is put into its place between check and use."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from edge_agent.bundle.signature import make_keys, sign
from tests.bundles import make_bundle, make_image, make_model, see_golden_alone
from tests.injected import STRACE, needs_strace
from tests.integration.conftest import worker_of
from tests.line import at_rest, verify, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.line import Station

pytestmark = pytest.mark.slow

MODEL = "model.fp32.onnx"


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    """A signed bundle; beside it ``own`` and ``blind``, its model and an attacker's."""
    bundle = make_bundle(tmp_path / "shelf/signed").path
    sign(bundle, key_of(tmp_path))
    (tmp_path / "own").write_bytes((bundle / MODEL).read_bytes())
    (tmp_path / "blind").write_bytes(make_model(edit=see_golden_alone))
    return bundle


def key_of(place: Path) -> Path:
    key = place / "key"
    if not key.exists():
        (place / "public").write_text(make_keys(key))
    return key


def trusting(place: Path) -> str:
    public = (place / "public").read_text()
    return (
        "[worker]\nretry_truncated = 0.5\n"
        f'[trust]\nrequire_signature = true\nkeys = {{ us = "{public}" }}\n'
    )


def put(model: Path, into: Path) -> None:
    """Exchange a file as an attacker does who can write to its folder: by a rename."""
    copy = into.with_name(".exchange")
    copy.unlink(missing_ok=True)
    os.link(model, copy)
    copy.rename(into)


def judge_defects(station: Station, offered: list[bytes], count: int) -> None:
    for _ in range(count):
        number = len(offered)
        offered.append(make_image(defect=True, seed=1 + number))
        station.drop(f"{number}.png", offered[-1])
    at_rest(station, len(offered), 180)


def hold(station: Station, offered: list[bytes]) -> None:
    """Each verdict is the signed model's: a defect, by a score of 1."""
    assert station.stop() == 0
    assert verify(station, offered).wrong == []
    judged = {(row["verdict"], row["score"], row["version"]) for row in station.rows()}
    assert judged == {("defect", 1.0, "1.0.0")}
    assert "Traceback" not in station.log


@needs_strace
def test_a_model_exchanged_after_it_was_hashed_does_not_judge(make_station, signed, tmp_path):
    """Each process that opens the model a second time stands still before that for a second."""
    own, blind, target, log = tmp_path / "own", tmp_path / "blind", signed / MODEL, tmp_path / "log"
    assert STRACE is not None
    under = [
        STRACE, "-D", "-f", "--seccomp-bpf", "-qq", "-o", str(log), "-P", str(target),
        "--trace=openat,close", "--inject=openat:delay_enter=1000000:when=2",
    ]  # fmt: skip

    def read() -> int:
        return log.read_text().count(" close(") if log.exists() else 0

    station = make_station(trusting(tmp_path), bundle=signed).start(under=under)
    offered: list[bytes] = []
    for _ in range(3):
        worker, before = worker_of(station), read()
        worker.kill()
        wait_for(lambda before=before: read() > before)  # the next one has hashed it
        put(blind, target)
        judge_defects(station, offered, 2)
        put(own, target)

    hold(station, offered)


PUT = """if True:
    import ctypes, os, sys, time
    target, copy, blind, own = sys.argv[1:]

    def put(model):
        os.link(model, copy)
        os.rename(copy, target)
"""
ALWAYS = """
    over = time.monotonic() + 800
    print("ready", flush=True)
    while time.monotonic() < over:
        put(blind)
        put(own)
"""
ONCE_READ = """
    libc, close_nowrite = ctypes.CDLL(None), 0x10
    watch = libc.inotify_init()
    libc.inotify_add_watch(watch, os.path.dirname(target).encode(), close_nowrite)
    print("ready", flush=True)
    while events := os.read(watch, 1 << 16):
        if os.path.basename(target).encode() in events:
            put(blind)
            time.sleep(0.1)
            put(own)
"""


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "attack",
    [
        pytest.param(ONCE_READ, id="as soon as somebody has read it"),
        # Every second worker is refused, and the next one waits longer.
        pytest.param(ALWAYS, id="in a loop without a pause", marks=pytest.mark.faults),
    ],
)
def test_workers_start_while_the_model_is_exchanged(make_station, signed, tmp_path, attack):
    """Whoever starts reads the signed model; or the other, which is refused, and tries again."""
    station = make_station(trusting(tmp_path), bundle=signed).start()
    offered: list[bytes] = []
    files = [signed / MODEL, tmp_path / ".exchange", tmp_path / "blind", tmp_path / "own"]
    attacker = subprocess.Popen(
        [sys.executable, "-c", PUT + attack, *map(str, files)], stdout=subprocess.PIPE
    )
    try:
        assert attacker.stdout is not None
        assert attacker.stdout.readline() == b"ready\n"
        for _ in range(4):
            worker_of(station).kill()
            judge_defects(station, offered, 1)
        assert attacker.poll() is None
    finally:
        attacker.kill()
        attacker.communicate()

    hold(station, offered)
