"""What can't be judged yet takes no room, is looked at ever less often, and is never forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.line.waiting import Waiting
from edge_agent.types import Claim

FOREVER = float("inf")


class Line:
    """Frames whose files only the test changes, and a clock that only the test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.files: dict[str, tuple[int, int] | None] = {}
        self.looks = 0
        self.waiting = Waiting(self.signature, lambda: self.now)

    def signature(self, claim: Claim) -> tuple[int, int] | None:
        self.looks += 1
        return self.files[claim.id]

    def add(self, frame: str, until_quiet: float, why: str = "is not whole yet") -> bool:
        claim = Claim(frame, f"{frame}.png", Path(frame), 0.0, 0.0, 0.0)
        signature = self.files.setdefault(frame, (1, 1))
        return self.waiting.add(claim, why, signature or (0, 0), until_quiet)

    def turn(self, seconds: float, *, idle: bool = True, grow: str = "") -> list[str]:
        """The frames that are worth reading again meanwhile."""
        taken = []
        for _ in range(round(seconds / 0.05)):
            self.now += 0.05
            if grow:
                size, changed = self.files[grow] or (0, 0)
                self.files[grow] = (size + 1, changed + 1)
            self.waiting.look()
            while claim := self.waiting.take(idle=idle):
                taken.append(claim.id)
        return taken


@pytest.fixture
def line() -> Line:
    return Line()


def test_half_a_file_that_stays_half_is_read_once_more_and_no_longer_waited_for(line):
    assert line.add("half", 5.0)
    assert line.turn(4.8) == []
    assert line.turn(0.5) == ["half"]

    assert not line.add("half", 5.0)
    assert len(line.waiting) == 0


def test_it_is_read_soon_after_its_rest_has_come(line):
    line.add("half", 30.0)
    line.turn(1.5)
    line.files["half"] = (2, 2)

    assert line.turn(1.5) == ["half"]
    assert line.turn(5.0) == []  # it is the loop's now


def test_without_patience_it_is_not_waited_for(line):
    assert not line.add("half", 0.0)


def test_a_file_that_grows_without_end_is_looked_at_ever_less_often_and_never_read(line):
    line.add("growing", 2.0)

    assert line.turn(600.0, grow="growing") == []

    assert line.looks < 100
    assert line.waiting.named() == {"growing.png": "is not whole yet"}
    assert line.turn(15.0) == ["growing"]


def test_a_thousand_that_grow_cost_few_looks(line):
    for number in range(1000):
        line.add(str(number), 2.0)
        line.files[str(number)] = (2, 2)
    for _ in range(600):
        line.turn(0.1)
        for number in range(1000):
            size, changed = line.files[str(number)] or (0, 0)
            line.files[str(number)] = (size + 1, changed + 1)

    assert line.looks < 30 * 1000


def test_what_can_not_be_read_is_read_again_with_growing_pauses(line):
    line.files["stale"] = (5, 5)
    claim = Claim("stale", "stale.png", Path("stale"), 0.0, 0.0, 0.0)
    read = 0
    line.waiting.add(claim, "can not be read", (0, 0), FOREVER)
    for _ in range(600):
        for _ in line.turn(0.5):
            read += 1
            line.waiting.add(claim, "can not be read", (0, 0), FOREVER)

    assert 15 < read < 60


def test_what_was_never_read_has_not_changed(line):
    """A copy that can't be read now is read again, and not given up for another version."""
    line.files["stale"], line.files["half"] = (5, 5), (5, 5)
    stale, half = (Claim(n, n, Path(n), 0.0, 0.0, 0.0) for n in ("stale", "half"))
    line.waiting.add(stale, "can not be read", (0, 0), FOREVER)
    line.waiting.add(half, "is not whole yet", (4, 4), 30.0)

    assert set(line.turn(2.0)) == {"stale", "half"}
    assert not line.waiting.changed(stale)
    assert line.waiting.changed(half)


def test_what_is_away_is_waited_for(line):
    line.add("away", FOREVER)
    line.files["away"] = None
    assert line.turn(100.0) == []

    line.files["away"] = (2, 2)
    assert line.turn(25.0) == ["away"]


def test_it_stands_behind_what_is_new_and_starves_not(line):
    for number in range(10):
        line.add(str(number), 0.5)

    assert line.turn(0.9, idle=False) == []
    assert 4 <= len(line.turn(6.0, idle=False)) <= 7
    assert len(line.turn(0.1)) >= 3


def test_what_is_dropped_is_gone(line):
    line.add("a", 0.5)
    line.waiting.drop(Claim("a", "a.png", Path("a"), 0.0, 0.0, 0.0))

    assert line.turn(20.0) == []
    assert line.waiting.due(idle=True) == FOREVER
