"""The end of a journal, and what comes to it. Read-only, beside the daemon."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

from edge_agent.journal.errors import explained
from edge_agent.journal.rows import COLUMNS, KNOWN_VERDICTS, Record, Unreadable, to_record
from edge_agent.journal.schema import open_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from edge_agent.types import Verdict

_PAUSE = 0.5  # seconds between two looks


def tail(path: Path, count: int, verdicts: Collection[Verdict] = ()) -> list[Record | Unreadable]:
    """The last ``count`` inspections, oldest first; of some verdicts alone, if they are named.

    Raises:
        JournalError: there is no journal, or it can't be read.
    """
    return _read(path, 0, count, verdicts)[0]


def follow(
    path: Path,
    count: int,
    verdicts: Collection[Verdict] = (),
    pause: Callable[[], object] = lambda: time.sleep(_PAUSE),
) -> Iterator[Record | Unreadable]:
    """The same, and then each inspection as it comes, for ever.

    Raises:
        JournalError: there is no journal, or it can't be read.
    """
    found, last = _read(path, 0, count, verdicts)
    while True:
        yield from found
        pause()
        found, last = _read(path, last, sys.maxsize, verdicts)


def _read(
    path: Path, after: int, count: int, verdicts: Collection[Verdict]
) -> tuple[list[Record | Unreadable], int]:
    """The last inspections behind a sequence, and the sequence that the journal ends with."""
    # A verdict that can't be read may be any.
    others = KNOWN_VERDICTS - {verdict.value for verdict in verdicts} if verdicts else frozenset()
    with explained(path), closing(open_reader(path)) as db:
        db.execute("BEGIN")
        (last,) = db.execute("SELECT max(sequence) FROM inspections").fetchone()
        rows = db.execute(
            f"SELECT {', '.join(COLUMNS)} FROM inspections WHERE sequence > ? "
            f"AND (verdict IS NULL OR verdict NOT IN ({', '.join('?' * len(others))})) "
            "ORDER BY sequence DESC LIMIT ?",
            (after, *others, min(max(count, 0), sys.maxsize)),
        ).fetchall()
    return [to_record(row) for row in reversed(rows)], max(after, last or 0)
