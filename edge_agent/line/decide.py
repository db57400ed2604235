"""From a score to a verdict."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edge_agent.settings import SettingsError
from edge_agent.system.text import SHORT
from edge_agent.types import Verdict

if TYPE_CHECKING:
    from edge_agent.bundle import Bundle, Decision
    from edge_agent.settings import DecisionSettings, Instead


def decisions_for(bundle: Bundle, wanted: DecisionSettings) -> dict[str, Decision]:
    """By variant, its own decision, or what the settings say instead, if they say it of the bundle.

    Raises:
        SettingsError: it is said of another bundle, or not of which; or threshold and review band
            don't fit each other.
    """
    given = {"threshold": wanted.threshold, "review": wanted.review and list(wanted.review)}
    keys = [key for key, value in given.items() if value is not None]
    if keys and not (wanted.bundle and bundle.digest.startswith(wanted.bundle)):
        said = " and ".join(f"{key} = {given[key]}" for key in keys)
        whose = f"is for the bundle {wanted.bundle}" if wanted.bundle else "names no bundle"
        raise SettingsError(
            f"[decision] {said} {whose}, and this is {bundle.title}. If it was chosen for this "
            f'one, write bundle = "{bundle.digest[:SHORT]}" into [decision]; else remove '
            f"{' and '.join(keys)} there: the bundle's own threshold is "
            f"{bundle.manifest.decision.threshold:.4f}"
        )
    manifest = bundle.manifest
    return {
        one.name: overridden(manifest.decision_of(one.name), wanted.threshold, wanted.review)
        for one in manifest.variants
    }


def in_words(bundle: Bundle, decision: Decision) -> str:
    """What judges and by which threshold, as the log says it."""
    band = f", review {decision.review[0]:g} to {decision.review[1]:g}" if decision.review else ""
    return f"{bundle.title}, threshold {decision.threshold:.4f}{band}"


def overridden(
    decision: Decision, threshold: float | None, review: tuple[float, float] | None
) -> Decision:
    """The bundle's decision with what the station's settings say instead.

    Raises:
        SettingsError: the threshold would lie outside of the review band.
    """
    changes = {"threshold": threshold, "review": review}
    wanted = decision.model_copy(update={k: v for k, v in changes.items() if v is not None})
    band = wanted.review
    if band is not None and not band[0] <= wanted.threshold <= band[1]:
        raise SettingsError(
            f"[decision] threshold {wanted.threshold:g} lies outside of the review band "
            f"{band[0]:g} to {band[1]:g}: give threshold and review that fit each other"
        )
    return wanted


def decide(
    score: float, decision: Decision, implausible: str = "", instead: Instead = "error"
) -> Verdict:
    """``review`` inside the review band, else ``defect`` from the threshold upwards.

    A score that is not a number is a defect of the model, never an ``ok``.

    Args:
        score: of the image, 0-1.
        decision: where the verdict changes.
        implausible: why it is no picture of the part; empty where it is one.
        instead: what is then said of it; ``ok``: that it is all right, and the score decides.
    """
    if math.isnan(score):
        return Verdict.ERROR
    if implausible and instead != "ok":
        return Verdict(instead)
    if decision.review is not None and decision.review[0] <= score < decision.review[1]:
        return Verdict.REVIEW
    return Verdict.DEFECT if score >= decision.threshold else Verdict.OK
