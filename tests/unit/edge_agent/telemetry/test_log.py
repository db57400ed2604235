"""The log's lines, at a terminal and in systemd's journal."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

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
