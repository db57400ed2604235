"""Put bare loop and daemon beside each other, on the same images, in one run."""

from __future__ import annotations

import itertools
import tempfile
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.bench.bare import run_bare
from edge_agent.bench.whole import Plant, a_broker
from edge_agent.bundle.preprocess import MAX_PIXELS
from edge_agent.engine.tuning.cache import cores
from edge_agent.engine.tuning.select import Selector
from edge_agent.engine.worker.verify import verify_apart
from edge_agent.settings import RuntimeSettings, SettingsError, WorkerSettings
from edge_agent.system.percentiles import percentiles

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.engine.tuning.candidates import Candidate

_STAGES = ("wait", "decode", "preprocess", "infer", "total")
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pnm")


@dataclass(frozen=True)
class Bench:
    """The figures; ``as_json`` has the shape that others rely on."""

    candidate: Candidate
    images: int
    ceiling_fps: float
    agent_fps: float
    latency_ms: dict[str, dict[str, float]]
    """By stage: p50, p95, p99, of the unloaded station."""
    overhead_ms: dict[str, float]
    """p50, p95: renamed in -> message at the subscriber, less the bare loop's time for it."""
    pss_mb: tuple[float, float]

    def as_json(self) -> dict[str, Any]:
        """One object."""
        return {
            "images": self.images,
            "candidate": asdict(self.candidate),
            "ceiling_fps": round(self.ceiling_fps, 2),
            "agent_fps": round(self.agent_fps, 2),
            "ratio": round(self.agent_fps / self.ceiling_fps, 4),
            "latency_ms": self.latency_ms,
            "overhead_ms": self.overhead_ms,
            "pss_mb": {"start": self.pss_mb[0], "end": self.pss_mb[1]},
        }


def run_bench(
    bundle_path: Path,
    folder: Path,
    *,
    count: int,
    unloaded: int,
    pause: float = 0.2,
    runtime: RuntimeSettings,
    broker: tuple[str, int] | None,
    max_pixels: int = MAX_PIXELS,
    tell: Callable[[str], None],
) -> Bench:
    """Measure; the bare loop before and after the daemon, for the machine's speed drifts.

    Args:
        bundle_path: what is run.
        folder: images, taken over and over until there are enough.
        count: images at once.
        unloaded: images one by one.
        pause: seconds between those.
        runtime: which candidate, or ``auto``.
        broker: HOST[:PORT]; None: a mosquitto of its own.
        max_pixels: as a station's.
        tell: called with what begins.

    Raises:
        SettingsError: no image, no broker, or the daemon failed.
        BundleError, ProviderError: the bundle can't be run.
    """
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES and p.is_file())
    if not found:
        raise SettingsError(f"no image in {folder}")
    images = list(itertools.islice(itertools.cycle(found), count))
    bundle = verify_apart(bundle_path)
    with tempfile.TemporaryDirectory(prefix="edge-agent-bench-") as place:
        home = Path(place)
        tell("choosing the fastest runtime")
        candidate = Selector(bundle, runtime, WorkerSettings(), None).select().candidate
        single = found[:unloaded]
        processes = max(candidate.workers, cores() // (candidate.threads or cores()))
        tell(f"{candidate}: the bare loop")
        before = run_bare(bundle, candidate, images, processes, max_pixels=max_pixels)
        with (
            a_broker(broker, home) as address,
            closing(Plant(home / "station", bundle.path, candidate, address, max_pixels)) as plant,
        ):
            tell("the daemon, one image after the other")
            alone = plant.one_by_one(single, pause)
            tell(f"the daemon, {count} images at once")
            whole = plant.sustain(images)
        tell("the bare loop again")
        after = run_bare(bundle, candidate, images, processes, max_pixels=max_pixels)
        bare = run_bare(bundle, candidate, single, 1, pause, max_pixels).milliseconds
    overhead = percentiles(
        alone.seconds_to_message[str(i)] * 1e3 - bare[str(i)] for i in single
    ).rounded(3)
    return Bench(
        candidate=candidate,
        images=count,
        ceiling_fps=2 / (1 / before.fps + 1 / after.fps),
        agent_fps=whole.fps,
        latency_ms={
            stage: asdict(percentiles(v["latency_ms"][stage] for v in alone.verdicts).rounded(3))
            for stage in _STAGES
        },
        overhead_ms={"p50": overhead.p50, "p95": overhead.p95},
        pss_mb=whole.pss_mb,
    )
