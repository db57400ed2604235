"""Something done in a process of its own: a driver that crashes takes nothing else along."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from multiprocessing import get_context, parent_process, resource_tracker
from threading import Thread
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

Given = ParamSpec("Given")
Found = TypeVar("Found")


def apart(do: Callable[Given, Found], *given: Given.args, **named: Given.kwargs) -> Found | str:
    """Call ``do`` in a new process, which starts without what this one has loaded.

    It ends with the call, also where that is interrupted, and with this process, however that ends.

    Args:
        do: a function of a module; what it takes and gives is pickled.
        given: its arguments.
        named: its arguments by name.

    Returns:
        What it gives, which is no text; or a text: why there is none.
    """
    context = get_context("spawn")
    ours, its = context.Pipe()
    process = context.Process(target=_do, args=(its,))
    with _deaf_to_ctrl_c():
        process.start()
    its.close()
    try:
        # Not among the process' arguments: of more than a pipe holds, to one that has died, `start`
        # would wait for ever.
        ours.send((do, given, named))
        found: Found | str = ours.recv()
    except (EOFError, ConnectionError):
        return "its process died"
    finally:
        process.kill()
        process.join()
        ours.close()
    return found


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """For what is started here: Ctrl-C goes to all of a terminal, and the parent speaks for both.

    The parent itself hears it afterwards.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # when it starts, it makes this process hear again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _do(parent: Connection) -> None:
    Thread(target=_end_with_parent, daemon=True).start()
    try:
        do, given, named = parent.recv()
        found = do(*given, **named)
    except Exception as error:  # of any library: what else there is is still worth having
        text = str(error).strip()
        found = text.splitlines()[0] if text else type(error).__name__
    parent.send(found)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None  # noqa: S101  this is a child
    parent.join()
    os._exit(1)
