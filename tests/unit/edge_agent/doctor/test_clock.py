"""What time it is, and who says so."""

from __future__ import annotations

import pytest

from edge_agent.doctor.clock import Kept, ask_kernel, judge_keeping, judge_time, look_at_clock


@pytest.mark.parametrize("now", [0.0, 1_600_000_000.0, 5_000_000_000.0, -1e30])
def test_another_age(now):
    found = judge_time(now)

    assert found.level == "error"
    assert found.what.endswith("that is impossible")


def test_now_is_no_other_age():
    assert look_at_clock()[0].level == "ok"


def test_the_kernel_is_asked():
    kept = ask_kernel()

    assert kept is None or 0.0 <= kept.error < 1e6


def test_who_keeps_it():
    assert judge_keeping(Kept(0.02)).what == "synchronised, off by 0.020 s at most"
    assert judge_keeping(Kept(16.0)).level == "warning"
    assert "timedatectl set-ntp true" in judge_keeping(Kept(16.0)).mend
    assert judge_keeping(None).level == "warning"
