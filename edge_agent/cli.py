"""The commands of ``edge-agent``. No logic: each parses, calls and prints."""

from __future__ import annotations

import argparse
import dataclasses
import errno
import io
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent import __version__
from edge_agent.bundle import BundleError, look_at_bundle
from edge_agent.settings import SettingsError, WorkerSettings, load_settings
from edge_agent.system.arguments import Parser
from edge_agent.system.limits import shortage
from edge_agent.system.moment import SHIFTS, iso_local, moment, periods, shifts
from edge_agent.system.numbers import address, real, whole
from edge_agent.system.streams import discard_unwritten
from edge_agent.system.text import printable, say, say_json
from edge_agent.telemetry.log import complain
from edge_agent.types.target import AUTO, ProviderError, parse_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_agent.bundle import Expects
    from edge_agent.engine.tuning.candidates import Candidate
    from edge_agent.engine.tuning.measure import Measured
    from edge_agent.journal import PeriodCount, Record, Selection, Unreadable

OK, FOUND_DEFECT, MISTAKE, FAILED = 0, 1, 2, 3

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF, errno.EAGAIN)
_STRETCHES = 20  # of the last that `journal stats` shows
_WORKERS, _THREADS = whole(0, 64), whole(0, 256)
_MAX_PIXELS = WorkerSettings().max_pixels


def run(arguments: Sequence[str]) -> int:
    """Carry out one command line; return its exit code: 0, or 2 for a mistake that was named."""
    parsed = argparse.Namespace(command=None)
    try:
        try:
            _parser().parse_args(arguments, parsed)
            return int(parsed.command(parsed))
        except SystemExit:
            raise
        except _mistakes() as mistake:
            complain(str(mistake))
            return MISTAKE
        finally:
            sys.stdout.flush()  # what can't be written is told here, not by the interpreter's end
    except KeyboardInterrupt:
        return 130
    except (OSError, RuntimeError, MemoryError) as error:
        return _failed(error, parsed.command)


def _failed(error: Exception, command: object) -> int:
    """What the system refused: in words, where the reason is known."""
    if lack := shortage(error):
        complain(lack)
        return MISTAKE
    # Of the daemon nothing is read on stdout, so that it failed elsewhere.
    if not isinstance(error, OSError) or error.filename is not None or command is _run:
        raise error
    discard_unwritten()
    if isinstance(error, BrokenPipeError):
        if command is not _classify:  # `| head` has seen enough
            return OK
        complain("nobody reads the verdicts any more: not every image was judged")
        return MISTAKE
    if error.errno not in _NO_ROOM:
        raise error
    complain(f"the output can't be written: {error.strerror}")
    return MISTAKE


def _mistakes() -> tuple[type[Exception], ...]:
    """What is the set-up's fault, and told in one message without a traceback."""
    from edge_agent.engine.worker.pool import WorkerStartError
    from edge_agent.journal import JournalError
    from edge_agent.sources.spool import SpoolError
    from edge_agent.system.lock import LockedError
    from edge_agent.telemetry.health import PortError

    return (
        *(SettingsError, BundleError, JournalError, LockedError, ProviderError),
        *(SpoolError, PortError, WorkerStartError),
    )


def _run(parsed: argparse.Namespace) -> int:
    from edge_agent.agent import Agent
    from edge_agent.engine.running import LostError
    from edge_agent.telemetry.log import set_up_logging

    settings = load_settings(parsed.config)
    set_up_logging(settings.log.level, settings.log.format)
    try:
        Agent(settings, parsed.config).run()
    except LostError as loss:
        complain(str(loss))
        return FAILED
    return OK


def _classify(parsed: argparse.Namespace) -> int:
    from edge_agent.classify import classify, find_images
    from edge_agent.settings import RuntimeSettings
    from edge_agent.types import Verdict

    paths = find_images(parsed.paths)
    if not paths:
        raise SettingsError(f"no image in {', '.join(map(str, parsed.paths))}")
    parse_target(parsed.provider)
    runtime = RuntimeSettings(
        provider=parsed.provider, variant=parsed.variant, threads=parsed.threads
    )
    verdicts: set[Verdict] = set()
    worker = WorkerSettings(max_pixels=parsed.max_pixels)
    for one in classify(parsed.bundle, paths, runtime, worker, parsed.implausible):
        verdicts.add(one.verdict)
        if parsed.json:
            say_json(one.as_json())
        else:
            score = "     -" if one.score is None else f"{one.score:6.4f}"
            what = one.error or f"{one.latency.total:.1f} ms"
            say(
                f"{one.verdict.value:6}  {score}  {printable(one.path)}  {printable(what)}",
                flush=True,
            )
    if Verdict.ERROR in verdicts:
        return MISTAKE
    return FOUND_DEFECT if verdicts & {Verdict.DEFECT, Verdict.REVIEW} else OK


