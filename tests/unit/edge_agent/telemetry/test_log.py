"""The log's lines, at a terminal and in systemd's journal."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow

SCRIPT = """
import logging
from edge_agent.telemetry.log import complain, set_up_logging
set_up_logging("debug", "FORM")
log = logging.getLogger("edge_agent")
log.debug("looks")
log.info("runs")
log.warning("the broker\\nis away")
log.error("the disk is full")
complain("no bundle\\nthere")
"""


def said(form: str, stream: str | None) -> list[str]:
    """On a pipe that is the journal's, if its numbers are ``stream``."""
    reading, writing = os.pipe()
    status = os.fstat(writing)
    own = f"{status.st_dev}:{status.st_ino}"
    environment = {k: v for k, v in os.environ.items() if k != "JOURNAL_STREAM"}
    if stream is not None:
        environment["JOURNAL_STREAM"] = stream.replace("own", own)
    subprocess.run(
        [sys.executable, "-c", SCRIPT.replace("FORM", form)],
        stderr=writing,
        env=environment,
        check=True,
    )
    os.close(writing)
    with os.fdopen(reading) as lines:
        return lines.read().splitlines()


def test_every_line_has_its_priority_in_the_journal() -> None:
    lines = said("console", "own")

    assert [line[:3] for line in lines] == ["<7>", "<6>", "<4>", "<4>", "<3>", "<3>", "<3>"]
    assert lines[3] == "<4>    is away"
    assert lines[5:] == ["<3>edge-agent: no bundle", "<3>there"]
    assert [line[:4] for line in said("json", "own")[:2]] == ["<7>{", "<6>{"]


@pytest.mark.parametrize("stream", [None, "1:2", ""])
def test_nobody_else_sees_them(stream: str | None) -> None:
    """A file that a service's stderr was sent to, or a program that inherited the variable."""
    lines = said("console", stream)

    assert not [line for line in lines if line.startswith("<")]
    assert lines[-2:] == ["edge-agent: no bundle", "there"]


def test_a_closed_stderr_is_no_journal() -> None:
    code = "from edge_agent.telemetry.log import complain; complain('no bundle')"
    closed = subprocess.run(
        ["sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, code], check=False
    )
    assert closed.returncode == 0


# -- a reader that does not read ---------------------------------------------------------------

START = "import os, sys, time, logging\nfrom edge_agent.telemetry.log import *\n"
FLOOD = "for n in range(2000): logging.info('%d %s', n, 'x' * 60)\n"


@pytest.fixture
def run() -> Iterator[Callable[[str, int], subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(code: str, writing: int) -> subprocess.Popen[bytes]:
        script = START + "set_up_logging('debug', 'console')\n" + code
        started.append(subprocess.Popen([sys.executable, "-c", script], stderr=writing))
        os.close(writing)
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_an_end_waits_for_what_is_being_read(run):
    reading, writing = os.pipe()
    process = run(FLOOD + "raise ValueError('odd \\x1b[31m')\n", writing)

    with os.fdopen(reading) as lines:
        said = lines.read().splitlines()

    assert process.wait(60) == 1
    assert sum("xxx" in line for line in said) == 2000
    assert said[2000] == "Traceback (most recent call last):"
    assert said[-1].startswith("ValueError: odd")


@pytest.mark.parametrize("end", ["", "raise ValueError", "complain('no bundle')"])
def test_an_end_does_not_wait_for_a_reader_that_stands_still(run, end):
    reading, writing = os.pipe()
    process = run(FLOOD + end, writing)

    assert process.wait(60) == (1 if "raise" in end else 0)
    os.close(reading)


def test_a_pipe_that_another_program_lets_not_block_loses_no_line(run):
    reading, writing = os.pipe2(os.O_NONBLOCK)
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    process = run(FLOOD, writing)
    os.set_blocking(reading, True)

    with os.fdopen(reading) as lines:
        said = lines.read().splitlines()

    assert process.wait(60) == 0
    assert [line.split()[2] for line in said] == [str(n) for n in range(2000)]


def test_a_full_disk_loses_no_line_either(tmp_path):
    """Not of those that there is room for until it is freed."""
    script = START + (
        "import resource\n"
        "set_up_logging('debug', 'console')\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, -1))\n"
        "for n in range(100): logging.info('%d', n)\n"
        "while not (told := log_trouble()): time.sleep(0.01)\n"
        "print(told)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))\n"
        "while log_trouble(): time.sleep(0.01)\n"
    )
    with (tmp_path / "log").open("wb") as stream:
        done = subprocess.run(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=stream, text=True,
            check=True, timeout=60,
        )  # fmt: skip

    assert done.stdout == "stderr can't be written: File too large\n"
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line.split()[2] for line in lines] == [str(n) for n in range(100)]


def test_nothing_in_a_message_steers_a_terminal(run):
    reading, writing = os.pipe()
    process = run(
        "logging.info('a\\x1b]0;title\\x07 \\x9b31m \\r b\\u202e\\nnext')\n"
        "logging.error('x', exc_info=ValueError('y\\x1b[2J'))\n"
        "complain('z\\x1b[2J')\n",
        writing,
    )

    with os.fdopen(reading, newline="") as lines:
        said = lines.read()

    assert process.wait(60) == 0
    assert all(c == "\n" or c.isprintable() for c in said)
    assert "\n    next\n" in said
