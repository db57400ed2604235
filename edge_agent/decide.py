"""From a score to a verdict."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edge_agent.types import Verdict

if TYPE_CHECKING:
    from edge_agent.bundle import Decision


def decide(score: float, decision: Decision) -> Verdict:
    """``review`` inside the review band, else ``defect`` from the threshold upwards.

    A score that is not a number is a defect of the model, never an ``ok``.
    """
    if math.isnan(score):
        return Verdict.ERROR
    if decision.review is not None and decision.review[0] <= score < decision.review[1]:
        return Verdict.REVIEW
    return Verdict.DEFECT if score >= decision.threshold else Verdict.OK