def _bundle_show(parsed: argparse.Namespace) -> int:
    bundle = look_at_bundle(parsed.bundle)
    manifest = bundle.manifest
    if parsed.json:
        say_json(manifest.model_dump(mode="json"), indent=2)
        return OK
    size, decision = manifest.preprocess, manifest.decision
    say(f"{bundle.title}, made {manifest.created}")
    if manifest.notice:
        say(manifest.notice)
    say(f"digest     {bundle.digest}")
    say(f"input      {size.width} x {size.height} {size.colour}, {size.fit}")
    band = f", review {decision.review[0]:g} to {decision.review[1]:g}" if decision.review else ""
    say(f"threshold  {decision.threshold:.4f} by {decision.rule}{band}")
    say(f"expects    {_expected(manifest.expects)}")
    for variant in manifest.variants:
        accuracy = variant.accuracy
        measured = (
            f"AP {accuracy.ap:.4f}  F1 {accuracy.f1:.4f}  escapes {accuracy.escapes} of "
            f"{accuracy.defects}  overkills {accuracy.overkills} of "
            f"{accuracy.images - accuracy.defects}"
            if accuracy
            else "not measured"
        )
        say(f"variant    {variant.name:8} {variant.size / 1e6:6.1f} MB  {measured}")
        if variant.decision:
            own = variant.decision
            band = f", review {own.review[0]:g} to {own.review[1]:g}" if own.review else ""
            say(f"{'':20}its own threshold {own.threshold:.4f}{band}")
        for provider, fault in variant.gate.items():
            say(f"{'':20}{f'not on {provider}: {fault}' if fault else f'holds on {provider}'}")
    training = manifest.training
    say(f"trained    recipe {training.recipe}, seed {training.seed}, {training.folds} folds")
    say(f"golden     {len(manifest.golden)} images")
    return OK


def _expected(expects: Expects | None) -> str:
    if expects is None:
        return "any picture: made before bundles knew what theirs look like"
    (left, right), (top, bottom) = expects.width, expects.height
    figures = (
        f"{name} {bounds[0]:.4g} to {bounds[1]:.4g}"
        for name in ("colour", "brightness", "contrast", "sharpness", "darkest")
        for bounds in [getattr(expects, name)]
    )
    return f"{left} to {right} x {top} to {bottom} pixels, {', '.join(figures)}"


def _bundle_keygen(parsed: argparse.Namespace) -> int:
    from edge_agent.bundle.signature import make_keys

    say(make_keys(parsed.file))
    return OK


def _bundle_sign(parsed: argparse.Namespace) -> int:
    from edge_agent.bundle.signature import sign

    say(f"signed; the key's public half, for [trust.keys]: {sign(parsed.bundle, parsed.key)}")
    return OK


def _bundle_verify(parsed: argparse.Namespace) -> int:
    from edge_agent.bundle.history import bundle_to_run
    from edge_agent.engine.worker.verify import prove_apart, verify_apart
    from edge_agent.line.decide import decisions_for

    provider, place, trust, decision = parsed.provider, parsed.bundle, None, None
    if parsed.config:
        settings = load_settings(parsed.config)
        place = bundle_to_run(settings.storage.bundles, settings.bundle)
        trust, decision = settings.trust, settings.decision
        if provider is None and settings.runtime.provider != AUTO:
            provider = settings.runtime.provider
    bundle = verify_apart(place, trust)
    say(f"{bundle.title}: files, hashes and graphs as the manifest says")
    if decision:
        decisions_for(bundle, decision)  # a start would refuse it, too
    if trust and trust.keys:
        say(f"signed by {bundle.signed_by}" if bundle.signed_by else "not signed")
    for variant in bundle.manifest.variants:
        ready = prove_apart(bundle, variant.name, provider or "cpu")
        say(
            f"{variant.name} on {ready.provider}: {len(bundle.manifest.golden)} golden images "
            f"within {ready.golden_error:.5f}"
        )
    return OK


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
        raise SettingsError("--bom is for spreadsheets: it goes with --format csv alone")
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
        say(f"judged        {len(found.judged) - _STRETCHES} changes before these: see --json")
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
    say(f"recovered     {done.recovered} of {done.images} images had no inspection")
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


