"""Whether this machine knows what time it is."""

from __future__ import annotations

import ctypes
import time
from dataclasses import dataclass

from edge_agent.doctor.finding import Finding
from edge_agent.system.text import iso_utc

TOPIC = "clock"
_FIRST, _LAST = 1_767_225_600.0, 4_102_444_800.0  # 2026 and 2100: no agent ran before
_WORST = 16_000_000  # microseconds: from where on the kernel's clock counts as not kept


class _Timex(ctypes.Structure):
    """The head of ``struct timex`` (adjtimex(2)), and room for its tail."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("tail", ctypes.c_byte * 512),
    )


@dataclass(frozen=True)
class Kept:
    """What the kernel says of its clock."""

    error: float
    """Its own bound on the error, in seconds."""

    @property
    def synchronised(self) -> bool:
        """As systemd counts it: not all time daemons clear the kernel's flag."""
        return self.error < _WORST / 1e6


def look_at_clock() -> list[Finding]:
    """The year, and whether something keeps the clock."""
    return [judge_time(time.time()), judge_keeping(ask_kernel())]


def ask_kernel() -> Kept | None:
    """What adjtimex(2) says; None where this process may not ask."""
    timex = _Timex()  # modes = 0: only asking
    libc = ctypes.CDLL(None, use_errno=True)
    return None if libc.adjtimex(ctypes.byref(timex)) < 0 else Kept(timex.maxerror / 1e6)


def judge_time(now: float) -> Finding:
    """No certificate is valid, and no time in the journal true, with a clock in another age."""
    what = f"it is {iso_utc(now)}"
    if _FIRST <= now < _LAST:
        return Finding(TOPIC, "ok", what)
    mend = "set the clock (timedatectl set-time), change the machine's battery, and use NTP"
    return Finding(TOPIC, "error", f"{what}: that is impossible", mend)


def judge_keeping(kept: Kept | None) -> Finding:
    """Times and the certificates of a broker hang on it; the order of verdicts does not."""
    mend = "sudo timedatectl set-ntp true; on a line without internet, name the plant's NTP server"
    if kept is None:
        mend = "nothing in a container: the host sets the clock. Elsewhere: timedatectl status"
        return Finding(TOPIC, "warning", "the kernel does not report whether NTP is active", mend)
    if not kept.synchronised:
        return Finding(TOPIC, "warning", "no time synchronisation is active", mend)
    return Finding(TOPIC, "ok", f"synchronised, off by {kept.error:.3f} s at most")
