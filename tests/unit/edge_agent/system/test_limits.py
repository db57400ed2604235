"""Which limit it is: control groups of both versions, and errors of every kind."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from edge_agent.system.limits import MemoryGuard, no_process, shortage

if TYPE_CHECKING:
    from pathlib import Path

V2 = {
    "proc/self/cgroup": "0::/system.slice/edge-agent.service\n",
    "cgroup/system.slice/edge-agent.service/memory.events": "low 0\noom 4\noom_kill 3\n",
    "cgroup/system.slice/edge-agent.service/memory.max": "max\n",
    "cgroup/system.slice/memory.max": f"{512 << 20}\n",
}
V1 = {
    "proc/self/cgroup": "4:memory:/docker/1f\n0::/\n",
    "cgroup/memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
    "cgroup/memory/memory.limit_in_bytes": f"{512 << 20}\n",
}
NONE = {"proc/self/cgroup": "0::/\n", "proc/vmstat": "pgfault 7\noom_kill 3\n"}


def write(home: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(content)


@pytest.mark.parametrize("files", [V2, V1, NONE])
def test_each_kill_is_told_once_and_which_limit_it_was(tmp_path, files):
    write(tmp_path, files)
    guard = MemoryGuard(tmp_path / "cgroup", tmp_path / "proc")
    assert guard.killed() == ""

    write(tmp_path, {n: c.replace("oom_kill 3", "oom_kill 5") for n, c in files.items()})

    said = [guard.killed() for _ in range(3)]
    where = "the machine's memory is full" if files is NONE else "the 512 MB that the service"
    assert [where in one for one in said] == [True, True, False]


def test_where_nothing_is_counted_nobody_was_killed(tmp_path):
    assert MemoryGuard(tmp_path, tmp_path).killed() == ""


def test_what_keeps_processes_from_being_started(tmp_path):
    write(tmp_path, {"proc/self/cgroup": "0::/a\n", "cgroup/a/pids.max": "33\n"})
    write(tmp_path, {"cgroup/a/pids.current": "33\n"})
    assert "may have 33 (TasksMax=" in no_process(tmp_path / "cgroup", tmp_path / "proc")
    write(tmp_path, {"cgroup/a/pids.current": "20\n"})
    assert "may have 33" not in no_process(tmp_path / "cgroup", tmp_path / "proc")


def test_what_an_error_is_short_of():
    assert "process or thread" in shortage(BlockingIOError(errno.EAGAIN, os.strerror(11)))
    assert "process or thread" in shortage(RuntimeError("can't start new thread"))
    assert "memory" in shortage(MemoryError())
    assert "memory" in shortage(OSError(errno.ENOMEM, ""))
    assert "LimitNOFILE=" in shortage(OSError(errno.EMFILE, "Too many open files"))
    assert shortage(BlockingIOError(errno.EAGAIN, "", 0)) == ""  # an output that would block
    assert shortage(RuntimeError("odd")) == ""
    assert shortage(OSError(errno.EIO, "")) == ""
