"""Inspections as they come from `decide`, with everything filled in."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from edge_agent.types import Image, Inspection, Latency, Model, Region, Verdict

MODEL = Model("demo", "1.2.0", "fp32", "CPUExecutionProvider", "CPU", "3f2a91c07d5e" + 52 * "0")


def inspection(number: int, verdict: Verdict = Verdict.OK, **changes: Any) -> Inspection:
    """The inspection of frame ``number``; the same number gives the same one."""
    failed = verdict is Verdict.ERROR
    made = Inspection(
        id=f"{number:08d}-{hashlib.sha256(str(number).encode()).hexdigest()[:12]}",
        verdict=verdict,
        score=None if failed else (number % 1000) / 1000,
        threshold=0.5,
        reason="the file is empty" if failed else "",
        name=f"part {number}.png",
        image=Image(hashlib.sha256(b"%d" % number).hexdigest(), 1000 + number, 500, 1250),
        captured=1_790_000_000.25 + number,
        received=1_790_000_000.5 + number,
        completed=1_790_000_000.75 + number,
        model=MODEL,
        latency=Latency(1.5, 2.25, 3.125, float(number), 4.0 + number),
        worker_rss=210_000_000,
        agent_rss=40_000_000,
        stored=f"{'quarantine' if failed else 'processed'}/part {number}.png",
        regions=(Region(10, 20, 30, 40, 0.875),) if verdict is Verdict.DEFECT else (),
    )
    return replace(made, **changes)


def plain(sequence: int, made: Inspection) -> bytes:
    """A payload that a test can recognise."""
    return f"{sequence} {made.id}".encode()
