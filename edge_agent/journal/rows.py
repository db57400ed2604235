"""An inspection as a row of the journal, and back."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from edge_agent.text import printable
from edge_agent.types import Image, Inspection, Latency, Model, Region, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS = (
    "sequence", "id", "verdict", "score", "threshold", "reason", "name",
    "sha256", "bytes", "width", "height", "captured", "received", "completed",
    "model", "version", "variant", "provider", "device",
    "wait", "decode", "preprocess", "infer", "total", "worker_rss", "agent_rss", "regions",
    "gpu_memory",
)  # fmt: skip


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
        i.gpu_memory,
    )  # fmt: skip


def to_record(row: Sequence[Any]) -> Record:
    """The reverse of `to_row`."""
    v = dict(zip(COLUMNS, row, strict=True))
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
            model=Model(v["model"], v["version"], v["variant"], v["provider"], v["device"]),
            latency=Latency(v["wait"], v["decode"], v["preprocess"], v["infer"], v["total"]),
            worker_rss=v["worker_rss"],
            agent_rss=v["agent_rss"],
            regions=tuple(Region(**region) for region in json.loads(v["regions"])),
            gpu_memory=v["gpu_memory"],
        ),
    )