def _tune(parsed: argparse.Namespace) -> int:
    from edge_agent.bundle.history import bundle_to_run
    from edge_agent.engine.tuning.select import Selector, describe
    from edge_agent.engine.worker.verify import verify_apart
    from edge_agent.settings import RuntimeSettings, WorkerSettings

    runtime, worker, cache = RuntimeSettings(), WorkerSettings(), None
    place = parsed.bundle
    if parsed.config:
        settings = load_settings(parsed.config)
        runtime, worker = settings.runtime, settings.worker
        place = place or bundle_to_run(settings.storage.bundles, settings.bundle)
    bundle = verify_apart(place)
    selector = Selector(bundle, runtime, worker, cache)
    table = selector.table(lambda one: say(describe(one), stream=sys.stderr))
    best, refusal = None, None
    try:
        best = selector.choose(table).candidate
    except ProviderError as error:
        refusal = error
    if parsed.json:
        lines = [{**_named(one.candidate), **_measured(one)} for one in table]
        say_json({"candidates": lines, "chosen": best and _named(best)}, indent=2)
    else:
        _print_table(table, best)
    if refusal:
        raise refusal
    return OK


def _print_table(table: list[Measured], best: Candidate | None) -> None:
    say("   variant  provider      workers x threads   latency   frames/s  golden")
    for one in sorted(table, key=lambda one: -(one.fps or 0.0)):
        name = one.candidate
        if one.ok:
            mark = "->" if name == best else "  "
            say(
                f"{mark} {name.variant:8} {name.provider:13} {name.workers:7} x {name.threads:<7} "
                f"{one.latency_ms:9.1f} ms {one.fps:10.1f}  {one.golden_error:.5f}"
            )
        else:
            layout = f"{name.workers:7} x {name.threads:<7} " if name.workers else ""
            say(f"   {name.variant:8} {name.provider:13} {layout}out: {printable(one.reason)}")


def _named(candidate: Candidate) -> dict[str, object]:
    """A candidate in JSON: provider and device apart, as in a verdict."""
    target = parse_target(candidate.provider)
    return {
        "variant": candidate.variant,
        "provider": target.provider,
        "device": target.device,
        "threads": candidate.threads,
        "workers": candidate.workers,
    }


def _measured(one: Measured) -> dict[str, object]:
    figures = dataclasses.asdict(one)
    del figures["candidate"]
    return figures


def _bench(parsed: argparse.Namespace) -> int:
    from edge_agent.bench.report import run_bench
    from edge_agent.settings import RuntimeSettings

    runtime = RuntimeSettings(
        provider=parsed.provider,
        variant=parsed.variant,
        workers=parsed.workers,
        threads=parsed.threads,
    )
    found = run_bench(
        parsed.bundle,
        parsed.images,
        count=parsed.count,
        unloaded=parsed.unloaded,
        runtime=runtime,
        broker=parsed.broker,
        max_pixels=parsed.max_pixels,
        tell=lambda what: say(what, stream=sys.stderr),
    )
    figures = found.as_json()
    if parsed.json:
        say_json(figures)
        return OK
    say(f"{found.images} images with {found.candidate}")
    say(
        f"sustained  {found.agent_fps:.1f} frames/s, folder to subscriber: "
        f"{figures['ratio']:.1%} of the bare loop's {found.ceiling_fps:.1f}"
    )
    for stage, ms in found.latency_ms.items():
        say(f"{stage:10}" + "".join(f" {name} {value:7.2f} ms  " for name, value in ms.items()))
    over = found.overhead_ms
    say(f"overhead   p50 {over['p50']:7.2f} ms   p95 {over['p95']:7.2f} ms   over the bare loop")
    say(f"memory     {found.pss_mb[0]:.0f} MB, at the end {found.pss_mb[1]:.0f} MB (PSS)")
    return OK


