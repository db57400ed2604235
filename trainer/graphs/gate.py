"""What a variant must keep of FP32's accuracy to be in a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trainer.stats.calibrate import calibrate_own
from trainer.stats.metrics import accuracy_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edge_agent.bundle import Accuracy, Decision
    from trainer.config import Aim

AP_FALL = 0.005
FLIPS = 0.005
"""Share of the images whose verdict may change; and of the defects, those that escape besides."""


@dataclass(frozen=True)
class Comparison:
    """A variant's scores beside FP32's, of the same images."""

    accuracy: Accuracy
    ap_fall: float
    """How much AP is lost; negative where it is won."""
    flips: int
    """Images whose verdict changes, each at its own threshold."""
    max_difference: float
    """Of two scores."""
    fault: str
    """Why the variant may not be in a bundle; empty where it may."""


def compare_scores(
    labels: NDArray[np.bool_],
    fp32: NDArray[np.floating],
    variant: NDArray[np.floating],
    threshold: float,
    own: float | None = None,
) -> Comparison:
    """Compare all scores of a variant with FP32's, and say whether the gate is passed.

    Args:
        labels: (images,)
        fp32: (images,), its scores.
        variant: (images,), the variant's.
        threshold: by which FP32 is judged.
        own: by which the variant is; None: by the same.
    """
    own = threshold if own is None else own
    found = accuracy_at(labels, np.nan_to_num(variant, nan=0.0), own)
    reference = accuracy_at(labels, fp32, threshold)
    fall = reference.ap - found.ap
    flips = int(np.sum((variant >= own) != (fp32 >= threshold)))
    allowed = int(FLIPS * len(labels))
    more = found.escapes - reference.escapes
    faults = []
    if not np.isfinite(variant).all():
        faults.append(f"{int((~np.isfinite(variant)).sum())} scores are not numbers")
    if fall > AP_FALL:
        faults.append(
            f"AP falls from {reference.ap:.4f} to {found.ap:.4f}, by more than {AP_FALL:g}"
        )
    if flips > allowed:
        faults.append(
            f"{flips} of {len(labels)} verdicts change at the threshold of {own:.3f}; the limit is "
            f"{allowed} ({FLIPS:.1%}): {found.escapes} escapes and {found.overkills} overkills "
            f"where fp32 has {reference.escapes} and {reference.overkills}"
        )
    elif more > int(FLIPS * found.defects):
        faults.append(
            f"escapes rise from {reference.escapes} to {found.escapes} of {found.defects} at the "
            f"threshold of {own:.3f}"
        )
    return Comparison(
        accuracy=found,
        ap_fall=fall,
        flips=flips,
        max_difference=float(np.nanmax(np.abs(variant - fp32))),
        fault="; ".join(faults),
    )


def decide_variant(
    labels: NDArray[np.bool_],
    fp32: NDArray[np.floating],
    variant: NDArray[np.floating],
    threshold: float,
    groups: Sequence[str],
    aim: Aim,
) -> tuple[Decision | None, Comparison]:
    """A variant's own decision, and what comes of it beside FP32; None: it has FP32's.

    It is chosen by the same rule on the variant's own scores. Few images may lead the rule to
    quite another place; then FP32's threshold stands, if the gate is passed with that.

    Args:
        labels: (images,), out of fold, as all that follows.
        fp32: (images,), its scores.
        variant: (images,), the variant's.
        threshold: FP32's.
        groups: (images,)
        aim: the rule.
    """
    decision = calibrate_own(labels, variant, groups, aim)
    with_fp32s = compare_scores(labels, fp32, variant, threshold)
    if decision is None:
        return None, with_fp32s
    own = compare_scores(labels, fp32, variant, threshold, decision.threshold)
    if own.fault and not with_fp32s.fault:
        return None, with_fp32s
    return decision, own
