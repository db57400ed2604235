"""``edge-agent journal``: read the station's journal, or repair it."""

from __future__ import annotations

import dataclasses
import io
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.commands.exits import OK
from edge_agent.commands.options import needs_config
from edge_agent.settings import SettingsError, load_settings
from edge_agent.system.moment import SHIFTS, iso_local, moment, periods, shifts
from edge_agent.system.numbers import whole
from edge_agent.system.text import printable, say, say_json
from edge_agent.telemetry.log import complain

if TYPE_CHECKING:
    import argparse

    from edge_agent.journal import PeriodCount, Record, Selection, Unreadable
    from edge_agent.system.arguments import Subcommands

_STRETCHES = 20  # of the last that `journal stats` shows


def add(commands: Subcommands) -> None:
    """Its options."""
    journal = commands.add_parser("journal", help="read the station's journal, or repair it")
    verbs = journal.add_subparsers(required=True, metavar="VERB")
    command = verbs.add_parser("tail", help="show the last inspections")
    _needs_journal(command)
    command.add_argument(
        "-n",
        dest="count",
        type=whole(0, 1_000_000),
        default=20,
        help="number of inspections (default: 20)",
    )
    command.add_argument("-f", "--follow", action="store_true", help="keep showing new inspections")
    _selects_verdicts(command)
    command.set_defaults(command=_journal_tail, since=None, until=None)
    command = verbs.add_parser("export", help="write inspections to stdout, as CSV or JSON lines")
    _needs_journal(command)
    command.add_argument("--format", choices=("csv", "jsonl"), default="csv")
    command.add_argument(
        "--bom", action="store_true", help="start with a byte order mark, for spreadsheets"
    )
    _selects(command)
    command.set_defaults(command=_journal_export)
    command = verbs.add_parser("stats", help="show counts, rates and latencies")
    _needs_journal(command)
    _selects(command)
    command.add_argument(
        "--by", choices=("hour", "day", "shift"), help="add the counts of each hour, shift or day"
    )
    command.add_argument(
        "--shifts",
        type=shifts,
        default=SHIFTS,
        metavar="TIMES",
        help="start of each shift (default: 06:00,14:00,22:00)",
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(command=_journal_stats)
    command = verbs.add_parser(
        "repair", help="record images whose inspection was lost (stop the agent first)"
    )
    needs_config(command)
    command.add_argument(
        "--acknowledge",
        action="store_true",
        help="only clear the warning that inspections are missing",
    )
    command.set_defaults(command=_journal_repair)


def _journal_of(parsed: argparse.Namespace) -> Path:
    """The journal that a command is to read."""
    given: Path | None = parsed.journal
    return given or load_settings(parsed.config).storage.journal


def _journal_tail(parsed: argparse.Namespace) -> int:
    from edge_agent.journal import follow, tail

    read = follow if parsed.follow else tail
    for record in read(_journal_of(parsed), parsed.count, _selection(parsed).verdicts):
        say(_line(record), flush=parsed.follow)
    return OK


def _line(record: Record | Unreadable) -> str:
    """An inspection for a person: with its image's place, if that is not ``processed/NAME``."""
    from edge_agent.journal import Unreadable

    if isinstance(record, Unreadable):
        return f"{record.sequence:8}  this row can't be read: {record.fault}"
    one = record.inspection
    score = "     -" if one.score is None else f"{one.score:6.4f}"
    plain = one.stored in ("", f"processed/{one.name}")
    where = one.name if plain else f"{one.name} in {one.stored}"
    return (
        f"{record.sequence:8}  {iso_local(one.completed)}  {one.verdict.value:6}  {score}  "
        f"{one.latency.total:7.1f} ms  {printable(where, 1000)}  {printable(one.reason)}".rstrip()
    )


def _journal_export(parsed: argparse.Namespace) -> int:
    from edge_agent.journal import export

    if parsed.bom and parsed.format != "csv":
        raise SettingsError("--bom is for spreadsheets: it needs --format csv")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # UTF-8, for it is read by programs; the rest as the csv module asks for
        sys.stdout.reconfigure(encoding="utf-8", newline="")
    selection, form = _selection(parsed), parsed.format
    export(_journal_of(parsed), sys.stdout, form, selection, _complain_of, mark=parsed.bom)
    return OK


def _complain_of(row: Unreadable) -> None:
    complain(f"row {row.sequence} of the journal can't be read: {row.fault}")


def _journal_stats(parsed: argparse.Namespace) -> int:
    from edge_agent.journal import count_periods, stats
    from edge_agent.system.text import titled

    path, selection = _journal_of(parsed), _selection(parsed)
    found = stats(path, selection)
    begin = periods(parsed.by, parsed.shifts) if parsed.by else None
    counts = count_periods(path, begin, selection) if begin else []
    if parsed.json:
        more = {"periods": [dataclasses.asdict(one) for one in counts]} if begin else {}
        say_json({**dataclasses.asdict(found), **more}, indent=2)
        return OK
    verdicts = ", ".join(f"{count} {verdict.value}" for verdict, count in found.verdicts.items())
    say(f"inspections   {found.count}: {verdicts}")
    if found.defect_rate is not None:
        say(f"defect rate   {found.defect_rate:.2%}")
    if found.first is not None and found.last is not None:
        say(f"from, to      {iso_local(found.first)}  {iso_local(found.last)}")
    for stage, ms in found.latency.items():
        say(f"{stage:12}  p50 {ms.p50:8.1f} ms   p95 {ms.p95:8.1f} ms   p99 {ms.p99:8.1f} ms")
    for one in found.models:
        model = one.model
        say(
            f"model         {titled(model.name, model.version, model.digest)} {model.variant} "
            f"on {model.provider} {model.device}: {one.count}"
        )
    if len(found.judged) > _STRETCHES:
        say(f"judged        {len(found.judged) - _STRETCHES} earlier changes: see --json")
    for span in found.judged[-_STRETCHES:]:
        say(
            f"judged        {iso_local(span.first)}  {iso_local(span.last)}  "
            f"{titled(span.name, span.version, span.digest)}, threshold {span.threshold:.4f}: "
            f"{span.count}"
        )
    say(f"unpublished   {found.unacknowledged}")
    for row in found.unreadable:
        say(f"unreadable    row {row.sequence}: {row.fault}")
    if begin:
        _print_periods(parsed.by, counts)
    return OK


def _print_periods(kind: str, counts: list[PeriodCount]) -> None:
    from edge_agent.types import Verdict

    say()
    say(f"{kind:22}" + "".join(f"{verdict.value:>9}" for verdict in Verdict) + "  defect rate")
    for one in counts:
        rate = "" if one.defect_rate is None else f"{one.defect_rate:13.2%}"
        numbers = "".join(f"{one.verdicts[verdict]:9}" for verdict in Verdict)
        say(f"{iso_local(one.start, precise=False):22}{numbers}{rate}")


def _journal_repair(parsed: argparse.Namespace) -> int:
    from edge_agent.line.repair import repair

    done = repair(load_settings(parsed.config), images=not parsed.acknowledge)
    for loss in done.losses:
        say(f"acknowledged  {loss}")
    say(f"recovered     {done.recovered} of {done.images} images without an inspection")
    return OK


def _selection(parsed: argparse.Namespace) -> Selection:
    from edge_agent.journal import Selection
    from edge_agent.types import Verdict

    now = time.time()
    since = parsed.since.at(now) if parsed.since else None
    return Selection(
        since=since,
        until=parsed.until.at(now, after=since) if parsed.until else None,
        verdicts=frozenset(Verdict(verdict) for verdict in parsed.verdict or ()),
    )


def _needs_journal(command: argparse.ArgumentParser) -> None:
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("--config", type=Path, metavar="FILE", help="the station's station.toml")
    which.add_argument("--journal", type=Path, metavar="FILE", help="a journal.db")


def _selects(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--since",
        type=moment,
        metavar="TIME",
        help="completed at or after TIME (local time): 22:00, today, 8h, 2026-01-31T18:00",
    )
    command.add_argument(
        "--until", type=moment, metavar="TIME", help="completed before TIME (local time)"
    )
    _selects_verdicts(command)


def _selects_verdicts(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--verdict",
        action="append",
        choices=("ok", "defect", "review", "error"),
        help="only this verdict; may be repeated",
    )
