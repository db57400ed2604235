"""How far a run is: bars with an ETA on a terminal, a line now and then elsewhere; on stderr."""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EVERY = 10.0  # seconds between plain lines


@contextmanager
def progress(text: str, total: int, *, passing: bool = False) -> Iterator[Callable[[str], None]]:
    """Show one step of a run; call what it yields after each of ``total`` parts, with a remark.

    Of one in ``passing`` nothing stays behind: whether it went well is told by what comes next.
    """
    shown = _bar if sys.stderr.isatty() else _lines
    if os.environ.get("RANK", "0") != "0":
        shown = _nothing  # under torchrun the first process speaks for all
    with shown(text, total, passing=passing) as advance:
        yield advance


@contextmanager
def transfer(text: str) -> Iterator[Callable[[int, int], None]]:
    """Show a download; call what it yields with the bytes that are here, and all (0: unknown)."""
    if sys.stderr.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
        speed = (TransferSpeedColumn(), TimeRemainingColumn())
        with Progress(*columns, *speed, console=Console(stderr=True)) as bars:
            task = bars.add_task(text, total=None)
            yield lambda have, total: bars.update(task, completed=have, total=total or None)
        return
    said = time.monotonic()

    def advance(have: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said >= EVERY:
            said = time.monotonic()
            of = f" of {total / 1e6:.0f}" if total else ""
            _say(f"{text}: {have / 1e6:.0f}{of} MB")

    yield advance


@contextmanager
def _nothing(text: str, total: int, *, passing: bool) -> Iterator[Callable[[str], None]]:  # noqa: ARG001
    yield lambda _: None


@contextmanager
def _bar(text: str, total: int, *, passing: bool) -> Iterator[Callable[[str], None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[remark]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=passing) as bars:
        task = bars.add_task(text, total=total, remark="")
        yield lambda remark: bars.update(task, advance=1, remark=remark)


@contextmanager
def _lines(text: str, total: int, *, passing: bool) -> Iterator[Callable[[str], None]]:
    started = said = time.monotonic()
    done = 0

    def advance(remark: str) -> None:
        nonlocal said, done
        done += 1
        now = time.monotonic()
        if done < total and now - said >= EVERY:
            said = now
            left = (now - started) / done * (total - done)
            _say(f"{text}: {done}/{total}, about {left:.0f} s left {remark}".rstrip())

    yield advance
    if not passing:
        _say(f"{text}: {done}/{total} in {time.monotonic() - started:.1f} s")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201  this is what the module is for
