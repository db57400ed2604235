"""How much time has passed for this machine, whatever its wall clock is set to.

The wall clock may be years off and be set at any moment. What a station has judged is as old as
the time that it has seen pass since: by the kernel's count while the machine runs, and by the wall
clock only for a pause in which the machine was off. Where the two differ, the shorter time counts,
so that nothing is ever taken for older than it is.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

LONGEST_PAUSE = 7 * 86_400.0
"""Seconds that the machine may have been off. A longer pause is taken for a clock that was set,
and does not count at all."""
_STEP = 60.0  # seconds: a smaller step makes nothing noticeably older
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Moment:
    """One look at the clocks, in seconds."""

    own: float
    """On the station's own clock, which began with what the wall clock said then."""
    wall: float
    """Since the epoch, as the machine has it."""
    uptime: float
    """Since the machine was started, sleep included."""
    boot: str
    """Which start of the machine that was."""


def look(last: Moment | None, wall: float, uptime: float, boot: str) -> tuple[Moment, float]:
    """The own clock after ``last``, and by how much the wall clock was set since; 0: not at all."""
    if last is None:
        return Moment(wall, wall, uptime, boot), 0.0
    passed = wall - last.wall
    if boot == last.boot and uptime >= last.uptime:
        ran = uptime - last.uptime
        step = passed - ran
        passed = min(passed, ran)
    else:
        step = passed if passed > LONGEST_PAUSE else min(passed, 0.0)
        passed = 0.0 if passed > LONGEST_PAUSE else passed
    own = last.own + max(0.0, passed)
    return Moment(own, wall, uptime, boot), step if abs(step) > _STEP else 0.0


def uptime() -> float:
    """Seconds since the machine was started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot() -> str:
    """Which start of the machine this is; empty where the kernel does not say."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return ""
