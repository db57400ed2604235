"""What this process may have of the machine, and which limit it is that has none left, in words."""

from __future__ import annotations

import errno
import resource
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_PROC = Path("/proc")
_UNLIMITED = 1 << 60  # how version 1 of control groups says so, less what a page rounds off
NO_MEMORY = "out of memory: give this program, or the machine, more"
_NO_THREAD = "can't start new thread"  # all that Python says; it keeps the error's number back


def shortage(error: BaseException) -> str:
    """Which limit made this error, and how to raise it; empty where it is of another kind."""
    if isinstance(error, MemoryError):
        return NO_MEMORY
    if isinstance(error, RuntimeError):
        return no_process() if _NO_THREAD in str(error) else ""
    if not isinstance(error, OSError):
        return ""
    if error.errno == errno.EAGAIN and not hasattr(error, "characters_written"):  # no full pipe
        return no_process()
    if error.errno == errno.ENOMEM:
        return NO_MEMORY
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return (
            f"{error.strerror}: let this program have more of them "
            "(`ulimit -n`, or LimitNOFILE= of the service); 100 are enough"
        )
    return ""


def no_process(root: Path = _ROOT, proc: Path = _PROC) -> str:
    """Why no process and no thread can be started."""
    what = "no further process or thread can be started"
    group = _Group("pids", root, proc)
    most, now = group.number("pids.max"), group.number("pids.current")
    if most is not None and now is not None and now >= most - 1:
        return (
            f"{what}: the service or container may have {most} "
            "(TasksMax= of the service, --pids-limit of the container)"
        )
    mine, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if mine != resource.RLIM_INFINITY:
        return f"{what}: this user may have {mine} (`ulimit -u`, or LimitNPROC= of the service)"
    return f"{what}: the machine has as many as it can (kernel.threads-max, kernel.pid_max)"


class MemoryGuard:
    """Knows whom the kernel has killed for want of memory, where it counts that."""

    def __init__(self, root: Path = _ROOT, proc: Path = _PROC) -> None:
        """Kills from now on count."""
        self._group = _Group("memory", root, proc)
        self._vmstat = proc / "vmstat"
        self._seen = self._count()

    def killed(self) -> str:
        """Which limit one more process was killed for since the last call; empty if none was."""
        if self._count() <= self._seen:
            return ""
        self._seen += 1
        limit = self._group.number("memory.max", "memory.limit_in_bytes")
        if limit is None or limit >= _UNLIMITED:
            return "the kernel killed it because the machine's memory is full"
        return (
            f"the kernel killed it because the {limit / (1 << 20):.0f} MB that the service or "
            "container may have are full (MemoryMax= of the service, --memory of the container)"
        )

    def _count(self) -> int:
        found = self._group.figure("oom_kill", "memory.events", "memory.oom_control")
        return found if found is not None else (_figure(self._vmstat, "oom_kill") or 0)


class _Group:
    """The control group that this process is in, of either version."""

    def __init__(self, controller: str, root: Path, proc: Path) -> None:
        self._places: list[Path] = []
        for line in _text(proc / "self/cgroup").splitlines():
            _, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if not controllers:  # version 2
                self._places += _upwards(root, path)
            elif controller in controllers.split(","):
                self._places += _upwards(root / controller, path)

    def number(self, *names: str) -> int | None:
        """What the first file that holds a number says, from the group itself upwards."""
        for place in self._places:
            for name in names:
                if (text := _text(place / name).strip()).isdecimal():
                    return int(text[:18])
        return None

    def figure(self, key: str, *names: str) -> int | None:
        """The number beside a key, in the group's own file."""
        for place in self._places:
            for name in names:
                if (found := _figure(place / name, key)) is not None:
                    return found
        return None


def _upwards(root: Path, path: str) -> list[Path]:
    """The group and those around it; a container sees its own group as the root of all."""
    own = root / path.strip("/")
    return [own, *(place for place in own.parents if place.is_relative_to(root))]


def _figure(file: Path, key: str) -> int | None:
    for line in _text(file).splitlines():
        name, _, value = line.partition(" ")
        if name == key and value.isdecimal():
            return int(value[:18])
    return None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
