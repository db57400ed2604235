"""An inspection as a row of the journal, and back."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from edge_agent.system.text import printable
from edge_agent.types import Image, Inspection, Latency, Model, Region, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COLUMNS = (
    "sequence", "id", "verdict", "score", "threshold", "reason", "name",
    "sha256", "bytes", "width", "height", "captured", "received", "completed",
    "model", "version", "variant", "provider", "device",
    "wait", "decode", "preprocess", "infer", "total", "worker_rss", "agent_rss", "regions",
    "gpu_memory", "digest", "stored",
)  # fmt: skip


KNOWN_VERDICTS = frozenset(verdict.value for verdict in Verdict)
_WHOLE = {"sequence", "bytes", "width", "height", "worker_rss", "agent_rss", "gpu_memory"}
_REAL = {
    "score", "threshold", "captured", "received", "completed",
    "wait", "decode", "preprocess", "infer", "total",
}  # fmt: skip
MODEL = ("model", "version", "variant", "provider", "device", "digest")
"""The columns of a `Model`, in its order."""
_MAY_BE_NULL = {"score", "gpu_memory", "stored"}
_REGION = {"x": (int,), "y": (int,), "width": (int,), "height": (int,), "peak": (int, float)}


@dataclass(frozen=True)
class Unreadable:
    """A row that a disk or another program has damaged."""

    sequence: int
    fault: str
    """What is wrong with it."""


@dataclass(frozen=True)
class Record:
    """An inspection with its place in the journal."""

    sequence: int
    inspection: Inspection


def to_row(sequence: int, i: Inspection) -> tuple[Any, ...]:
    """The values of ``COLUMNS``."""
    image, model, latency = i.image, i.model, i.latency
    return (
        sequence, i.id, i.verdict.value, i.score, i.threshold, printable(i.reason),
        printable(i.name), image.sha256, image.bytes, image.width, image.height,
        i.captured, i.received, i.completed,
        model.name, model.version, model.variant, model.provider, model.device,
        latency.wait, latency.decode, latency.preprocess, latency.infer, latency.total,
        i.worker_rss, i.agent_rss,
        json.dumps([asdict(region) for region in i.regions], separators=(",", ":")),
        i.gpu_memory, model.digest, i.stored or None,
    )  # fmt: skip


def fault_of(values: Mapping[str, Any]) -> str:
    """Why the values of these columns are no row of ours; empty where they are."""
    for column, value in values.items():
        if not _fits(column, value):
            shown = "nothing" if value is None else printable(repr(value), 60)
            return f"{column} is {shown}"
    return ""


def to_record(row: Sequence[Any]) -> Record | Unreadable:
    """The reverse of `to_row`."""
    v = dict(zip(COLUMNS, row, strict=True))
    if fault := fault_of(v):
        return Unreadable(v["sequence"], fault)
    return Record(
        v["sequence"],
        Inspection(
            id=v["id"],
            verdict=Verdict(v["verdict"]),
            score=v["score"],
            threshold=v["threshold"],
            reason=v["reason"],
            name=v["name"],
            image=Image(v["sha256"], v["bytes"], v["width"], v["height"]),
            captured=v["captured"],
            received=v["received"],
            completed=v["completed"],
            model=Model(*(v[key] for key in MODEL)),
            latency=Latency(v["wait"], v["decode"], v["preprocess"], v["infer"], v["total"]),
            worker_rss=v["worker_rss"],
            agent_rss=v["agent_rss"],
            regions=tuple(Region(**region) for region in json.loads(v["regions"])),
            gpu_memory=v["gpu_memory"],
            stored=v["stored"] or "",
        ),
    )


def _fits(column: str, value: Any) -> bool:
    if value is None:
        return column in _MAY_BE_NULL
    if column in _WHOLE:
        return isinstance(value, int)
    if column in _REAL:
        return isinstance(value, (int, float)) and math.isfinite(value)
    if not isinstance(value, str):
        return False
    if column == "verdict":
        return value in KNOWN_VERDICTS
    return column != "regions" or _are_regions(value)


def _are_regions(text: str) -> bool:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, list) and all(
        isinstance(one, dict)
        and one.keys() == _REGION.keys()
        and all(isinstance(one[key], kind) for key, kind in _REGION.items())
        for one in found
    )
