"""What people ask of a journal: an export, figures. Read-only, beside the daemon."""

from __future__ import annotations

import csv
import json
import math
from array import array
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TextIO

from edge_agent.journal.errors import explained
from edge_agent.journal.mark import mark_of, read_mark
from edge_agent.journal.recovery import missing_from, unacknowledged
from edge_agent.journal.rows import COLUMNS, KNOWN_VERDICTS, MODEL, Unreadable, fault_of
from edge_agent.journal.schema import open_reader
from edge_agent.system.percentiles import Percentiles, percentiles
from edge_agent.system.text import iso_utc
from edge_agent.types import Model, Verdict

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

STAGES = ("wait", "decode", "preprocess", "infer", "total")
_TIMES = ("captured", "received", "completed")
# Rows in one query: a reader that held one long transaction would keep the WAL from being reset.
_CHUNK = 1000
# What a formula begins with, also as wide characters, which some spreadsheets take for these.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_NAMED = 100  # rows that can't be read, of however many


@dataclass(frozen=True)
class Selection:
    """Which inspections: ``completed`` from ``since`` up to, not including, ``until``."""

    since: float | None = None
    until: float | None = None
    verdicts: frozenset[Verdict] = frozenset()
    """Empty: all."""


@dataclass(frozen=True)
class ModelCount:
    """How many inspections a model made."""

    model: Model
    count: int


@dataclass(frozen=True)
class Stretch:
    """Inspections in a row that one bundle made by one threshold."""

    name: str
    version: str
    digest: str
    """Of the bundle's manifest; empty in rows of programs that did not say."""
    threshold: float
    first: float
    """When the first one was completed, by sequence; seconds since the epoch."""
    last: float
    count: int


@dataclass(frozen=True)
class Stats:
    """Figures of a selection."""

    count: int
    verdicts: dict[Verdict, int]
    defect_rate: float | None
    """Defects per image that could be judged; None where there is none."""
    first: float | None
    """When the first one was completed, by sequence; seconds since the epoch."""
    last: float | None
    latency: dict[str, Percentiles]
    """By stage, of the images that could be judged; empty where there is none."""
    models: tuple[ModelCount, ...]
    unacknowledged: int
    """Messages of the whole journal that no broker has taken yet."""
    unreadable: tuple[Unreadable, ...] = ()
    """Rows that are not counted, at most 100."""
    judged: tuple[Stretch, ...] = ()
    """Which bundle and threshold judged when, in sequence."""


def missing(path: Path) -> tuple[str, ...]:
    """What is missing from the journal and was not acknowledged, in words.

    Raises:
        JournalError: there is no journal, or it can't be read.
    """
    entry = read_mark(mark_of(path))  # first: a running agent moves it on behind the journal
    with explained(path), closing(open_reader(path)) as db:
        (last,) = db.execute("SELECT max(value) FROM meta WHERE key = 'sequence'").fetchone()
        found = unacknowledged(db)
    last = last or 0
    if entry and entry.last > last:
        found += (missing_from(path, last, entry.last),)
    return found


def export(
    path: Path,
    stream: TextIO,
    form: Literal["csv", "jsonl"],
    selection: Selection = Selection(),
    tell: Callable[[Unreadable], None] | None = None,
    *,
    mark: bool = False,
) -> int:
    """Write the selected inspections to ``stream`` in sequence, in constant memory.

    Times are ISO 8601 UTC, latencies milliseconds, memory bytes. A CSV stream is to be opened
    with ``newline=""``. Of a row that can't be read there are its sequence and, as reason, why;
    ``tell`` hears of it, too. Text in a CSV that a spreadsheet would take for a formula has an
    apostrophe before it: a camera says what a file is called.

    Args:
        path: of the journal.
        stream: where to.
        form: one of the two.
        selection: which inspections.
        tell: see above.
        mark: begin with a byte order mark, by which a spreadsheet knows UTF-8.

    Returns:
        How many were written.

    Raises:
        JournalError: there is no journal, or it can't be read.
    """
    written = 0
    with explained(path), closing(open_reader(path)) as db:
        rows = csv.writer(stream)
        if mark:
            stream.write("\ufeff")
        if form == "csv":
            rows.writerow(COLUMNS)
        for row in select(db, COLUMNS, selection):
            values = dict(zip(COLUMNS, row, strict=True))
            if fault := fault_of(values):
                if tell:
                    tell(Unreadable(values["sequence"], fault))
                why = f"this row can't be read: {fault}"
                values = {**dict.fromkeys(COLUMNS), "sequence": values["sequence"], "reason": why}
            else:
                values.update({key: iso_utc(values[key]) for key in _TIMES})
            if form == "csv":
                rows.writerow(_defused(value) for value in values.values())
            else:
                values["regions"] = json.loads(values["regions"] or "[]")
                stream.write(json.dumps(values, ensure_ascii=False, separators=(",", ":")) + "\n")
            written += 1
    return written


