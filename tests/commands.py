"""Every command of a program, from its own argument parser: a new one can't stay out."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def leaves(
    parser: argparse.ArgumentParser, way: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    """Each command's words, and its parser."""
    inner = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not inner:
        yield way, parser
    for action in inner:
        for name, command in action.choices.items():
            yield from leaves(command, (*way, name))


def minimal(command: argparse.ArgumentParser) -> list[str]:
    """The arguments that it can't do without, of the right form."""
    needed = [a for a in command._actions if a.required]
    for group in command._mutually_exclusive_groups:
        needed += group._group_actions[:1] if group.required else []
    words: list[str] = []
    for action in needed:
        words += [*action.option_strings[:1], value_of(action)]
    return words


def value_of(action: argparse.Action) -> str:
    if action.choices:
        return str(next(iter(action.choices)))
    return "x" if number_of(action) is None else number_of(action) or ""


def number_of(action: argparse.Action) -> str | None:
    """An acceptable value, where the option takes a number or several; None: it takes none."""
    for text in ("1", "64x64"):
        try:
            value: Any = action.type(text) if callable(action.type) else None
        except (ValueError, TypeError, argparse.ArgumentTypeError):
            continue
        parts = value if isinstance(value, tuple) else (value,)
        if all(isinstance(part, int | float) for part in parts):
            return text
    return None
