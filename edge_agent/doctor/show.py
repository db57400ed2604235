"""Findings as a person reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_agent.system.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_agent.doctor.finding import Finding

_COLOURS = {"ok": "32", "warning": "33", "error": "1;31"}
_INDENT = " " * 11


def show_topic(findings: Sequence[Finding], *, colour: bool) -> str:
    """The findings of one topic, each with what to do about it."""
    lines = [findings[0].topic]
    for one in findings:
        first, *more = [printable(line, 2000) for line in one.what.splitlines()] or [""]
        lines.append(f"  {_paint(one.level, one.level.ljust(7), colour=colour)}  {first}")
        lines += [f"{_INDENT}{line}" for line in more]
        if one.mend:
            lines.append(f"{_INDENT}-> {printable(one.mend, 2000)}")
    return "\n".join(lines)


def show_sum(findings: Sequence[Finding], *, colour: bool) -> str:
    """How many of each, in one line."""
    errors, warnings = (sum(f.level == level for f in findings) for level in ("error", "warning"))
    if not errors and not warnings:
        return _paint("ok", "no problems", colour=colour)
    level = "error" if errors else "warning"
    return _paint(level, f"{_many(errors, 'error')}, {_many(warnings, 'warning')}", colour=colour)


def _paint(level: str, text: str, *, colour: bool) -> str:
    return f"\x1b[{_COLOURS[level]}m{text}\x1b[0m" if colour else text


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
