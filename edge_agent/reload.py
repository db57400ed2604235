"""Take other settings, and another bundle, without a restart: by SIGHUP, or by a command.

The new bundle is verified and proved beside the one that runs, in a thread; only then does the
worker that proved it take the place of the old ones, between two frames, and is joined by as many
as there are to be. Whatever is wrong with the bundle, the old one goes on.
"""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from edge_agent.bundle import BundleError, look_at_bundle
from edge_agent.bundle.history import (
    bundle_before,
    bundle_to_run,
    check_version,
    ran_last,
    remember,
)
from edge_agent.engine.orders import STOPS
from edge_agent.engine.running import Prepared
from edge_agent.engine.tuning.select import Choice, Selector
from edge_agent.engine.worker.pool import WorkerPool, WorkerStartError
from edge_agent.engine.worker.verify import verify_apart
from edge_agent.line.decide import decisions_for, in_words
from edge_agent.settings import Settings, SettingsError, load_settings
from edge_agent.system.limits import shortage
from edge_agent.types.target import ProviderError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edge_agent.bundle import Bundle, Decision
    from edge_agent.bundle.history import Ran
    from edge_agent.engine.orders import Order, Orders
    from edge_agent.engine.running import Running
    from edge_agent.line.judgement import Judgement
    from edge_agent.telemetry.systemd import ServiceLink

log = logging.getLogger(__name__)

TAKEN = ("bundle", "decision", "trust", "log")
"""What can change while the agent runs."""


@dataclass(frozen=True)
class Wish:
    """What is to be from now on."""

    settings: Settings
    bundle: Path
    """What is to run: as the settings name it, or as a command chose."""
    order: Order | None = None
    """The command that asks for it; None: it was SIGHUP."""
    ran: Ran | None = None
    """What it is if it is a way back: nobody brought it, so it may be of a lower version."""


def wish_of(settings: Settings) -> Wish:
    """What a start with these settings is to run.

    Raises:
        BundleError: it is not known what a command chose.
    """
    return Wish(settings, bundle_to_run(settings.storage.bundles, settings.bundle))


def open_trusted(wish: Wish) -> Bundle:
    """Verify the bundle that is to run: its signature, its files, and that it is no older one.

    Raises:
        BundleError: it may not run here.
    """
    settings = wish.settings
    try:
        bundle = verify_apart(wish.bundle, settings.trust)
    except BundleError as error:
        if wish.order or wish.bundle == settings.bundle:
            raise
        raise BundleError(
            f"{error}. It was chosen by a command: to run {settings.bundle} instead, delete "
            f"{settings.storage.bundles}"
        ) from None
    back = wish.ran is not None and wish.ran.digest == bundle.digest
    if not settings.trust.allow_downgrade and not back:
        check_version(settings.storage.bundles, bundle.manifest)
    return bundle


def note_running(wish: Wish, bundle: Bundle) -> bool:
    """Write down that the bundle runs, for the next start and for the way back; False: can't.

    A bundle of another name than the last one's is another product's: the log warns of it.
    """
    settings, chosen = wish.settings, wish.order is not None or wish.bundle != wish.settings.bundle
    history, back = settings.storage.bundles, wish.ran is not None
    try:
        last = ran_last(history)
        remember(history, bundle, settings.bundle, chosen=chosen, back=back)
    except (OSError, BundleError, ValueError) as error:
        log.warning("%s can't be written: %s", history, error)
        return False
    if last and last.name not in ("", bundle.manifest.name):
        log.warning("bundle changed: %s runs now, before it %s", bundle.title, last.name)
    return True


def check_name(order: Order | None, found: Bundle, runs: Bundle) -> None:
    """See that an order which leads to a bundle of another name than what runs says so.

    Raises:
        BundleError: it does not, or the bundle is not called what it says; with what to send.
    """
    if order is None:
        return
    name = found.manifest.name
    if (order.name or runs.manifest.name) == name:
        return
    meant = json.dumps({**order.body, "name": name})
    if order.name is None:
        raise BundleError(
            f"{found.title} has another name than {runs.title}, which is running: to switch the "
            f"station to it, send {meant}"
        )
    raise BundleError(f"{found.path.name} holds {found.title}, not {order.name}: send {meant}")


@dataclass(frozen=True)
class ReloadParts:
    """The parts of the station that a reload asks and changes."""

    orders: Orders
    running: Running
    pool: WorkerPool
    wake: Callable[[], None]
    """Has the loop take the next step at once; from any thread or signal handler."""
    judgement: Judgement
    service: ServiceLink
    notify: Callable[[], None]
    """Called when what the station says of itself has changed."""
    cache: Path | None
    """Where measurements are kept."""


