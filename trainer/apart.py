"""Something done in a process of its own: a driver that crashes takes nothing else along."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Given = ParamSpec("Given")
Found = TypeVar("Found")


def apart(do: Callable[Given, Found], *given: Given.args, **named: Given.kwargs) -> Found | str:
    """Call ``do`` in a new process, which starts without what this one has loaded.

    Args:
        do: a function of a module; what it takes and gives is pickled.
        given: its arguments.
        named: its arguments by name.

    Returns:
        What it gives, which is no text; or a text: why there is none.
    """
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            return process.submit(do, *given, **named).result()
    except BrokenProcessPool:
        return "its process died"
    except Exception as error:  # of any library: what else there is is still worth having
        text = str(error).strip()
        return text.splitlines()[0] if text else type(error).__name__
