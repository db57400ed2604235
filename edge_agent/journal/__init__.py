"""The durable record: inspections and the outbox, in one SQLite file."""

from edge_agent.journal.archive import Archive
from edge_agent.journal.errors import JournalError
from edge_agent.journal.journal import Journal
from edge_agent.journal.mark import mark_of
from edge_agent.journal.orphans import RECOVERED, FiledImage, Orphan, orphans
from edge_agent.journal.outbox import Outbox, Replayed
from edge_agent.journal.periods import PeriodCount, count_periods
from edge_agent.journal.reports import (
    STAGES,
    ModelCount,
    Selection,
    Stats,
    Stretch,
    export,
    missing,
    stats,
)
from edge_agent.journal.rows import Record, Unreadable
from edge_agent.journal.tail import follow, tail

__all__ = [
    "RECOVERED",
    "STAGES",
    "Archive",
    "FiledImage",
    "Journal",
    "JournalError",
    "ModelCount",
    "Orphan",
    "Outbox",
    "PeriodCount",
    "Record",
    "Replayed",
    "Selection",
    "Stats",
    "Stretch",
    "Unreadable",
    "count_periods",
    "export",
    "follow",
    "mark_of",
    "missing",
    "orphans",
    "stats",
    "tail",
]
