"""Everything or nothing, on any connection to the journal."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from edge_agent.journal.errors import explained

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def transaction(path: Path, db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Commit what is done inside, or none of it.

    Raises:
        JournalError: it was not committed.
    """
    with explained(path):
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # some failures roll back by themselves
                db.execute("ROLLBACK")
            raise
