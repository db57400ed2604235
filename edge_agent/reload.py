"""Take other settings, and another bundle, without a restart.

The new bundle is verified and proved beside the one that runs, in a thread; only then does the
worker that proved it take the place of the old ones, between two frames, and is joined by as many
as there are to be. Whatever is wrong with the bundle, the old one goes on.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from edge_agent.bundle import BundleError, look_at_bundle
from edge_agent.bundle.history import check_version, remember
from edge_agent.decide import overridden
from edge_agent.running import Prepared
from edge_agent.settings import Settings, SettingsError, load_settings
from edge_agent.target import ProviderError
from edge_agent.tuning.select import Choice, Selector
from edge_agent.worker.pool import WorkerPool, WorkerStartError
from edge_agent.worker.verify import verify_apart

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge_agent.bundle import Bundle
    from edge_agent.loop import Loop
    from edge_agent.running import Running
    from edge_agent.telemetry.systemd import ServiceLink

log = logging.getLogger(__name__)

TAKEN = ("bundle", "decision", "trust", "log")
"""What can change while the agent runs."""


def open_trusted(settings: Settings) -> Bundle:
    """Verify the bundle of the settings: its signature, its files, and that it is no older one.

    Raises:
        BundleError: it may not run here.
    """
    bundle = verify_apart(settings.bundle, settings.trust)
    if not settings.trust.allow_downgrade:
        check_version(settings.storage.bundles, bundle.manifest)
    return bundle


def note_running(settings: Settings, bundle: Bundle) -> None:
    """Write down that the bundle runs: an older one is then refused."""
    try:
        remember(settings.storage.bundles, bundle.manifest)
    except OSError as error:
        log.warning("%s can't be written: %s", settings.storage.bundles, error.strerror)


class Reload:
    """Does what SIGHUP asks for, a step at a time, in the loop's thread."""

    def __init__(
        self,
        file: Path,
        settings: Settings,
        *,
        running: Running,
        pool: WorkerPool,
        loop: Loop,
        cache: Path | None,
        service: ServiceLink,
        notify: Callable[[], None],
    ) -> None:
        self._file = file
        self._settings = settings
        self._running = running
        self._pool = pool
        self._loop = loop
        self._cache = cache
        self._service = service
        self._notify = notify
        self._wanted = False
        self._thread: threading.Thread | None = None
        self._asked = settings
        """What is being prepared."""
        self._outcome: Prepared | Bundle | str | None = None
        """What came of it: a bundle to take, the one that runs, or why there is none."""
        self.refused = ""
        """Why the last reload was not carried out; empty if it was."""

    def want(self) -> None:
        """Reload at the next step; from a signal handler."""
        self._wanted = True
        self._pool.wake()

    def step(self) -> None:
        """Begin what is wanted; finish what is prepared."""
        if self._thread is not None and self._outcome is not None:
            self._thread.join()
            outcome, self._thread, self._outcome = self._outcome, None, None
            self._change_over(outcome)
        if self._wanted and self._thread is None:
            self._wanted = False
            self._begin()

    def close(self) -> None:
        """Send home what waits to take over."""
        if isinstance(self._outcome, Prepared):
            self._outcome.proven.close()

    def _begin(self) -> None:
        self._service.reloading()
        try:
            new = load_settings(self._file)
            later = [n for n in Settings.model_fields if _differ(n, new, self._settings)]
            self._asked = self._settings.model_copy(update={n: getattr(new, n) for n in TAKEN})
        except SettingsError as error:
            self._end(str(error))
            return
        if waits := [name for name in later if name not in TAKEN]:
            log.warning("changed, and taken at the next restart: %s", ", ".join(waits))
        self._thread = threading.Thread(target=self._prepare, name="reload", daemon=True)
        self._thread.start()

    def _prepare(self) -> None:
        runs = self._running
        try:
            found = look_at_bundle(self._asked.bundle.resolve())
            if (found.path, found.digest) == (runs.bundle.path, runs.bundle.digest):
                self._outcome = runs.bundle
            else:
                log.info("verifying %s, while %s goes on", found.path, runs.bundle.path)
                self._outcome = prepare(self._asked, runs.choice, self._cache)
        except (BundleError, ProviderError, WorkerStartError, SettingsError) as error:
            self._outcome = str(error)
        except Exception as error:  # a thread's traceback would tell nobody
            log.exception("the new bundle can't be prepared")
            self._outcome = f"it can't be prepared: {type(error).__name__}: {error}"
        self._pool.wake()

    def _change_over(self, outcome: Prepared | Bundle | str) -> None:
        if isinstance(outcome, str):
            self._end(outcome)
        elif isinstance(outcome, Prepared):
            self._running.change_over(self._pool, outcome)
            self._decide_by(outcome.bundle)
            note_running(self._settings, outcome.bundle)
            self._notify()
        else:
            self._decide_by(outcome)

    def _decide_by(self, bundle: Bundle) -> None:
        decision = self._asked.decision
        try:
            self._loop.decision = overridden(
                bundle.manifest.decision, decision.threshold, decision.review
            )
        except SettingsError as error:
            self._end(str(error))
            return
        self._settings = self._asked
        logging.getLogger().setLevel(self._settings.log.level.upper())
        manifest = bundle.manifest
        log.info(
            "reloaded: %s %s, threshold %.4f",
            *(manifest.name, manifest.version, self._loop.decision.threshold),
        )
        self._end("")

    def _end(self, refused: str) -> None:
        if refused:
            log.error(
                "not reloaded, what ran before goes on: %s. Mend %s: the next start refuses it",
                *(refused, self._file),
            )
        self.refused = refused
        self._service.ready()


def prepare(settings: Settings, current: Choice, cache: Path | None) -> Prepared:
    """Verify a bundle and let a worker prove its golden images, on what runs now if that fits.

    Raises:
        BundleError, ProviderError, WorkerStartError, SettingsError: it may not, or can't, run here.
    """
    bundle = open_trusted(settings)
    decision = settings.decision
    overridden(bundle.manifest.decision, decision.threshold, decision.review)
    selector = Selector(bundle, settings.runtime, settings.worker, cache)
    has = {variant.name for variant in bundle.manifest.variants}
    # Measuring would take the cores from the line. The next start measures.
    choice = current if current.candidate.variant in has else selector.select()
    choice = replace(choice, spare=tuple(one for one in choice.spare if one.variant in has))
    pool = WorkerPool(
        selector.options(choice.candidate),
        workers=1,
        frame_timeout=settings.worker.frame_timeout,
        start_timeout=settings.worker.start_timeout,
    )
    try:
        ready = pool.start()
    except WorkerStartError:
        pool.close()
        raise
    return Prepared(bundle, selector, choice, pool, ready)


def _differ(name: str, new: Settings, old: Settings) -> bool:
    return bool(getattr(new, name) != getattr(old, name))
