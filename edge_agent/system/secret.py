"""Secrets lie in files that only the service can read: not in settings, arguments or variables."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_LIMIT = 65_535  # bytes: what an MQTT password may have


def read_secret(file: Path) -> str:
    """The one line of a secret's file.

    Raises:
        OSError: it can't be used; ``filename`` says which, ``strerror`` why and what to do.
    """
    with file.open("rb") as stream:
        _check(stream.fileno(), file)
        content = stream.read(_LIMIT + 1).rstrip(b"\r\n")
    if not content:
        raise OSError(errno.EINVAL, "it is empty: write the secret into it", str(file))
    if len(content) > _LIMIT or b"\n" in content:
        what = f"it must hold one line of at most {_LIMIT} bytes, and nothing else"
        raise OSError(errno.EINVAL, what, str(file))
    try:
        return content.decode()
    except UnicodeDecodeError:
        # Not the decoder's own message, which quotes what it could not decode.
        raise OSError(errno.EINVAL, "it does not hold text in UTF-8", str(file)) from None


def check_secret(file: Path) -> None:
    """See that nobody else can read a secret's file, or put another in its place.

    Refused, not warned about: nobody reads the warnings of a daemon that runs for years, and what
    every account of the machine can read is no secret.

    Raises:
        OSError: it can't be used; ``filename`` says which, ``strerror`` why and what to do.
    """
    with file.open("rb") as stream:
        _check(stream.fileno(), file)


def _check(descriptor: int, file: Path) -> None:
    if stat.S_IMODE(os.fstat(descriptor).st_mode) & (stat.S_IROTH | stat.S_IWOTH):
        what = f"everyone on this machine can read or change it: chmod o= {file}"
        raise PermissionError(errno.EACCES, what, str(file))
