"""Nothing that is asked may hold the doctor up."""

from __future__ import annotations

import threading
import time

import pytest

from edge_agent.doctor.ask import ask_program, within


def test_an_answer(program):
    program("oracle", "echo 42")

    assert ask_program(["oracle"], 10).said == "42"
    assert ask_program(["oracle"], 10).trouble == ""


def test_a_program_that_hangs_is_left(program):
    program("oracle", "exec sleep 60")
    began = time.monotonic()

    assert ask_program(["oracle"], 0.2).trouble == "oracle did not answer within 0.2 s"
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo first >&2; echo no driver >&2; exit 9", "oracle: no driver"),
        ("echo no driver; exit 9", "oracle: no driver"),
        ("exit 9", "oracle: exit code 9"),
    ],
)
def test_a_program_that_fails(program, script, said):
    program("oracle", script)

    assert ask_program(["oracle"], 10).trouble == said


def test_a_program_that_there_is_not(program):
    said = ask_program(["oracle"], 10).trouble

    assert said == "oracle can't be run: No such file or directory"


def test_a_call_that_can_not_be_interrupted_is_left():
    forever = threading.Event()
    with pytest.raises(TimeoutError):
        within(0.05, forever.wait)
    forever.set()


def test_a_call_that_ends():
    assert within(10, lambda: 42) == 42
    with pytest.raises(KeyError):
        within(10, lambda: {}["none"])
