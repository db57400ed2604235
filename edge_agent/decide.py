"""From a score to a verdict."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edge_agent.settings import SettingsError
from edge_agent.types import Verdict

if TYPE_CHECKING:
    from edge_agent.bundle import Decision, Manifest
    from edge_agent.settings import DecisionSettings, Instead


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


def own_decisions(manifest: Manifest, wanted: DecisionSettings) -> dict[str, Decision]:
    """By variant, its own decision, with what the station's settings say instead.

    Raises:
        SettingsError: as `overridden`.
    """
    return {
        one.name: overridden(manifest.decision_of(one.name), wanted.threshold, wanted.review)
        for one in manifest.variants
    }


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
