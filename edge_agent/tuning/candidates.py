"""What could be run: every variant on every target, in a few layouts of workers and threads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_agent.bundle import Manifest


@dataclass(frozen=True)
class Candidate:
    """One way to run the bundle on this machine."""

    variant: str
    provider: str
    """Name of the target, as in the settings."""
    threads: int
    workers: int

    def __str__(self) -> str:
        return f"{self.variant} on {self.provider}, {self.workers} x {self.threads}"


def list_candidates(
    manifest: Manifest,
    targets: Sequence[str],
    cores: int,
    *,
    variant: str = "auto",
    threads: int = 0,
    workers: int = 0,
) -> list[Candidate]:
    """Everything worth trying; what is given narrows it down.

    FP16 is for GPUs and NPUs: no CPU computes in it.

    Args:
        manifest: of the bundle.
        targets: names of what may be used.
        cores: of this machine, for this process.
        variant: a name, or ``auto``.
        threads: for one inference on a CPU; 0: found out.
        workers: processes; 0: found out.
    """
    found = []
    for target in targets:
        on_cpu = target in ("cpu", "openvino:CPU")
        for one in manifest.variants:
            if variant not in ("auto", one.name):
                continue
            if variant == "auto" and on_cpu and one.precision == "fp16":
                continue
            for count, each in _layouts(cores) if on_cpu else ((1, 1), (2, 1)):
                if workers not in (0, count) or (threads not in (0, each) and on_cpu):
                    continue
                found.append(Candidate(one.name, target, each, count))
            if workers and threads and not any(c.provider == target for c in found):
                found.append(Candidate(one.name, target, threads, workers))
    return found


def _layouts(cores: int) -> list[tuple[int, int]]:
    """Workers x threads: from one worker with every core to one core a worker."""
    counts = {1, max(1, cores // 2), cores}
    return [(workers, max(1, cores // workers)) for workers in sorted(counts)]