def _demo(parsed: argparse.Namespace) -> int:
    from edge_agent.demo.station import run_demo

    return run_demo(
        seconds=parsed.seconds, pace=parsed.pace, broker=parsed.broker, keep=parsed.keep
    )


def _doctor(parsed: argparse.Namespace) -> int:
    from edge_agent.doctor.examine import examine
    from edge_agent.doctor.show import show_sum, show_topic

    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    findings = []
    for topic in examine(parsed.config):
        findings += topic
        if not parsed.json:
            print(show_topic(topic, colour=colour), flush=True)  # noqa: T201  has made it printable
    if parsed.json:
        say_json([dataclasses.asdict(one) for one in findings], indent=2)
    else:
        print(show_sum(findings, colour=colour))  # noqa: T201
    return MISTAKE if any(one.level == "error" for one in findings) else OK


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="edge-agent",
        description="Judges every image that a camera drops, records it, and tells it by MQTT.",
        epilog="exit codes: 0 fine; 2 something is set up wrongly, and was named; "
        "classify: 1 a defect or an image to review was found",
    )
    parser.add_argument("--version", action="version", version=f"edge-agent {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("run", help="run the station (the daemon)")
    _needs_config(command)
    command.set_defaults(command=_run)

    command = commands.add_parser("demo", help="the whole way on this machine, nothing to set up")
    command.add_argument(
        "--seconds", type=real(0.1, 86_400), default=10.0, help="how long (default: 10)"
    )
    command.add_argument(
        "--pace", type=real(0.01, 1000), default=2.0, help="images a second (default: 2)"
    )
    command.add_argument(
        "--broker",
        type=address(1883),
        metavar="HOST[:PORT]",
        help="publish there (default: one on loopback, if any)",
    )
    command.add_argument(
        "--keep", metavar="DIR", type=Path, help="leave the station in DIR to look at"
    )
    command.set_defaults(command=_demo)

    command = commands.add_parser("classify", help="judge files once, without a station")
    command.add_argument("--bundle", type=Path, required=True, help="the folder of a bundle")
    command.add_argument("--variant", default="fp32", help="which model (default: fp32)")
    command.add_argument(
        "--provider", default="cpu", help="cpu (default), openvino:CPU, openvino:GPU, cuda ..."
    )
    command.add_argument("--threads", type=_THREADS, default=0, help="per inference; 0: one a core")
    _add_max_pixels(command)
    command.add_argument(
        "--implausible",
        choices=("error", "review", "ok"),
        default="error",
        help="the verdict on what is no picture of the part (default: error); ok: its score's",
    )
    command.add_argument("--json", action="store_true", help="one JSON object a line")
    command.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="images or folders")
    command.set_defaults(command=_classify)

    command = commands.add_parser("tune", help="measure what runs a bundle best on this machine")
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("--bundle", type=Path, help="measure this bundle, everything left open")
    which.add_argument("--config", type=Path, help="measure this station's, as its settings allow")
    command.add_argument("--json", action="store_true", help="one JSON object")
    command.set_defaults(command=_tune)

    command = commands.add_parser("bench", help="how fast this machine is, and the daemon on it")
    command.add_argument("--bundle", type=Path, required=True)
    command.add_argument("--images", type=Path, required=True, metavar="DIR")
    command.add_argument(
        "--count", type=whole(1, 1_000_000), default=500, help="images at once (default: 500)"
    )
    command.add_argument(
        "--unloaded", type=whole(1, 1_000_000), default=30, help="one by one (default: 30)"
    )
    command.add_argument("--provider", default="auto", help="as in the settings (default: auto)")
    command.add_argument("--variant", default="auto")
    command.add_argument("--workers", type=_WORKERS, default=0, help="0: found out by measuring")
    command.add_argument("--threads", type=_THREADS, default=0, help="0: found out by measuring")
    command.add_argument(
        "--broker",
        type=address(1883),
        metavar="HOST[:PORT]",
        help="default: a mosquitto of its own",
    )
    _add_max_pixels(command)
    command.add_argument("--json", action="store_true", help="one JSON object")
    command.set_defaults(command=_bench)

    command = commands.add_parser("doctor", help="what is wrong here, and how to mend it")
    command.add_argument(
        "--config", type=Path, metavar="FILE", help="a station.toml; without: this machine alone"
    )
    command.add_argument("--json", action="store_true", help="the findings as one JSON list")
    command.set_defaults(command=_doctor)

    bundle = commands.add_parser("bundle", help="look at a bundle, verify or sign it")
    verbs = bundle.add_subparsers(required=True, metavar="VERB")
    command = verbs.add_parser("show", help="what is in it, and how good it is")
    command.add_argument("bundle", type=Path, metavar="BUNDLE")
    command.add_argument("--json", action="store_true", help="the whole manifest")
    command.set_defaults(command=_bundle_show)
    command = verbs.add_parser("verify", help="files, hashes, graphs and golden images")
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("bundle", type=Path, nargs="?", metavar="BUNDLE")
    which.add_argument("--config", type=Path, metavar="FILE", help="this station's bundle")
    command.add_argument(
        "--provider", help="that judges them (default: the one that the station names, or cpu)"
    )
    command.set_defaults(command=_bundle_verify)
    command = verbs.add_parser(
        "keygen", help="make a key that signs bundles; print its public half"
    )
    command.add_argument("file", type=Path, metavar="FILE", help="where the private key goes")
    command.set_defaults(command=_bundle_keygen)
    command = verbs.add_parser("sign", help="vouch for a bundle: write its manifest.sig")
    command.add_argument("bundle", type=Path, metavar="BUNDLE")
    command.add_argument("--key", type=Path, required=True, metavar="FILE", help="of keygen")
    command.set_defaults(command=_bundle_sign)

    journal = commands.add_parser("journal", help="read the station's journal, or repair it")
    verbs = journal.add_subparsers(required=True, metavar="VERB")
    command = verbs.add_parser("tail", help="the last inspections, and those that come")
    _needs_journal(command)
    command.add_argument(
        "-n", dest="count", type=whole(0, 1_000_000), default=20, help="how many (default: 20)"
    )
    command.add_argument("-f", "--follow", action="store_true", help="go on with what comes")
    _selects_verdicts(command)
    command.set_defaults(command=_journal_tail, since=None, until=None)
    command = verbs.add_parser("export", help="every inspection, as CSV or JSON lines, on stdout")
    _needs_journal(command)
    command.add_argument("--format", choices=("csv", "jsonl"), default="csv")
    command.add_argument(
        "--bom", action="store_true", help="begin with a byte order mark: for spreadsheets"
    )
    _selects(command)
    command.set_defaults(command=_journal_export)
    command = verbs.add_parser("stats", help="counts, rates and latencies")
    _needs_journal(command)
    _selects(command)
    command.add_argument("--by", choices=("hour", "day", "shift"), help="counts of each as well")
    command.add_argument(
        "--shifts",
        type=shifts,
        default=SHIFTS,
        metavar="TIMES",
        help="when shifts begin (default: 06:00,14:00,22:00)",
    )
    command.add_argument("--json", action="store_true", help="one JSON object")
    command.set_defaults(command=_journal_stats)
    command = verbs.add_parser(
        "repair", help="record images whose inspection was lost; the agent must be stopped"
    )
    _needs_config(command)
    command.add_argument(
        "--acknowledge", action="store_true", help="only end the message that something is missing"
    )
    command.set_defaults(command=_journal_repair)
    return parser


def _needs_config(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="the station's station.toml"
    )


def _needs_journal(command: argparse.ArgumentParser) -> None:
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("--config", type=Path, metavar="FILE", help="the station's station.toml")
    which.add_argument("--journal", type=Path, metavar="FILE", help="a journal.db by itself")


def _add_max_pixels(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--max-pixels",
        type=whole(1, 10**10),
        default=_MAX_PIXELS,
        metavar="N",
        help=f"an image of more is an error (default: {_MAX_PIXELS}); as in [worker]",
    )


def _selects(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--since",
        type=moment,
        metavar="TIME",
        help="completed at or after TIME (local): 22:00, today, 8h, 2026-01-31T18:00",
    )
    command.add_argument("--until", type=moment, metavar="TIME", help="completed before TIME")
    _selects_verdicts(command)


def _selects_verdicts(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--verdict", action="append", choices=("ok", "defect", "review", "error"), help="only these"
    )
