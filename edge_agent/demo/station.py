"""The whole way on this machine: a temporary station, the real daemon, images at a line's pace."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from edge_agent.bundle import read_manifest
from edge_agent.journal import JournalError, Record, stats, tail
from edge_agent.publish.state import HELD_UP
from edge_agent.settings import SettingsError
from edge_agent.system.child import python_module
from edge_agent.system.text import say
from edge_agent.types import Verdict

HERE = Path(__file__).parent
BUNDLE, IMAGES = HERE / "bundle", HERE / "images"
_READY = 60.0  # seconds a slow machine may take to load the bundle
_COLOURS = {Verdict.OK: "32", Verdict.DEFECT: "31", Verdict.REVIEW: "33", Verdict.ERROR: "35"}


def run_demo(
    *, seconds: float, pace: float, broker: tuple[str, int] | None, keep: Path | None
) -> int:
    """Run a station for about ``seconds`` at ``pace`` images a second; 0 when all were judged.

    Raises:
        SettingsError: ``keep`` is not an empty place, or the agent
            did not start.
    """
    with ExitStack() as stack:
        home = _home(keep, stack)
        found = _broker(broker)
        config = _write_station(home, found)
        _introduce(found)
        agent = _start(home, config, stack)
        count = max(1, round(seconds * pace))
        shown = _drop_and_show(home, agent, count, 1.0 / pace)
        complete = shown == count
        _stop(agent)
        _summarise(home, found)
        if not complete:
            say(f"only {shown} of {count} images were judged: see {home / 'agent.log'}")
        if keep is not None:
            say(f"the station is left in {home}; run it with")
            say(f"    edge-agent run --config {config}")
        return 0 if complete else 1


def _home(keep: Path | None, stack: ExitStack) -> Path:
    if keep is None:
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edge-agent-demo-")))
    if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise SettingsError(f"--keep {keep} is not an empty directory: name a new one")
    keep.mkdir(parents=True, exist_ok=True)
    return keep.resolve()


def _broker(given: tuple[str, int] | None) -> tuple[str, int] | None:
    """The broker to publish to: the one given, or one that listens on loopback."""
    if given is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", 1883), 0.3):
            return "127.0.0.1", 1883
    return given


def _write_station(home: Path, broker: tuple[str, int] | None) -> Path:
    (home / "inbox").mkdir()
    lines = [
        f'bundle = "{BUNDLE}"',
        "[station]",
        'site = "demo"',
        "[source.folder]",
        'path = "inbox"',
        "[storage]",
        'root = "state"',
        "[runtime]",  # a fixed one: the demo shows the way of an image, not the measuring
        'provider = "cpu"',
        'variant = "fp32"',
        "workers = 1",
    ]
    if broker:
        lines += ["[mqtt]", f'host = "{broker[0]}"', f"port = {broker[1]}"]
    config = home / "station.toml"
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return config


def _introduce(broker: tuple[str, int] | None) -> None:
    manifest = read_manifest(BUNDLE)
    say(f"bundle   {manifest.name} {manifest.version}: {manifest.notice}")
    if broker:
        say(f"broker   {broker[0]}:{broker[1]}, topics inspection/demo/line/station/#")
    else:
        say("broker   none on loopback: the journal keeps every verdict, nothing is published")
    say()


def _start(home: Path, config: Path, stack: ExitStack) -> subprocess.Popen[bytes]:
    log = stack.enter_context((home / "agent.log").open("w+b"))
    command = python_module("edge_agent", "run", "--config", str(config))
    agent = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    stack.callback(_stop, agent)
    deadline = time.monotonic() + _READY
    while b"ready: " not in (said := (home / "agent.log").read_bytes()):
        if agent.poll() is not None or time.monotonic() > deadline:
            raise SettingsError(f"the agent did not start:\n{said.decode(errors='replace')}")
        time.sleep(0.02)
    return agent


def _drop_and_show(home: Path, agent: subprocess.Popen[bytes], count: int, pause: float) -> int:
    """Drop images as a camera does, written aside and renamed in; print verdicts as they come."""
    samples = itertools.cycle(sorted(IMAGES.iterdir()))
    shown = dropped = 0
    due = time.monotonic()
    patience = due
    while shown < count and agent.poll() is None:
        now = time.monotonic()
        if dropped < count and now >= due:
            sample = next(samples)
            dropped += 1
            partial = home / "inbox" / f".{dropped}.partial"
            shutil.copyfile(sample, partial)
            kind = sample.name.partition("-")[2]
            partial.rename(home / "inbox" / f"{dropped:04}-{kind}")
            due, patience = due + pause, now + 10.0
        fresh = _since(home / "state" / "journal.db", shown)
        for record in fresh:
            _show(record)
        shown += len(fresh)
        if dropped == count and now > patience:
            break
        time.sleep(0.02)
    return shown


def _since(journal: Path, sequence: int) -> list[Record]:
    with contextlib.suppress(JournalError):  # not written to yet
        last = [record for record in tail(journal, 100) if isinstance(record, Record)]
        return [record for record in last if record.sequence > sequence]
    return []


def _show(record: Record) -> None:
    one = record.inspection
    verdict = f"{one.verdict.value.upper():6}"
    if sys.stdout.isatty():
        verdict = f"\033[{_COLOURS[one.verdict]}m{verdict}\033[0m"
    score = "     -" if one.score is None else f"{one.score:6.3f}"
    say(
        f"{verdict}  score {score}  {one.latency.total:6.1f} ms  {one.name}  {one.reason}".rstrip(),
        flush=True,
    )


def _stop(agent: subprocess.Popen[bytes]) -> None:
    if agent.poll() is None:
        agent.send_signal(signal.SIGTERM)
        try:
            agent.wait(15)
        except subprocess.TimeoutExpired:
            agent.kill()
            agent.wait()


def _taken(home: Path, count: int, waiting: int) -> str:
    """How many verdicts the broker has; of those that it has not, what the agent has logged."""
    if not waiting:
        return f"it has all {count} verdicts"
    what = "nothing was published" if waiting == count else f"{waiting} verdicts were not published"
    said = (home / "agent.log").read_text(encoding="utf-8", errors="replace").splitlines()
    why = [line.partition(f"{HELD_UP}: ")[2] for line in said if HELD_UP in line]
    return (
        f"{what}: {why[-1] if why else 'there was no time left'}; the journal keeps every verdict"
    )


def _summarise(home: Path, broker: tuple[str, int] | None) -> None:
    journal = home / "state" / "journal.db"
    found = stats(journal)
    if not found.count:
        return
    verdicts = ", ".join(f"{n} {v.value}" for v, n in found.verdicts.items() if n)
    say(f"\n{found.count} images: {verdicts}")
    if found.latency:
        total, infer = found.latency["total"], found.latency["infer"]
        say(
            f"latency  p50 {total.p50:.1f} ms, p95 {total.p95:.1f} ms from claim to verdict "
            f"(inference p50 {infer.p50:.1f} ms)"
        )
    for record in tail(journal, 1):
        if isinstance(record, Record):
            last = record.inspection
            say(
                f"memory   agent {last.agent_rss / 1e6:.0f} MB, worker "
                f"{last.worker_rss / 1e6:.0f} MB resident"
            )
    if broker:
        say(f"broker   {_taken(home, found.count, found.unacknowledged)}")
    kept = sum(1 for _ in (home / "state" / "processed").iterdir())
    say(f"files    {kept} in processed/, each with one row in the journal")
