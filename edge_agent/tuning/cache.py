"""The choice, remembered for as long as bundle, machine, libraries and settings are the same."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.tuning.candidates import Candidate
from edge_agent.tuning.measure import Measured

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_agent.bundle import Bundle
    from edge_agent.runtime.wheels import Wheels
    from edge_agent.settings import RuntimeSettings

_DRIVERS = ("/sys/module/nvidia/version", "/sys/module/intel_vpu/version")


def tuning_key(bundle: Bundle, wheels: Wheels, settings: RuntimeSettings) -> str:
    """A hash over everything that a measurement depends on."""
    parts = [
        bundle.manifest.model_dump_json(),
        settings.model_dump_json(),
        *wheels.fingerprint,
        platform.python_version(),
        platform.release(),
        _processor(),
        f"{cores()} cores",
        *sorted(str(path) for path in _devices()),
        *(_read(Path(file)) for file in _DRIVERS),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def cores() -> int:
    """Cores that this process may use: fewer than the machine's in a container or a CPU set."""
    allowed = len(os.sched_getaffinity(0))
    quota = _read(Path("/sys/fs/cgroup/cpu.max")).split()
    if len(quota) == 2 and quota[0].isdigit():
        return max(1, min(allowed, round(int(quota[0]) / int(quota[1]))))
    return allowed


def remember(file: Path, key: str, measured: Sequence[Measured]) -> None:
    """Write the table down, whole or not at all."""
    content = {"key": key, "candidates": [asdict(one) for one in measured]}
    partial = file.with_name(f".{file.name}.partial")
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    partial.replace(file)


def recall(file: Path, key: str) -> list[Measured] | None:
    """The table that was written for this key; None where there is none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["key"] != key:
            return None
        return [
            Measured(**{**one, "candidate": Candidate(**one["candidate"])})
            for one in content["candidates"]
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _processor() -> str:
    lines = _read(Path("/proc/cpuinfo")).splitlines()
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


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
