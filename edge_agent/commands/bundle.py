"""``edge-agent bundle``: look at a bundle, verify or sign it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.bundle import look_at_bundle
from edge_agent.commands.exits import OK
from edge_agent.settings import load_settings
from edge_agent.system.text import say, say_json
from edge_agent.types.target import AUTO

if TYPE_CHECKING:
    import argparse

    from edge_agent.bundle import Expects
    from edge_agent.system.arguments import Subcommands


def add(commands: Subcommands) -> None:
    """Its options."""
    bundle = commands.add_parser("bundle", help="show, verify or sign a bundle")
    verbs = bundle.add_subparsers(required=True, metavar="VERB")
    command = verbs.add_parser("show", help="show the contents and the accuracy")
    command.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder of the bundle")
    command.add_argument("--json", action="store_true", help="print the manifest as JSON")
    command.set_defaults(command=_bundle_show)
    command = verbs.add_parser("verify", help="check files, hashes, graphs and golden images")
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("bundle", type=Path, nargs="?", metavar="BUNDLE")
    which.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="verify the bundle of the station with this station.toml",
    )
    command.add_argument(
        "--provider",
        help="execution provider for the golden images (default: the station's, or cpu)",
    )
    command.set_defaults(command=_bundle_verify)
    command = verbs.add_parser(
        "keygen", help="make a private key for signing; print its public key"
    )
    command.add_argument("file", type=Path, metavar="FILE", help="new file for the private key")
    command.set_defaults(command=_bundle_keygen)
    command = verbs.add_parser("sign", help="sign a bundle: write its manifest.sig")
    command.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder of the bundle")
    command.add_argument(
        "--key", type=Path, required=True, metavar="FILE", help="private key from `bundle keygen`"
    )
    command.set_defaults(command=_bundle_sign)


def _bundle_show(parsed: argparse.Namespace) -> int:
    bundle = look_at_bundle(parsed.bundle)
    manifest = bundle.manifest
    if parsed.json:
        say_json(manifest.model_dump(mode="json"), indent=2)
        return OK
    size, decision = manifest.preprocess, manifest.decision
    say(f"{bundle.title}, made {manifest.created}")
    if manifest.notice:
        say(manifest.notice)
    say(f"digest     {bundle.digest}")
    say(f"input      {size.width} x {size.height} {size.colour}, {size.fit}")
    band = f", review {decision.review[0]:g} to {decision.review[1]:g}" if decision.review else ""
    say(f"threshold  {decision.threshold:.4f} by {decision.rule}{band}")
    say(f"expects    {_expected(manifest.expects)}")
    for variant in manifest.variants:
        accuracy = variant.accuracy
        measured = (
            f"AP {accuracy.ap:.4f}  F1 {accuracy.f1:.4f}  escapes {accuracy.escapes} of "
            f"{accuracy.defects}  overkills {accuracy.overkills} of "
            f"{accuracy.images - accuracy.defects}"
            if accuracy
            else "not measured"
        )
        say(f"variant    {variant.name:8} {variant.size / 1e6:6.1f} MB  {measured}")
        if variant.decision:
            own = variant.decision
            band = f", review {own.review[0]:g} to {own.review[1]:g}" if own.review else ""
            say(f"{'':20}its own threshold {own.threshold:.4f}{band}")
        for provider, fault in variant.gate.items():
            say(f"{'':20}{f'not for {provider}: {fault}' if fault else f'accurate on {provider}'}")
    training = manifest.training
    say(f"trained    recipe {training.recipe}, seed {training.seed}, {training.folds} folds")
    say(f"golden     {len(manifest.golden)} images")
    return OK


def _expected(expects: Expects | None) -> str:
    if expects is None:
        return "any picture: this bundle has no record of its training images (older trainer)"
    (left, right), (top, bottom) = expects.width, expects.height
    figures = (
        f"{name} {bounds[0]:.4g} to {bounds[1]:.4g}"
        for name in ("colour", "brightness", "contrast", "sharpness", "darkest")
        for bounds in [getattr(expects, name)]
    )
    return f"{left} to {right} x {top} to {bottom} pixels, {', '.join(figures)}"


def _bundle_verify(parsed: argparse.Namespace) -> int:
    from edge_agent.bundle.history import bundle_to_run
    from edge_agent.engine.worker.verify import prove_apart, verify_apart
    from edge_agent.line.decide import decisions_for

    provider, place, trust, decision = parsed.provider, parsed.bundle, None, None
    if parsed.config:
        settings = load_settings(parsed.config)
        place = bundle_to_run(settings.storage.bundles, settings.bundle)
        trust, decision = settings.trust, settings.decision
        if provider is None and settings.runtime.provider != AUTO:
            provider = settings.runtime.provider
    bundle = verify_apart(place, trust)
    say(f"{bundle.title}: files, hashes and graphs as the manifest says")
    if decision:
        decisions_for(bundle, decision)  # a start would refuse it, too
    if trust and trust.keys:
        say(f"signed by {bundle.signed_by}" if bundle.signed_by else "not signed")
    for variant in bundle.manifest.variants:
        ready = prove_apart(bundle, variant.name, provider or "cpu")
        say(
            f"{variant.name} on {ready.provider}: {len(bundle.manifest.golden)} golden images "
            f"within {ready.golden_error:.5f}"
        )
    return OK


def _bundle_keygen(parsed: argparse.Namespace) -> int:
    from edge_agent.bundle.signature import make_keys

    say(make_keys(parsed.file))
    return OK


def _bundle_sign(parsed: argparse.Namespace) -> int:
    from edge_agent.bundle.signature import sign

    say(f"signed; the public key, for [trust.keys]: {sign(parsed.bundle, parsed.key)}")
    return OK
