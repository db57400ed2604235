"""``edge-agent tune``: measure what runs a bundle best on this machine."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.commands.exits import OK
from edge_agent.settings import WorkerSettings, load_settings
from edge_agent.system.text import printable, say, say_json
from edge_agent.types.target import ProviderError, parse_target

if TYPE_CHECKING:
    import argparse

    from edge_agent.engine.tuning.candidates import Candidate
    from edge_agent.engine.tuning.measure import Measured
    from edge_agent.system.arguments import Subcommands


def add(commands: Subcommands) -> None:
    """Its options."""
    command = commands.add_parser(
        "tune", help="find the fastest way to run a bundle on this machine"
    )
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--bundle", type=Path, help="measure this bundle with every provider and variant"
    )
    which.add_argument(
        "--config", type=Path, help="measure this station's bundle, within its settings"
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(command=tune)


def tune(parsed: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    from edge_agent.bundle.history import bundle_to_run
    from edge_agent.engine.tuning.select import Selector, describe
    from edge_agent.engine.worker.verify import verify_apart
    from edge_agent.settings import RuntimeSettings

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
            say(
                f"   {name.variant:8} {name.provider:13} {layout}not "
                f"{'used' if layout else 'available'}: {printable(one.reason)}"
            )


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
