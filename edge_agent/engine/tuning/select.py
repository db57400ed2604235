"""Which candidate runs: by measurement, within what the settings allow."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edge_agent.engine.runtime.inventory import take_inventory
from edge_agent.engine.runtime.wheels import find_wheels
from edge_agent.engine.tuning.cache import (
    clear,
    cores,
    recall,
    remember,
    tuning_key,
    workers_that_fit,
)
from edge_agent.engine.tuning.candidates import Candidate, list_candidates
from edge_agent.engine.tuning.measure import Measured, choose, measure
from edge_agent.engine.worker.protocol import worker_options
from edge_agent.types.target import AUTO, ProviderError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge_agent.bundle import Bundle
    from edge_agent.engine.worker.protocol import WorkerOptions
    from edge_agent.settings import RuntimeSettings, WorkerSettings

log = logging.getLogger(__name__)

_TABLE = "tuning.json"


@dataclass(frozen=True)
class Choice:
    """What is to run, and what is left if it fails."""

    candidate: Candidate
    degraded: str
    """Why it is not what the settings ask for; empty when it is."""
    spare: tuple[Candidate, ...]
    """Candidates on other targets that were right, fastest first; empty without ``fallback``."""
    remembered: bool = False
    """Measured by an earlier start."""


class Selector:
    """Lists, measures and chooses candidates for one bundle on this machine."""

    def __init__(
        self,
        bundle: Bundle,
        runtime: RuntimeSettings,
        worker: WorkerSettings,
        cache: Path | None,
    ) -> None:
        """Nothing is asked or measured yet.

        Args:
            bundle: verified.
            runtime: what the settings ask for.
            worker: limits of the workers.
            cache: a writable directory for compiled models and the table; None: nothing is kept.
        """
        self._bundle = bundle
        self._runtime = runtime
        self._worker = worker
        self._cache = cache

    def options(self, candidate: Candidate) -> WorkerOptions:
        """What the workers of a candidate are told."""
        return worker_options(
            self._worker,
            self._runtime,
            self._bundle,
            variant=candidate.variant,
            provider=candidate.provider,
            threads=candidate.threads,
            cache=self._cache,
        )

    def table(self, tell: Callable[[Measured], None] = lambda _: None) -> list[Measured]:
        """Measure everything that the settings allow, and list what can't be had with its reason.

        Raises:
            ProviderError: clashing wheels, an unknown variant.
        """
        if clash := find_wheels().clash:
            raise ProviderError(clash)
        if self._runtime.variant != AUTO:
            self._bundle.variant(self._runtime.variant)
        wanted = self._runtime.provider
        strict = wanted != AUTO and not self._runtime.fallback
        return self._measure(tell, only=wanted if strict else None)

    def _measure(self, tell: Callable[[Measured], None], only: str | None) -> list[Measured]:
        inventory, wanted = take_inventory(), self._runtime.provider
        targets = [only] if only else list(inventory.offered)
        absent = inventory.absent
        if wanted != AUTO:
            targets = list(dict.fromkeys([wanted, *targets]))
            why = inventory.why_not(wanted)
            absent = {wanted: why} if why else {}
        targets = [target for target in targets if target not in absent]
        found = list_candidates(
            self._bundle.manifest,
            targets,
            cores(),
            variant=self._runtime.variant,
            threads=self._runtime.threads,
            workers=self._runtime.workers,
            fit=workers_that_fit(),
        )
        table = measure(
            self._bundle,
            found,
            self.options,
            scratch=self._cache,
            start_timeout=self._runtime.probe_timeout,
            frame_timeout=self._worker.frame_timeout,
            tell=tell,
        )
        for name, why in absent.items():
            table.append(Measured(Candidate("-", name, 0, 0), ok=False, reason=why))
            tell(table[-1])
        return table

    def select(self, *, again: bool = False) -> Choice:
        """Choose what runs: remembered, or measured now.

        Args:
            again: trust nothing that is remembered.

        Raises:
            ProviderError: what the settings name can't be had, and ``fallback`` is not set; or
                nothing at all can judge rightly.
        """
        if self._cache:
            own = (variant.sha256 for variant in self._bundle.manifest.variants)
            clear(self._cache, keep={_TABLE, *own})  # what other bundles were compiled to
        fixed = self._fixed()
        if fixed is not None:
            return Choice(fixed, "", ())
        key = tuning_key(self._bundle, find_wheels(), self._runtime)
        file = self._cache / _TABLE if self._cache else None
        table = recall(file, key) if file and not again else None
        if table is not None:
            choice = self.choose(table)
            if not (choice.degraded and self._is_back()):
                return replace(choice, remembered=True)
        self.forget()
        log.info("benchmarking runtimes for this bundle (first start only)")
        table = self.table(lambda one: log.info("%s", describe(one)))
        choice = self.choose(table)
        if file:
            remember(file, key, table)
        return choice

    def forget(self) -> None:
        """What was measured does not hold any more: the next start measures again."""
        if self._cache:
            clear(self._cache)

    def _is_back(self) -> bool:
        """Whether what the settings name, and was missed when all was measured, can be had now."""
        return any(one.ok for one in self._measure(lambda _: None, only=self._runtime.provider))

    def _fixed(self) -> Candidate | None:
        """Nothing to measure: everything is given, and nothing else would be taken."""
        runtime = self._runtime
        if AUTO in (runtime.provider, runtime.variant) or runtime.fallback or not runtime.workers:
            return None
        if clash := find_wheels().clash:
            raise ProviderError(clash)
        self._bundle.variant(runtime.variant)
        return Candidate(runtime.variant, runtime.provider, runtime.threads, runtime.workers)

    def choose(self, table: list[Measured]) -> Choice:
        """The fastest that is right among what the settings allow.

        Raises:
            ProviderError: nothing is.
        """
        wanted = self._runtime.provider
        asked = [one for one in table if wanted in (AUTO, one.candidate.provider)]
        best = choose(asked)
        degraded = ""
        if best is None:
            reasons = {f"{one.candidate.provider}: {one.reason}": None for one in asked}
            degraded = "; ".join(reasons) or f"nothing on this machine runs {wanted}"
            best = choose(table) if self._runtime.fallback else None
        if best is None:
            hint = "" if wanted == AUTO else ". Or set runtime.fallback = true to run on another"
            raise ProviderError(f"runtime.provider = {wanted!r} is not available: {degraded}{hint}")
        others = [one for one in table if one.candidate.provider != best.candidate.provider]
        spare: list[Candidate] = []
        while self._runtime.fallback and (then := choose(others)) is not None:
            spare.append(then.candidate)
            others = [o for o in others if o.candidate.provider != then.candidate.provider]
        return Choice(best.candidate, degraded, tuple(spare))


def describe(one: Measured) -> str:
    """A line for whoever waits while candidates are measured."""
    if one.ok:
        return f"{one.candidate}: {one.latency_ms:.1f} ms, {one.fps:.1f} frames/s"
    if not one.candidate.workers:
        return f"{one.candidate.provider}: not available: {one.reason}"
    return f"{one.candidate}: not used: {one.reason}"
