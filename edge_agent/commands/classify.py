"""``edge-agent classify``: judge files once, without a station."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.commands.exits import FOUND_DEFECT, MISTAKE, OK
from edge_agent.commands.options import THREADS, add_max_pixels
from edge_agent.settings import SettingsError, WorkerSettings
from edge_agent.system.text import printable, say, say_json
from edge_agent.types.target import parse_target

if TYPE_CHECKING:
    import argparse

    from edge_agent.system.arguments import Subcommands


def add(commands: Subcommands) -> None:
    """Its options."""
    command = commands.add_parser("classify", help="judge files once, without a station")
    command.add_argument("--bundle", type=Path, required=True, help="folder of the bundle")
    command.add_argument("--variant", default="fp32", help="variant of the model (default: fp32)")
    command.add_argument(
        "--provider", default="cpu", help="cpu (default), openvino:CPU, openvino:GPU, cuda ..."
    )
    command.add_argument(
        "--threads",
        type=THREADS,
        default=0,
        help="threads per inference (default: 0, one per core)",
    )
    add_max_pixels(command)
    command.add_argument(
        "--implausible",
        choices=("error", "review", "ok"),
        default="error",
        help="verdict for images that don't show the part (default: error); ok: judge by score",
    )
    command.add_argument("--json", action="store_true", help="print one JSON object per line")
    command.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="images or folders")
    command.set_defaults(command=classify)


def classify(parsed: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    from edge_agent.line.classify import classify, find_images
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
