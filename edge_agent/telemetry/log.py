"""How the agent speaks on stderr: a console for people, JSON lines for machines."""

from __future__ import annotations

import atexit
import json
import logging
import os
import sys
import time
from typing import Literal

from edge_agent.system.streams import discard_unwritten
from edge_agent.system.text import printable_lines
from edge_agent.telemetry.stderr import QueuedStream

_FLUSH = 2.0  # seconds that the end waits for whoever reads the log
_PRIORITIES = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
    (logging.NOTSET, 7),
)


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Time (UTC), level, logger, message, and the exception where there is one."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line).replace("\x7f", "\\u007f")  # the one that JSON leaves as it is


class ConsoleFormatter(logging.Formatter):
    """``12:00:00 warning message``, a message of several lines indented."""

    def format(self, record: logging.LogRecord) -> str:
        """One record; the message's further lines stay under its first."""
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        message = printable_lines(record.getMessage()).replace("\n", "\n    ")
        text = f"{clock} {record.levelname.lower():7} {message}"
        if not record.exc_info:
            return text
        return f"{text}\n{printable_lines(self.formatException(record.exc_info))}"


class JournalFormatter(logging.Formatter):
    """Another formatter's lines, each with its priority in front, for ``journalctl -p warning``."""

    def __init__(self, lines: logging.Formatter) -> None:
        super().__init__()
        self._lines = lines

    def format(self, record: logging.LogRecord) -> str:
        """One record; the journal takes each line for an entry of its own."""
        return with_priority(self._lines.format(record), record.levelno)


def with_priority(text: str, level: int) -> str:
    """Every line as sd-daemon(3) has it: ``<4>text``. The journal takes the number off again."""
    number = next(number for least, number in _PRIORITIES if level >= least)
    return "\n".join(f"<{number}>{line}" for line in text.splitlines())


def to_the_journal() -> bool:
    """Whether stderr is read by systemd's journal (systemd.exec(5), ``$JOURNAL_STREAM``)."""
    try:
        status = os.fstat(2)
    except OSError:  # closed
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def complain(what: str) -> None:
    """Say on stderr why the program ends."""
    text = f"edge-agent: {printable_lines(what)}"
    lines = with_priority(text, logging.ERROR) if to_the_journal() else text
    if sys.stderr is not None:  # closed
        try:
            sys.stderr.write(f"{lines}\n")
            sys.stderr.flush()
        except OSError:  # nobody is left to be told
            discard_unwritten()


def set_up_logging(level: str, form: Literal["console", "json"]) -> None:
    """Send everything to stderr, in one format; nobody waits for it to be read from now on.

    Raises:
        RuntimeError: there is no thread to be had.
    """
    lines: logging.Formatter = JsonFormatter() if form == "json" else ConsoleFormatter()
    if to_the_journal():
        lines = JournalFormatter(lines)

    def lost(count: int) -> str:
        text = f"{count} lines were not written: the reader of stderr had stalled"
        told = {"name": __name__, "levelno": logging.WARNING, "levelname": "WARNING", "msg": text}
        return f"{lines.format(logging.makeLogRecord(told))}\n"

    # Also of what is no log line: a traceback, or a complaint at the end.
    queued = QueuedStream(2, lost, encoding=sys.stderr.encoding)
    sys.stderr = queued
    atexit.register(queued.finish, _FLUSH)
    stream = logging.StreamHandler(queued)
    stream.setFormatter(lines)
    logging.basicConfig(level=level.upper(), handlers=[stream], force=True)
    logging.getLogger("watchdog").setLevel(logging.WARNING)
    # It calls an event that comes while a folder is let go of an error.
    logging.getLogger("watchdog.observers.inotify").setLevel(logging.CRITICAL)


def log_trouble() -> str:
    """Why lines of the log are not written; empty while they are."""
    return sys.stderr.trouble if isinstance(sys.stderr, QueuedStream) else ""
