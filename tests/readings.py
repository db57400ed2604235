"""What a station in good order says of itself."""

from __future__ import annotations

from edge_agent.system.percentiles import Percentiles
from edge_agent.telemetry.tally import Tally
from edge_agent.types.reading import Disk, Drift, Health, Reading
from tests.inspections import MODEL, inspection

WELL = Health(
    status="ok",
    reasons=(),
    inspections=3,
    verdicts={"ok": 2, "defect": 1, "review": 0, "error": 0},
    last_inspection_age=0.5,
    in_work=1,
    waiting=0,
    outbox=0,
    broker="connected",
    worker_restarts=0,
    ignored={"a\\n.txt": "its name matches no pattern"},
)


def _counted() -> Tally:
    tally = Tally()
    for number in (3, 30, 300):
        tally.add(inspection(number))
    return tally


READING = Reading(
    health=WELL,
    model=MODEL,
    degraded=False,
    workers=2,
    agent_rss=40_000_000,
    worker_rss=420_000_000,
    gpu_memory=None,
    disks=(Disk("state", 7 << 30, 10 << 30), Disk("processed", 70 << 30, 100 << 30)),
    stages=_counted().histograms(),
    recent={"infer": Percentiles(30.0, 300.0, 300.0)},
    drift=(
        Drift("brightness", 250, 4.25, 0.375, higher=True, drifting=True),
        Drift("score", 250, 0.0625, 0.125, higher=False, drifting=False),
    ),
)