def _defused(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def stats(path: Path, selection: Selection = Selection()) -> Stats:
    """Counts, rates and latencies of the selected inspections.

    Raises:
        JournalError: there is no journal, or it can't be read.
    """
    verdicts = dict.fromkeys(Verdict, 0)
    models: dict[Model, int] = {}
    stretches: list[tuple[tuple[str, str, str, float], list[float]]] = []
    times: list[float] = []
    latency = {stage: array("f") for stage in STAGES}
    unreadable = []
    named = ("sequence", "verdict", "completed", "threshold", *MODEL)
    columns = (*named, *STAGES)
    with explained(path), closing(open_reader(path)) as db:
        for row in select(db, columns, selection):
            if fault := fault_of(dict(zip(columns, row, strict=True))):
                unreadable.append(Unreadable(row[0], fault))
                continue
            _, verdict, completed, threshold, *rest = row
            model, stages = Model(*rest[: len(MODEL)]), rest[len(MODEL) :]
            verdicts[Verdict(verdict)] += 1
            models[model] = models.get(model, 0) + 1
            judge = (model.name, model.version, model.digest, threshold)
            if not stretches or stretches[-1][0] != judge:
                stretches.append((judge, [completed, completed, 0]))
            span = stretches[-1][1]
            span[1], span[2] = completed, span[2] + 1
            times[1:] = [completed]
            if verdict != Verdict.ERROR.value:
                for stage, milliseconds in zip(STAGES, stages, strict=True):
                    latency[stage].append(milliseconds)
        (waiting,) = db.execute(
            "SELECT count(*) FROM outbox INDEXED BY outbox_pending WHERE acknowledged IS NULL"
        ).fetchone()
    return Stats(
        count=sum(verdicts.values()),
        verdicts=verdicts,
        defect_rate=defect_rate(verdicts),
        first=times[0] if times else None,
        last=times[-1] if times else None,
        latency={s: percentiles(latency[s]).rounded(3) for s in STAGES} if latency["total"] else {},
        models=tuple(ModelCount(model, count) for model, count in models.items()),
        unacknowledged=waiting,
        unreadable=tuple(unreadable[:_NAMED]),
        judged=tuple(Stretch(*judge, span[0], span[1], int(span[2])) for judge, span in stretches),
    )


def defect_rate(verdicts: Mapping[Verdict, int]) -> float | None:
    """Defects per image that could be judged; None where there is none."""
    judged = sum(verdicts.values()) - verdicts[Verdict.ERROR]
    return verdicts[Verdict.DEFECT] / judged if judged else None


def select(
    db: sqlite3.Connection, columns: tuple[str, ...], selection: Selection
) -> Iterator[tuple[Any, ...]]:
    """The values of some columns of the selected rows, in sequence."""
    since = -math.inf if selection.since is None else selection.since
    until = math.inf if selection.until is None else selection.until
    # What can't be read is no reason to leave a row out: it is said of it.
    others = KNOWN_VERDICTS - {verdict.value for verdict in selection.verdicts or Verdict}
    # The index finds the stretch of the journal, which is then read in its own order: a clock
    # that was set back makes the stretch longer, never wrong.
    first, last = db.execute(
        "SELECT min(sequence), max(sequence) FROM inspections WHERE completed >= ? "
        "AND completed < ?"
        if math.isfinite(since) or math.isfinite(until)
        else "SELECT min(sequence), max(sequence) FROM inspections WHERE ? < ?",
        (since, until),
    ).fetchone()
    after = (first or 1) - 1
    query = (
        f"SELECT sequence, {', '.join(columns)} FROM inspections "
        "WHERE sequence > ? AND sequence <= ? "
        "AND (+completed >= ? AND +completed < ? "
        "OR typeof(+completed) <> 'real' OR abs(+completed) > 1e300) "
        f"AND (verdict IS NULL OR verdict NOT IN ({', '.join('?' * len(others))})) "
        f"ORDER BY sequence LIMIT {_CHUNK}"
    )
    while True:
        rows = db.execute(query, (after, last or 0, since, until, *others)).fetchall()
        yield from (row[1:] for row in rows)
        if len(rows) < _CHUNK:
            return
        after = rows[-1][0]
