"""What ONNX Runtime can run on here, and why it can't on the rest."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from edge_agent.bundle import BundleError, look_at_bundle
from edge_agent.bundle.history import bundle_to_run
from edge_agent.doctor.finding import Finding
from edge_agent.engine.runtime.inventory import Inventory, take_inventory
from edge_agent.engine.runtime.wheels import find_wheels
from edge_agent.engine.tuning.cache import recall, tuning_key
from edge_agent.engine.tuning.measure import choose
from edge_agent.types.target import AUTO

if TYPE_CHECKING:
    from edge_agent.engine.tuning.measure import Measured
    from edge_agent.settings import Settings

TOPIC = "providers"


def look_at_providers(settings: Settings | None) -> list[Finding]:
    """What is offered, what is absent and why, and what was measured and is remembered."""
    inventory = take_inventory()
    if not inventory.providers:
        mend = f"see why: {sys.executable} -m edge_agent.engine.runtime.inventory"
        return [Finding(TOPIC, "error", "the search for devices crashed or hung", mend)]
    found = [Finding(TOPIC, "ok", f"offered: {', '.join(inventory.offered)}")]
    found += [
        Finding(TOPIC, "ok", f"{name} is not available: {why}")
        for name, why in inventory.absent.items()
    ]
    if settings is not None:
        found += wanted_provider(settings, inventory)
        found += remembered(settings)
    return found


def wanted_provider(settings: Settings, inventory: Inventory) -> list[Finding]:
    """Whether the provider of the settings can be had; nothing to say of ``auto``."""
    wanted = settings.runtime.provider
    if wanted == AUTO or wanted in inventory.offered:
        return []
    why = inventory.absent.get(wanted, "there is no such device on this machine")
    what = f"runtime.provider = {wanted!r} is not available: {why}"
    if settings.runtime.fallback:
        mend = "until it is fixed, the station runs on the next best provider and reports degraded"
        return [Finding(TOPIC, "warning", what, mend)]
    mend = "fix it, choose another provider, or set runtime.fallback = true to run on another"
    return [Finding(TOPIC, "error", what, mend)]


def remembered(settings: Settings) -> list[Finding]:
    """What was measured for this bundle on this machine, if anything is remembered."""
    table = remembered_table(settings)
    if table is None:
        return [Finding(TOPIC, "ok", "no benchmark yet: the next start runs it")]
    best = choose(table)
    if best is None:
        mend = "edge-agent tune --config measures again and says why"
        return [Finding(TOPIC, "error", "no candidate passed the benchmark", mend)]
    what = f"measured and chosen: {best.candidate}, {best.latency_ms or 0.0:.1f} ms"
    out = {f"{one.candidate.provider}, {one.candidate.variant}": one for one in table if not one.ok}
    return [
        Finding(TOPIC, "ok", what),
        *(
            Finding(TOPIC, "ok", f"{name} was not used in the benchmark: {one.reason}")
            for name, one in out.items()
            if one.candidate.variant != "-"  # absent, as the inventory says too
        ),
    ]


def remembered_table(settings: Settings) -> list[Measured] | None:
    """What an earlier start has measured; None where that no longer holds."""
    try:
        bundle = look_at_bundle(bundle_to_run(settings.storage.bundles, settings.bundle))
    except BundleError:
        return None  # the bundle's own topic says what is wrong with it
    key = tuning_key(bundle, find_wheels(), settings.runtime)
    return recall(settings.storage.cache / "tuning.json", key)
