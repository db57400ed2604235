"""``trainer``: which command is called, and what is told of its mistakes."""

from __future__ import annotations

import argparse
import errno
import shlex
import sys
import tempfile
from typing import TYPE_CHECKING

from edge_agent import __version__
from edge_agent.system.arguments import Parser
from edge_agent.system.streams import discard_unwritten
from edge_agent.system.text import say
from trainer.commands import (
    calibrate,
    compare,
    evaluate,
    export,
    fetch,
    quantize,
    report,
    synth,
    train,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

_COMMANDS = (train, calibrate, export, quantize, compare, evaluate, synth, report, fetch)


def run(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code: 0 fine, 2 a mistake that the user can mend, else 1."""
    arguments = argparse.Namespace(command="")
    try:
        try:
            _parser().parse_args(argv, arguments)
            arguments.line = shlex.join(["trainer", *(sys.argv[1:] if argv is None else argv)])
            return _carry_out(arguments)
        finally:
            sys.stdout.flush()  # what can't be written is told here, not by the interpreter's end
    except OSError as error:  # a full disk, a folder that may not be written, a closed pipe
        discard_unwritten()
        _complain(arguments, _said(error, arguments))
        return 2
    except KeyboardInterrupt:
        _complain(arguments, "interrupted")
        return 1


def _carry_out(arguments: argparse.Namespace) -> int:
    # Late: --help must not wait for numpy and pydantic.
    from edge_agent.bundle import BundleError
    from edge_agent.engine.runtime.session import ProviderError
    from trainer.data import DatasetError
    from trainer.errors import ParityError, UsageError

    try:
        result: int = arguments.carry_out(arguments)
    except (BundleError, DatasetError, ProviderError, UsageError) as error:
        _complain(arguments, str(error))
        return 2
    except ParityError as error:
        _complain(arguments, str(error))
        return 1
    return result


def _complain(arguments: argparse.Namespace, what: str) -> None:
    try:
        say(f"trainer {arguments.command}: {what}", stream=sys.stderr, flush=True)
    except OSError:  # nobody is left to be told
        discard_unwritten()


def _said(error: OSError, arguments: argparse.Namespace) -> str:
    said = error.strerror or str(error)
    if error.filename:
        return f"{error.filename}: {said}"
    out = getattr(arguments, "out", None)
    if out is not None and error.errno in (errno.ENOSPC, errno.EDQUOT):
        # A write has no name, and the temporary files are elsewhere.
        return f"{said}: free some space in {out} and in {tempfile.gettempdir()}, and try again"
    return said


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="trainer", description="Makes a bundle for edge-agent from labelled images."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add(commands)
    return parser
