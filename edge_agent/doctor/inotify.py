"""How near this user is to the kernel's limits for watching folders."""

from __future__ import annotations

import os
from pathlib import Path

from edge_agent.doctor.finding import Finding

TOPIC = "inotify"
_NEAR = 0.9
_LIMITS = {"max_user_instances": 512, "max_user_watches": 524_288}  # what to raise them to


def look_at_inotify(proc: Path = Path("/proc")) -> list[Finding]:
    """Instances and watches of this user's processes, beside the limits."""
    used = dict(zip(_LIMITS, count_inotify(proc, os.geteuid()), strict=True))
    found = []
    for name, better in _LIMITS.items():
        try:
            limit = int((proc / "sys/fs/inotify" / name).read_text(encoding="ascii"))
        except (OSError, ValueError):
            mend = "nothing, if the kernel has no inotify: the folder is then only scanned"
            found.append(Finding(TOPIC, "warning", f"{name} can't be read", mend))
            continue
        what = f"{used[name]} of {limit} {name.removeprefix('max_user_')} in use by this user"
        if used[name] >= limit * _NEAR:
            setting = f"fs.inotify.{name}={max(better, 2 * limit)}"
            mend = (
                f"sudo sysctl {setting}, and the same line in /etc/sysctl.d/60-edge-agent.conf; "
                "without events the folder is only scanned"
            )
            found.append(Finding(TOPIC, "warning", what, mend))
        else:
            found.append(Finding(TOPIC, "ok", what))
    return found


def count_inotify(proc: Path, user: int) -> tuple[int, int]:
    """Instances and watches of a user's processes, as far as they may be looked at."""
    instances = watches = 0
    for process in proc.iterdir():
        if not process.name.isdigit():
            continue
        try:
            if process.stat().st_uid != user:
                continue
            for descriptor in (process / "fd").iterdir():
                if str(descriptor.readlink()) == "anon_inode:inotify":
                    instances += 1
                    info = (process / "fdinfo" / descriptor.name).read_text(errors="replace")
                    watches += info.count("inotify wd:")
        except OSError:
            continue  # it has ended, or is not ours to look at
    return instances, watches
