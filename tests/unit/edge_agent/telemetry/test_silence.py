"""No image where some are expected: told after the time that was set, over with the next."""

from __future__ import annotations

import logging

import pytest

from edge_agent.telemetry.silence import Silence
from tests.fakes import Clock


class Line:
    """A station's clock, its last inspection and its pause."""

    def __init__(self, every: float) -> None:
        self.clock = Clock(1000.0)
        self.last: float | None = None
        self.paused = False
        self.silence = Silence(every, lambda: self.last, lambda: self.paused, self.clock)

    def after(self, seconds: float, *, image: bool = False) -> str:
        """What is said when so much time has passed, an image at its end or not."""
        for _ in range(int(seconds)):
            self.clock.now += 1.0
            self.silence.look()
        if image:
            self.last = self.clock.now
            self.silence.look()
        return self.silence.text


@pytest.fixture
def line():
    return Line(60.0)


def test_it_counts_from_the_start_on_and_is_over_with_the_next_image(line, caplog):
    caplog.set_level(logging.INFO)
    assert line.after(60) == ""
    said = line.after(1)
    assert said.startswith("no image was judged for more than 60 s ([source] expect_every): look")
    assert line.after(600) == said  # the same words: what is retained does not change every second
    assert line.after(0, image=True) == ""
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]


def test_images_that_come_in_time_are_no_silence(line):
    for _ in range(5):
        assert line.after(59, image=True) == ""


def test_what_is_paused_does_not_count_and_the_end_of_it_begins_anew(line):
    line.after(50, image=True)
    line.paused = True
    assert line.after(600) == ""
    line.paused = False
    assert line.after(60) == ""
    assert line.after(1) != ""
    line.paused = True  # who pauses it then has heard of it
    assert line.after(1) == ""


def test_nothing_is_expected_unless_it_is_set():
    assert Line(0.0).after(100_000) == ""
