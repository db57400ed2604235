"""The bundle: whole, on the contract, and right on the provider that is to judge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_agent.bundle import BundleError
from edge_agent.bundle.history import bundle_to_run
from edge_agent.doctor.finding import Finding
from edge_agent.doctor.providers import remembered_table
from edge_agent.target import AUTO, CPU
from edge_agent.tuning.measure import choose
from edge_agent.worker.pool import WorkerStartError
from edge_agent.worker.verify import prove_apart, verify_apart

if TYPE_CHECKING:
    from edge_agent.bundle import Bundle, Manifest
    from edge_agent.settings import Settings

TOPIC = "bundle"


def look_at_bundle(settings: Settings) -> list[Finding]:
    """Hashes and graphs, then one worker that has to find the golden images' scores."""
    try:
        bundle = verify_apart(
            bundle_to_run(settings.storage.bundles, settings.bundle), settings.trust
        )
        variant, provider = what_runs(settings, bundle)
    except BundleError as error:
        mend = "copy it again from where it was trained, whole; or set `bundle` to one that is"
        return [Finding(TOPIC, "error", str(error), mend)]
    manifest = bundle.manifest
    what = f"{manifest.name} {manifest.version}: files, hashes and graphs as the manifest says"
    what += f", signed by {bundle.signed_by}" if bundle.signed_by else ""
    found = [Finding(TOPIC, "ok", what), *_plausibility(settings, manifest)]
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


def _plausibility(settings: Settings, manifest: Manifest) -> list[Finding]:
    """Whether a picture of nothing would be told from one of the part."""
    if manifest.expects is None:
        what = (
            "it does not say what pictures it was made for: a black frame, or one of another "
            "product, is judged by its score, and may be ok"
        )
        mend = (
            "make it again: `trainer train`, or `trainer quantize RUN IMAGES` with the same model"
        )
        return [Finding(TOPIC, "warning", what, mend)]
    if settings.decision.implausible == "ok":
        what = (
            "pictures that it was not made for are judged by their score, as [decision] says: a "
            "black frame may be ok"
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
