"""The standard streams and the locale as a program finds them, made fit for it."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import TextIO

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def insist_on_utf8() -> None:
    """Begin anew in Python's UTF-8 mode where the locale's encoding is another one.

    A file's name can hold anything, and an ASCII locale can't so much as open what the settings
    name ``Prüfung``. The children are told too: they are given paths.
    """
    if sys.flags.utf8_mode or sys.getfilesystemencoding() == "utf-8":
        return
    os.environ["PYTHONUTF8"] = "1"
    arguments = [sys.executable, "-X", "utf8", *sys.orig_argv[1:]]
    os.execv(sys.executable, arguments)  # noqa: S606  ourselves


def open_streams() -> None:
    """What was closed leads nowhere; what a stream's encoding lacks is escaped.

    A number that is left free goes to the next file that is opened: stderr's lines would then be
    written into the journal's database.
    """
    for number, (name, mode) in enumerate(_STREAMS):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def discard_unwritten() -> None:
    """Let go of what a stream holds and can't write: at the very end it would fail once more."""
    _discard(sys.stdout)
    _discard(sys.stderr)


def _discard(stream: TextIO) -> None:
    try:
        stream.flush()
    except OSError:
        with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())
