"""``edge-agent bench``: how fast this machine is, and the daemon on it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.commands.exits import OK
from edge_agent.commands.options import THREADS, WORKERS, add_max_pixels
from edge_agent.system.numbers import address, whole
from edge_agent.system.text import say, say_json

if TYPE_CHECKING:
    import argparse

    from edge_agent.system.arguments import Subcommands


def add(commands: Subcommands) -> None:
    """Its options."""
    command = commands.add_parser(
        "bench", help="measure the speed of this machine, and of the daemon on it"
    )
    command.add_argument("--bundle", type=Path, required=True, help="the bundle to run")
    command.add_argument(
        "--images", type=Path, required=True, metavar="DIR", help="images to judge"
    )
    command.add_argument(
        "--count",
        type=whole(1, 1_000_000),
        default=500,
        help="images for the measurement under load (default: 500)",
    )
    command.add_argument(
        "--unloaded",
        type=whole(1, 1_000_000),
        default=30,
        help="images for the measurement one at a time (default: 30)",
    )
    command.add_argument(
        "--provider", default="auto", help="execution provider, as in [runtime] (default: auto)"
    )
    command.add_argument("--variant", default="auto", help="such as fp32 (default: auto)")
    command.add_argument("--workers", type=WORKERS, default=0, help="0: measured (default)")
    command.add_argument(
        "--threads", type=THREADS, default=0, help="per worker; 0: measured (default)"
    )
    command.add_argument(
        "--broker",
        type=address(1883),
        metavar="HOST[:PORT]",
        help="default: a mosquitto that bench starts for itself",
    )
    add_max_pixels(command)
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(command=bench)


def bench(parsed: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
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
