"""The bundle: one that `run` would take, and right on the provider that is to judge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_agent.bundle import BundleError
from edge_agent.bundle.history import ran_last
from edge_agent.doctor.finding import Finding
from edge_agent.doctor.providers import remembered_table
from edge_agent.engine.tuning.measure import choose
from edge_agent.engine.worker.pool import WorkerStartError
from edge_agent.engine.worker.verify import prove_apart
from edge_agent.line.decide import decisions_for, in_words
from edge_agent.reload import open_trusted, wish_of
from edge_agent.settings import SettingsError
from edge_agent.types.target import AUTO, CPU

if TYPE_CHECKING:
    from edge_agent.bundle import Bundle, Manifest
    from edge_agent.settings import Settings

TOPIC = "bundle"


def look_at_bundle(settings: Settings) -> list[Finding]:
    """What a start asks of it, then one worker that has to find the golden images' scores."""
    try:
        bundle = open_trusted(wish_of(settings))
        variant, provider = what_runs(settings, bundle)
        last = ran_last(settings.storage.bundles)
    except BundleError as error:
        mend = (
            "follow the message; if it gives no advice, copy the whole bundle again from where it "
            "was trained, or set `bundle` to another"
        )
        return [Finding(TOPIC, "error", str(error), mend)]
    manifest = bundle.manifest
    what = f"{bundle.title}: files, hashes and graphs as the manifest says"
    what += f", signed by {bundle.signed_by}" if bundle.signed_by else ""
    found = [
        Finding(TOPIC, "ok", what),
        _decides(settings, bundle, variant),
        *_plausibility(settings, manifest),
    ]
    if last and last.name not in ("", manifest.name):
        what = f"{last.name} ran here last; the next start or reload switches to "
        mend = "if it should not, name the other one in station.toml: bundle = ..."
        found.append(Finding(TOPIC, "warning", what + bundle.title, mend))
    try:
        ready = prove_apart(bundle, variant, provider)
    except WorkerStartError as error:
        mend = f"edge-agent tune --bundle {bundle.path} shows what can run it here, and why not"
        what = f"{variant} on {provider}: {error}"
        return [*found, Finding(TOPIC, "error", what, mend)]
    what = (
        f"{variant} on {ready.provider} {ready.device}: {len(manifest.golden)} golden images "
        f"within {ready.golden_error:.5f}"
    )
    return [*found, Finding(TOPIC, "ok", what)]


def _decides(settings: Settings, bundle: Bundle, variant: str) -> Finding:
    """By which threshold it judges; a start and a reload refuse one that is another bundle's."""
    try:
        decision = decisions_for(bundle, settings.decision)[variant]
    except SettingsError as error:
        mend = "each bundle has its own threshold: look at `edge-agent bundle show` first"
        return Finding(TOPIC, "error", str(error), mend)
    return Finding(TOPIC, "ok", in_words(bundle, decision))


def _plausibility(settings: Settings, manifest: Manifest) -> list[Finding]:
    """Whether a picture of nothing would be told from one of the part."""
    if manifest.expects is None:
        what = (
            "it has no record of its training images: a black frame, or one of another product, is "
            "judged by score alone and may be ok"
        )
        mend = "rebuild it: `trainer train`, or `trainer quantize RUN IMAGES` with the same model"
        return [Finding(TOPIC, "warning", what, mend)]
    if settings.decision.implausible == "ok":
        what = (
            "[decision] lets pictures that it was not made for be judged by score: a black frame "
            "may be ok"
        )
        return [Finding(TOPIC, "warning", what, 'set implausible = "error", or leave it out')]
    return []


def what_runs(settings: Settings, bundle: Bundle) -> tuple[str, str]:
    """Variant and provider: of the settings, or what was measured, or the first on the CPU.

    Raises:
        BundleError: the settings name a variant that the bundle does not have.
    """
    variant, provider = settings.runtime.variant, settings.runtime.provider
    if AUTO in (variant, provider):
        best = choose(remembered_table(settings) or [])
        if best is not None and provider in (AUTO, best.candidate.provider):
            return best.candidate.variant, best.candidate.provider
    if variant == AUTO:
        variant = bundle.manifest.variants[0].name
    return bundle.variant(variant).name, CPU if provider == AUTO else provider
