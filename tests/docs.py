"""What the documentation tells people to type, taken from the pages themselves.

A block that begins with ```sh is run by a test, as it stands there; one with ``` alone is not: it
installs packages, needs another machine, or takes too long.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

REPO = Path(__file__).parent.parent
_FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced part of a page."""

    page: Path
    section: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(REPO)}:{self.line}"


def pages() -> list[Path]:
    """The pages at the top, everything in docs/, and the READMEs beside what is deployed."""
    return [
        *(REPO / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
        *sorted((REPO / "docs").rglob("*.md")),
        *sorted((REPO / "deploy").rglob("*.md")),
    ]


def blocks(page: Path, language: str | None = None, section: str | None = None) -> list[Block]:
    """The blocks of a page, in order; of one language, below one heading."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        above = [heading[1] for heading in _HEADING.finditer(prose(text[: match.start()]))]
        block = Block(
            page,
            above[-1] if above else "",
            text.count("\n", 0, match.start()) + 1,
            match["language"],
            match["text"],
        )
        if language in (None, block.language) and section in (None, block.section):
            found.append(block)
    return found


def prose(text: str) -> str:
    """A page without its blocks."""
    return _FENCE.sub("", text)


def typed(script: str, where: Path, answers: str = "", *, seconds: float = 60) -> str:
    """Type a script in one shell that stops at a mistake; what was said on stdout."""
    done = subprocess.run(
        ["bash", "-euc", script],
        input=answers,
        cwd=where,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def replaced(text: str, instead: Mapping[str, str]) -> str:
    """The text with a test's own places for those of a plant; each must be in it."""
    for there, here in instead.items():
        assert there in text, f"{there!r} is not in it"
        text = text.replace(there, here)
    return text
