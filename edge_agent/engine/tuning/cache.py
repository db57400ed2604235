"""The choice, remembered for as long as bundle, machine, libraries and settings are the same."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from edge_agent import __version__
from edge_agent.engine.tuning.measure import Measured  # noqa: TC001  pydantic reads it at run time

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from edge_agent.bundle import Bundle
    from edge_agent.engine.runtime.wheels import Wheels
    from edge_agent.settings import RuntimeSettings

log = logging.getLogger(__name__)

_DRIVERS = ("/sys/module/nvidia/version", "/sys/module/intel_vpu/version")
# Of cgroups, version 2 and 1, as a container sees its own.
MEMORY = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_NO_LIMIT = 1 << 60  # how version 1 says so, less what a page rounds off
_WORKER = 128 << 20  # bytes, with a decoded image: docs/sizing.md


@dataclass(frozen=True)
class _Table:
    key: str
    candidates: tuple[Measured, ...]


_tables = TypeAdapter(_Table)


def tuning_key(bundle: Bundle, wheels: Wheels, settings: RuntimeSettings) -> str:
    """A hash over everything that a measurement depends on."""
    parts = [
        __version__,
        bundle.manifest.model_dump_json(),
        settings.model_dump_json(),
        *wheels.fingerprint,
        platform.python_version(),
        platform.release(),
        _processor(),
        f"{cores()} cores, room for {workers_that_fit()} workers",
        *sorted(str(path) for path in _devices()),
        *(read_text(Path(file)) for file in _DRIVERS),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def cores() -> int:
    """Cores that this process may use: fewer than the machine's in a container or a CPU set."""
    allowed = len(os.sched_getaffinity(0))
    quota = read_text(Path("/sys/fs/cgroup/cpu.max")).split()
    if len(quota) == 2 and quota[0].isdigit():
        return max(1, min(allowed, round(int(quota[0]) / int(quota[1]))))
    return allowed


def workers_that_fit() -> int | None:
    """How many workers a container's memory holds, beside the agent and a proof; None: no limit.

    Not measured: where one worker too many is started, the kernel may end all of the container.
    """
    for file in MEMORY:
        limit = read_text(Path(file)).strip()
        if limit.isdecimal() and int(limit) < _NO_LIMIT:
            return max(1, int(limit) // _WORKER - 1)
    return None


def remember(file: Path, key: str, measured: Sequence[Measured]) -> None:
    """Write the table down, whole or not at all."""
    content = _tables.dump_json(_Table(key, tuple(measured)), indent=1)
    partial = file.with_name(f".{file.name}.partial")
    try:
        partial.write_bytes(content + b"\n")
        partial.replace(file)
    except OSError as error:
        log.warning("%s can't be kept (%s): the next start measures again", file, error.strerror)


def recall(file: Path, key: str) -> list[Measured] | None:
    """The table that was written for this key; None where there is none, or a damaged one."""
    try:
        table = _tables.validate_json(file.read_bytes(), strict=True)
    except (OSError, ValueError):
        return None
    return list(table.candidates) if table.key == key else None


def clear(directory: Path, keep: Collection[str] = ()) -> None:
    """Remove what is cached and what killed workers left; all of it can be made again.

    Args:
        directory: the table, compiled models by their SHA-256, and what is needed for a moment.
        keep: names that stay.
    """
    with contextlib.suppress(OSError):
        for entry in directory.iterdir():
            if entry.name in keep:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)


def _processor() -> str:
    lines = read_text(Path("/proc/cpuinfo")).splitlines()
    wanted = ("model name", "flags", "Features", "CPU part")
    first = {line.split(":")[0].strip(): line for line in reversed(lines)}
    return "\n".join(first[name] for name in wanted if name in first)


def _devices() -> list[Path]:
    found: list[Path] = []
    for place, pattern in (("/dev/accel", "accel*"), ("/dev/dri", "renderD*"), ("/dev", "nvidia?")):
        folder = Path(place)
        if folder.is_dir():
            found.extend(folder.glob(pattern))
    return found


def read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
