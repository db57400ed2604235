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
        workers = "1 worker" if self.workers == 1 else f"{self.workers} workers"
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{self.variant} on {self.provider}, {workers} x {threads}"

    def is_like(self, other: Candidate) -> bool:
        """The same but for workers and threads."""
        return (self.variant, self.provider) == (other.variant, other.provider)


def list_candidates(
    manifest: Manifest,
    targets: Sequence[str],
    cores: int,
    *,
    variant: str = "auto",
    threads: int = 0,
    workers: int = 0,
    fit: int | None = None,
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
        fit: the most of them that memory holds; None: it sets no limit.
    """
    found = []
    for target in targets:
        on_cpu = target in ("cpu", "openvino:CPU")
        layouts = _layouts(cores if on_cpu else 0, workers, threads, fit)
        for one in manifest.variants:
            if variant not in ("auto", one.name):
                continue
            if variant == "auto" and on_cpu and one.precision == "fp16":
                continue
            found += [Candidate(one.name, target, each, count) for count, each in layouts]
    return found


def _layouts(cores: int, workers: int, threads: int, most: int | None) -> list[tuple[int, int]]:
    """Workers x threads, fewest workers first; what is given stands.

    On a CPU from one worker with every core to one core a worker, but ``most`` workers. Elsewhere
    (``cores`` is 0) one worker, or two, of which one decodes while the other's frame is on the
    device.
    """
    if workers:
        return [(workers, threads or max(1, cores // workers))]
    tried = {1, max(1, cores // 2), cores} if cores else {1, 2}
    counts = sorted({min(count, most) for count in tried} if most else tried)
    if threads:
        fit = [count for count in counts if count * threads <= max(cores, threads)]
        return [(count, threads) for count in (fit if cores else counts)]
    return [(count, max(1, cores // count)) for count in counts]