class Reload:
    """Does what SIGHUP or an order asks for, a step at a time, in the loop's thread."""

    def __init__(self, file: Path, settings: Settings, parts: ReloadParts) -> None:
        """Nothing is wanted yet; ``settings`` are what runs, as read from ``file``."""
        self._file = file
        self._settings = settings
        self._parts = parts
        self._wanted = False
        self._wish: Wish | None = None
        """What is being prepared."""
        self._wishes: SimpleQueue[Wish] = SimpleQueue()
        self._thread: threading.Thread | None = None
        """Never ends: a worker dies with the thread that started it."""
        self._outcome: Prepared | Bundle | str | None = None
        """What came of it: a bundle to take, the one that runs, or why there is none."""
        self.refused = ""
        """Why the settings were not taken at the last SIGHUP; empty if they were."""

    def want(self) -> None:
        """Reload at the next step; from a signal handler."""
        self._wanted = True
        self._parts.wake()

    def step(self) -> None:
        """Begin what is wanted; finish what is prepared."""
        if self._wish is not None and self._outcome is not None:
            wish, outcome = self._wish, self._outcome
            self._wish = self._outcome = None
            self._change_over(wish, outcome)
        if self._wish is not None:
            return
        if self._wanted:
            self._wanted = False
            self._begin(None)
        elif order := self._parts.orders.take():
            self._begin(order)

    def close(self) -> None:
        """Answer what will not be done any more, and send home what waits to take over."""
        self._parts.orders.close()
        if self._wish is not None:
            if self._wish.order:
                self._wish.order.answer.refused(STOPS)
            else:
                log.warning("stopping, so not reloaded: the next start uses %s", self._wish.bundle)
        if isinstance(self._outcome, Prepared):
            self._outcome.proven.close()

    def _begin(self, order: Order | None) -> None:
        self._parts.service.reloading()
        try:
            wish = self._ordered(order) if order else self._reread()
        except (SettingsError, BundleError) as error:
            self._end(order, str(error))
            return
        self._let_prepare(wish)

    def _let_prepare(self, wish: Wish) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._serve, name="reload", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                self._end(wish.order, shortage(error) or str(error))
                return
            self._thread = thread
        self._wish = wish
        self._wishes.put(wish)

    def _serve(self) -> None:
        while True:
            self._prepare(self._wishes.get())
            self._parts.wake()

    def _reread(self) -> Wish:
        new = load_settings(self._file)
        later = [n for n in Settings.model_fields if _differ(n, new, self._settings)]
        if waits := [name for name in later if name not in TAKEN]:
            log.warning("%s changed; restart to apply", ", ".join(f"[{name}]" for name in waits))
        return wish_of(self._settings.model_copy(update={n: getattr(new, n) for n in TAKEN}))

    def _ordered(self, order: Order) -> Wish:
        settings = self._settings
        if order.activate is not None:
            return Wish(settings, settings.bundle.parent / order.activate, order)
        before = bundle_before(settings.storage.bundles)
        if before is None:
            raise BundleError("no earlier bundle is known here")
        return Wish(settings, Path(before.directory), order, before)

    def _prepare(self, wish: Wish) -> None:
        runs = self._parts.running
        try:
            found = look_at_bundle(wish.bundle.resolve())
            if (found.path, found.digest) == (runs.bundle.path, runs.bundle.digest):
                if wish.settings.trust != self._settings.trust:
                    open_trusted(wish)  # it runs already, and may not be trusted any more
                check_name(wish.order, found, runs.bundle)
                self._outcome = runs.bundle
            else:
                log.info("verifying %s, while %s keeps running", found.path, runs.bundle.path)
                self._outcome = prepare(wish, runs.bundle, runs.choice, self._parts.cache)
        except (BundleError, ProviderError, WorkerStartError, SettingsError) as error:
            self._outcome = str(error)
        except Exception as error:  # a thread's traceback would tell nobody
            log.exception("the new bundle can't be prepared")
            self._outcome = f"it can't be prepared: {type(error).__name__}: {error}"

    def _change_over(self, wish: Wish, outcome: Prepared | Bundle | str) -> None:
        if isinstance(outcome, str):
            self._end(wish.order, outcome)
            return
        if isinstance(outcome, Prepared) and outcome.instead is not self._parts.running.choice:
            outcome.proven.close()  # it may run on what was lost meanwhile
            self._let_prepare(wish)
            return
        bundle = outcome.bundle if isinstance(outcome, Prepared) else outcome
        manifest, before = bundle.manifest, self._in_words(self._parts.judgement.decisions)
        try:
            decided = decisions_for(bundle, wish.settings.decision)
        except SettingsError as error:
            self._end(wish.order, str(error))
            return
        if isinstance(outcome, Prepared):
            self._parts.running.change_over(self._parts.pool, outcome)
        self._parts.judgement.change(decided, wish.settings.decision.implausible)
        self._settings = wish.settings
        logging.getLogger().setLevel(wish.settings.log.level.upper())
        kept = note_running(wish, bundle)
        now = self._in_words(decided)
        log.info("reloaded: %s, %s", now, "as before" if now == before else f"before: {before}")
        self._parts.notify()
        self._end(wish.order, "")
        if wish.order:
            wish.order.answer.done(
                directory=bundle.path.name,
                name=manifest.name,
                version=manifest.version,
                digest=bundle.digest,
                kept=kept,
            )

    def _in_words(self, decisions: Mapping[str, Decision]) -> str:
        """What judges now, and by which threshold."""
        return in_words(
            self._parts.running.bundle, decisions[self._parts.running.choice.candidate.variant]
        )

    def _end(self, order: Order | None, refused: str) -> None:
        self._parts.service.ready()
        if order is None:
            self.refused = refused
            if refused:
                log.error(
                    "not reloaded, the previous bundle keeps running: %s. Fix %s, or the next "
                    "start will fail",
                    *(refused, self._file),
                )
        elif refused:
            order.answer.refused(f"the previous bundle keeps running: {refused}")


def prepare(wish: Wish, runs: Bundle, current: Choice, cache: Path | None) -> Prepared:
    """Verify a bundle and let a worker prove its golden images, on what runs now if that fits.

    Args:
        wish: what is to be.
        runs: the bundle that judges meanwhile.
        current: what that one runs on.
        cache: where measurements are kept.

    Raises:
        BundleError, ProviderError, WorkerStartError, SettingsError: it may not, or can't, run here.
    """
    bundle = open_trusted(wish)
    settings = wish.settings
    check_name(wish.order, bundle, runs)
    decisions_for(bundle, settings.decision)
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
    except BaseException:
        pool.close()
        raise
    return Prepared(bundle, selector, choice, pool, ready, current)


def _differ(name: str, new: Settings, old: Settings) -> bool:
    return bool(getattr(new, name) != getattr(old, name))
