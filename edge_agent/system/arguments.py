"""The command lines of both programs: what was mistyped is named with what may have been meant."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from edge_agent.system.text import did_you_mean, printable_lines

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

Subcommands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001
"""What `add_parser` is called on; the class has no public name."""


class Parser(argparse.ArgumentParser):
    """Quotes what it is given, which may be the name of a file, in what a terminal can show."""

    _commands: Any = None

    def add_subparsers(self, **options: Any) -> Any:
        self._commands = super().add_subparsers(**options)
        return self._commands

    def error(self, message: str) -> NoReturn:
        super().error(printable_lines(message))

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        words = sys.argv[1:] if args is None else list(args)
        if mistake := self._mistyped(words):
            self.error(mistake)
        return super().parse_known_args(words, namespace)

    def _mistyped(self, words: Sequence[str]) -> str:
        """The first word that is none of ours, and near to one; empty where argparse knows best."""
        for word in words:
            option = word.partition("=")[0]
            if word == "--":
                break
            if self._commands and not word.startswith("-"):
                known = self._commands.choices
                near = "" if word in known else did_you_mean(word, known)
                return near and f"there is no command {word!r}{near}"
            if option.startswith("-") and not self._knows(option):
                near = did_you_mean(f"--{option.lstrip('-')}", self._option_string_actions)
                if near:
                    return f"there is no option {option}{near}"
        return ""

    def _knows(self, option: str) -> bool:
        """Whether argparse takes it: whole, shortened, or a letter with its value behind it."""
        ours = self._option_string_actions
        return any(one.startswith(option) for one in ours) or option[:2] in ours
