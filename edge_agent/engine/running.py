"""What judges now, and what takes its place: another bundle, or what is left of the providers."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edge_agent.engine.worker.pool import WorkerPool, WorkerStartError
from edge_agent.types import Model
from edge_agent.types.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.bundle import Bundle
    from edge_agent.engine.tuning.select import Choice, Selector
    from edge_agent.engine.worker.protocol import Ready

log = logging.getLogger(__name__)


class LostError(Exception):
    """The execution provider was lost while running; the message says how."""


@dataclass(frozen=True)
class Prepared:
    """A bundle that has proved itself, and what is to run it."""

    bundle: Bundle
    selector: Selector
    choice: Choice
    proven: WorkerPool
    """One worker, ready to judge with it."""
    ready: Ready
    """What that worker says of itself."""
    instead: Choice
    """What ran when this was prepared, and may have been lost since."""


class Running:
    """What runs now, and what it would be replaced by if it failed."""

    def __init__(self, bundle: Bundle, selector: Selector, choice: Choice, ready: Ready) -> None:
        self.bundle = bundle
        self.selector = selector
        self.choice = choice
        """What was chosen, or fallen back to."""
        self._ready = ready

    @property
    def degraded(self) -> str:
        """Why it is not what was asked for; empty when it is."""
        return self.choice.degraded

    @property
    def model(self) -> Model:
        """What was announced last."""
        return self.model_of(self._ready)

    def model_of(self, ran: Ready) -> Model:
        """What judged, in the words of the worker that did."""
        return Model(
            self.bundle.manifest.name,
            self.bundle.manifest.version,
            *(ran.variant, ran.provider, ran.device),
            self.bundle.digest,
        )

    def change_over(self, pool: WorkerPool, to: Prepared) -> None:
        """Let the worker that has proved another bundle judge from now on; others join it."""
        candidate = to.choice.candidate
        pool.replace(to.selector.options(candidate), candidate.workers, to.proven.release())
        to.proven.close()
        self.bundle, self.selector, self.choice = to.bundle, to.selector, to.choice
        self._ready = to.ready

    def fall_back(self, pool: WorkerPool, meanwhile: Callable[[], None]) -> None:
        """Replace a provider that was lost by the next one that was right.

        ``meanwhile`` is called while workers start: that may take longer than a watchdog's period.

        Raises:
            LostError: there is none, or ``fallback`` is not set.
        """
        self.selector.forget()
        why, lost = pool.lost, Target(self._ready.provider, self._ready.device).name
        while self.choice.spare:
            spare, *others = self.choice.spare
            degraded = f"{lost} was lost: {why}"
            self.choice = replace(
                self.choice, candidate=spare, spare=tuple(others), degraded=degraded
            )
            log.error("degraded: %s; continuing with %s", degraded, spare)
            pool.replace(self.selector.options(spare), spare.workers)
            try:
                ready = pool.start(meanwhile)
            except WorkerStartError as error:
                why, lost = str(error), spare.provider
            else:
                self._ready = ready
                return
        raise LostError(f"{lost} was lost, and no other provider is available: {why}")
