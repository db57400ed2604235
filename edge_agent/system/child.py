"""Python processes of our own, whatever lies in the directory that the daemon was started in.

``python -m`` and ``python -c`` put the current directory before the standard library: a ``json.py``
beside the images would be run by the next worker. ``PYTHONSAFEPATH`` is known from Python 3.11 on.
"""

from __future__ import annotations

import os
import sys

SAFELY = "import sys; sys.path[:1] == [''] and sys.path.pop(0); "
"""What code behind ``python -c`` begins with, so that it imports nothing from there."""

_PR_SET_PDEATHSIG, _SIGKILL = 1, 9
# A parent that was gone before can't be waited for any more.
_BOUND = (
    f"import ctypes, os; ctypes.CDLL(None).prctl({_PR_SET_PDEATHSIG}, {_SIGKILL}); "
    "os.getppid() == int(sys.argv.pop(1)) or os._exit(0); "
)
_RUN = (
    "del sys.argv[0]; import runpy; "
    "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
)


def python_module(module: str, *arguments: str) -> list[str]:
    """The command line of ``python -m MODULE ARGUMENTS`` without the current directory."""
    return [sys.executable, "-c", SAFELY + _RUN, module, *arguments]


def bound_module(module: str, *arguments: str) -> list[str]:
    """The same, of a process that is killed when the thread that started it ends, however it does.

    What a model or a driver keeps hanging would otherwise outlive the daemon, and nobody would end
    it.
    """
    parent = str(os.getpid())
    return [sys.executable, "-c", SAFELY + _BOUND + _RUN, parent, module, *arguments]
