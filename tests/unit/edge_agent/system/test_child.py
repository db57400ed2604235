"""Children run no files that lie about where the daemon was started, and none outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edge_agent.doctor.environment import look_at_environment
from edge_agent.engine.runtime.inventory import take_inventory
from edge_agent.engine.worker.verify import prove_apart, verify_apart
from edge_agent.system.child import SAFELY, bound_module, python_module
from tests.bundles import make_bundle
from tests.line import Station, wait_for

pytestmark = pytest.mark.slow

STRAY = "import os\nos.mkdir('ran')\nraise SystemExit('not the module that was meant')\n"
NAMES = ("json", "socket", "runpy", "numpy", "pydantic", "onnxruntime", "edge_agent")


@pytest.fixture
def littered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with modules in it that bear the names of others."""
    directory = tmp_path / "littered"
    directory.mkdir()
    for name in NAMES:
        (directory / f"{name}.py").write_text(STRAY)
    monkeypatch.chdir(directory)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[4]))
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    return directory


def test_python_itself_would_run_them(littered):
    command = [sys.executable, "-m", "edge_agent.engine.runtime.inventory"]
    done = subprocess.run(command, capture_output=True, check=False)

    assert done.returncode != 0
    assert (littered / "ran").exists()


def test_no_child_runs_them(littered, tmp_path):
    bundle = make_bundle(tmp_path / "bundle").path

    assert verify_apart(bundle).path == bundle
    assert prove_apart(verify_apart(bundle), "fp32", "cpu").provider == "cpu"
    assert take_inventory().providers
    assert [finding.level for finding in look_at_environment()] == ["ok", "ok"]
    assert not (littered / "ran").exists()


@pytest.mark.slow
def test_no_child_of_a_daemon_that_was_started_there_runs_them(littered, tmp_path):
    bundle = make_bundle(tmp_path / "bundle").path
    station = Station(tmp_path / "station", bundle, "")
    script = tmp_path / "edge-agent"  # as an installation makes it
    script.write_text("from edge_agent.__main__ import main\nmain()\n")
    with (station.home / "agent.log").open("wb") as log:
        command = [sys.executable, str(script), "run", "--config", str(station.config)]
        station.daemon = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        station.drop("words.png", b"words")
        station.drop("part.png", next(iter(bundle.glob("golden/*.png"))).read_bytes())
        wait_for(lambda: "ready: " in station.log or station.daemon.poll() is not None)
        assert station.daemon.poll() is None, station.log
        wait_for(lambda: len(station.rows()) == 2 or station.daemon.poll() is not None)
        assert {row["verdict"] != "error" for row in station.rows()} == {True, False}, station.log
        assert station.stop() == 0
    finally:
        station.kill()
    assert not (littered / "ran").exists()


def test_arguments_arrive_as_behind_m(tmp_path, monkeypatch):
    (tmp_path / "shown.py").write_text("import sys\nprint(__name__, sys.argv, '' in sys.path)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = subprocess.run(
        python_module("shown", "a b", "-m", ""), capture_output=True, text=True, check=True
    )

    assert done.stdout.split(maxsplit=1)[0] == "__main__"
    assert f"{[str(tmp_path / 'shown.py'), 'a b', '-m', '']} False" in done.stdout


@pytest.mark.parametrize("safe", ["", "1"])
def test_nothing_else_is_taken_off_the_path(monkeypatch, safe):
    monkeypatch.setenv("PYTHONSAFEPATH", safe)
    code = "import sys; print([p for p in sys.path if p])"
    path = [subprocess.check_output([sys.executable, "-c", begin + code]) for begin in ("", SAFELY)]

    assert path[0] == path[1]


def test_what_hangs_is_gone_with_the_thread_that_started_it(tmp_path, monkeypatch):
    (tmp_path / "hanging.py").write_text("import os, time\nos.mkdir('ran')\ntime.sleep(600)")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parents[4]}")
    monkeypatch.chdir(tmp_path)
    started: list[subprocess.Popen[bytes]] = []

    def begin() -> None:
        started.append(subprocess.Popen(bound_module("hanging")))
        wait_for((tmp_path / "ran").exists)

    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()

    assert started[0].wait(60) == -signal.SIGKILL


def test_what_comes_up_when_its_parent_is_gone_does_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[4]))
    command = bound_module("edge_agent.engine.runtime.inventory")
    command[command.index(str(os.getpid()))] = "0"  # nobody is left whose child it is

    done = subprocess.run(command, capture_output=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
