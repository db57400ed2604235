"""The durable record: inspections and the outbox, in one SQLite file."""

from edge_agent.journal.archive import Archive
from edge_agent.journal.errors import JournalError
from edge_agent.journal.journal import Journal
from edge_agent.journal.outbox import Outbox, Replayed
from edge_agent.journal.reports import (
    STAGES,
    ModelCount,
    Selection,
    Stats,
    export,
    stats,
    tail,
)
from edge_agent.journal.rows import Record

__all__ = [
    "STAGES",
    "Archive",
    "Journal",
    "JournalError",
    "ModelCount",
    "Outbox",
    "Record",
    "Replayed",
    "Selection",
    "Stats",
    "export",
    "stats",
    "tail",
]
