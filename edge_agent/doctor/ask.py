"""Questions to other programs and to the system, none of which may hold the doctor up."""

from __future__ import annotations

import subprocess
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from edge_agent.system.text import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """What a program said."""

    said: str
    """Standard output, stripped."""
    trouble: str
    """Why the answer is worth nothing; empty when it is good."""


def ask_program(command: Sequence[str], seconds: float) -> Answer:
    """Run a program to its end, for ``seconds`` at most."""
    try:
        done = subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Answer("", f"{command[0]} did not answer within {seconds:g} s")
    except OSError as error:
        return Answer("", f"{command[0]} can't be run: {error.strerror}")
    said = done.stdout.strip()
    if done.returncode != 0:
        lines = (done.stderr.strip() or said).splitlines()
        last = plain(lines[-1]) if lines else f"exit code {done.returncode}"
        return Answer(said, f"{command[0]}: {last}")
    return Answer(said, "")


def within(seconds: float, call: Callable[[], T]) -> T:
    """The result of a call that can't be interrupted, such as a name server's answer.

    Raises:
        TimeoutError: it is left behind, in a daemon thread.
        Exception: what the call raised.
    """
    results: list[T] = []
    errors: list[Exception] = []

    def work() -> None:
        try:
            results.append(call())
        except Exception as error:  # handed over to who waits
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError
    return results[0]
