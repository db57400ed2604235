"""Numbers as people type them behind an option: each has a smallest and a largest."""

from __future__ import annotations

import argparse
import math
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")


def whole(least: int, most: int) -> Callable[[str], int]:
    """An option's type: a whole number from ``least`` to ``most``."""

    def parse(text: str) -> int:
        number = int(text) if _WHOLE.fullmatch(text) else None
        if number is None or not least <= number <= most:
            raise argparse.ArgumentTypeError(
                f"{_short(text)} is not a whole number from {least} to {most}"
            )
        return number

    return parse


def real(least: float, most: float) -> Callable[[str], float]:
    """An option's type: a number from ``least`` to ``most``."""

    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(
                f"{_short(text)} is not a number from {least:g} to {most:g}"
            )
        return number

    return parse


def address(default_port: int) -> Callable[[str], tuple[str, int]]:
    """An option's type: ``HOST`` or ``HOST:PORT``; an IPv6 address with a port in brackets."""

    def parse(text: str) -> tuple[str, int]:
        found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|(\w[\w.-]*))(?::([0-9]{1,5}))?", text)
        host = found and (found[1] or found[2])
        port = int(found[3] or default_port) if found else 0
        if not host or not 1 <= port <= 65535:
            raise argparse.ArgumentTypeError(f"{_short(text)} is not HOST or HOST:PORT")
        return host, port

    return parse


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")
