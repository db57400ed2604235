"""Python processes of our own, whatever lies in the directory that the daemon was started in.

``python -m`` and ``python -c`` put the current directory before the standard library: a ``json.py``
beside the images would be run by the next worker. ``PYTHONSAFEPATH`` is known from Python 3.11 on.
"""

from __future__ import annotations

import sys

SAFELY = "import sys; sys.path[:1] == [''] and sys.path.pop(0); "
"""What code behind ``python -c`` begins with, so that it imports nothing from there."""

_RUN = SAFELY + (
    "del sys.argv[0]; import runpy; "
    "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
)


def python_module(module: str, *arguments: str) -> list[str]:
    """The command line of ``python -m MODULE ARGUMENTS`` without the current directory."""
    return [sys.executable, "-c", _RUN, module, *arguments]
