"""``edge-agent``: which command is called, and what is told of its mistakes."""

from __future__ import annotations

import argparse
import errno
import sys
from typing import TYPE_CHECKING

from edge_agent import __version__
from edge_agent.bundle import BundleError
from edge_agent.commands import bench, bundle, classify, demo, doctor, journal, tune
from edge_agent.commands import run as station
from edge_agent.commands.exits import MISTAKE, OK
from edge_agent.settings import SettingsError
from edge_agent.system.arguments import Parser
from edge_agent.system.limits import shortage
from edge_agent.system.streams import discard_unwritten
from edge_agent.telemetry.log import complain
from edge_agent.types.target import ProviderError

if TYPE_CHECKING:
    from collections.abc import Sequence

_COMMANDS = (station, demo, classify, tune, bench, doctor, bundle, journal)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF, errno.EAGAIN)


def run(arguments: Sequence[str]) -> int:
    """Carry out one command line; return its exit code: 0, or 2 for a mistake that was named."""
    parsed = argparse.Namespace(command=None)
    try:
        try:
            _parser().parse_args(arguments, parsed)
            return int(parsed.command(parsed))
        except SystemExit:
            raise
        except _mistakes() as mistake:
            complain(str(mistake))
            return MISTAKE
        finally:
            sys.stdout.flush()  # what can't be written is told here, not by the interpreter's end
    except KeyboardInterrupt:
        return 130
    except (OSError, RuntimeError, MemoryError) as error:
        return _failed(error, parsed.command)


def _failed(error: Exception, command: object) -> int:
    """What the system refused: in words, where the reason is known."""
    if lack := shortage(error):
        complain(lack)
        return MISTAKE
    # Of the daemon nothing is read on stdout, so that it failed elsewhere.
    if not isinstance(error, OSError) or error.filename is not None or command is station.run:
        raise error
    discard_unwritten()
    if isinstance(error, BrokenPipeError):
        if command is not classify.classify:  # `| head` has seen enough
            return OK
        complain("the output was closed: not every image was judged")
        return MISTAKE
    if error.errno not in _NO_ROOM:
        raise error
    complain(f"the output can't be written: {error.strerror}")
    return MISTAKE


def _mistakes() -> tuple[type[Exception], ...]:
    """What is the set-up's fault, and told in one message without a traceback."""
    from edge_agent.engine.worker.pool import WorkerStartError
    from edge_agent.journal import JournalError
    from edge_agent.sources.spool import SpoolError
    from edge_agent.system.lock import LockedError
    from edge_agent.telemetry.health import PortError

    return (
        *(SettingsError, BundleError, JournalError, LockedError, ProviderError),
        *(SpoolError, PortError, WorkerStartError),
    )


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="edge-agent",
        description="Judges every image, records the result and publishes it over MQTT.",
        epilog="exit codes: 0 success; 2 a mistake in the setup, named on stderr; "
        "classify: 1 if a defect or an image to review was found",
    )
    parser.add_argument("--version", action="version", version=f"edge-agent {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add(commands)
    return parser
