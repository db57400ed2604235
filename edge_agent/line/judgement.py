"""From a worker's answer to the inspection that is recorded."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from edge_agent.line.decide import decide
from edge_agent.types import Failure, Inspection, Latency, Region, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edge_agent.bundle import Decision
    from edge_agent.engine.worker.protocol import Ready
    from edge_agent.settings import Instead
    from edge_agent.types import Claim, Model, Prediction


class Judgement:
    """What decides: thresholds by variant, and what is said of an implausible picture."""

    def __init__(
        self,
        decisions: Mapping[str, Decision],
        implausible: Instead,
        model_of: Callable[[Ready], Model],
        reserve: Callable[..., str],
    ) -> None:
        """It decides by this until `change`.

        Args:
            decisions: by variant, whichever runs.
            implausible: the verdict on a picture that the bundle was not made for.
            model_of: what an inspection says of the worker that judged.
            reserve: chooses the place where a frame will be filed: `Spool.reserve`.
        """
        self.decisions = decisions
        self._implausible = implausible
        self._model_of = model_of
        self._reserve = reserve

    def change(self, decisions: Mapping[str, Decision], implausible: Instead) -> None:
        """Decide by this from now on."""
        self.decisions, self._implausible = decisions, implausible

    def inspect(
        self, claim: Claim, ran: Ready, what: Prediction | Failure, *, total: float, rss: int
    ) -> Inspection:
        """The inspection of a frame.

        Args:
            claim: the frame.
            ran: what the worker that judged runs.
            what: its answer.
            total: milliseconds since the claim.
            rss: bytes that the daemon has resident.
        """
        decision = self.decisions[ran.variant]
        score: float | None = None
        regions = tuple[Region, ...]()
        if isinstance(what, Failure):
            verdict, reason = Verdict.ERROR, what.reason
        else:
            reason = "" if self._implausible == "ok" else what.implausible
            verdict = decide(what.score, decision, reason, self._implausible)
            if verdict is not Verdict.ERROR:
                score, regions = what.score, what.regions
        own = what.latency
        busy = own.decode + own.preprocess + own.infer
        return Inspection(
            id=claim.id,
            verdict=verdict,
            score=score,
            threshold=decision.threshold,
            reason=reason,
            name=claim.name,
            image=what.image,
            captured=claim.captured,
            received=claim.received,
            completed=time.time(),
            model=self._model_of(ran),
            latency=Latency(
                wait=max(0.0, total - busy),
                decode=own.decode,
                preprocess=own.preprocess,
                infer=own.infer,
                total=total,
            ),
            worker_rss=what.worker_rss,
            agent_rss=rss,
            regions=regions,
            appearance=None if isinstance(what, Failure) else what.appearance,
            gpu_memory=what.gpu_memory,
            reply=claim.reply,
            # Chosen before the commit, so that verdict and journal can say it, and kept from then
            # on: a start finds it in the journal.
            stored=self._reserve(claim, quarantined=verdict is Verdict.ERROR),
        )
