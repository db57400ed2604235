"""What a variant must keep of FP32's accuracy to be in a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trainer.metrics import accuracy_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_agent.bundle import Accuracy

AP_FALL = 0.005
FLIPS = 0.005
"""Share of the images whose verdict may change."""


@dataclass(frozen=True)
class Comparison:
    """A variant's scores beside FP32's, of the same images."""

    accuracy: Accuracy
    ap_fall: float
    """How much AP is lost; negative where it is won."""
    flips: int
    """Images whose verdict changes at the threshold."""
    max_difference: float
    """Of two scores."""
    fault: str
    """Why the variant may not be in a bundle; empty where it may."""


def compare_scores(
    labels: NDArray[np.bool_],
    fp32: NDArray[np.floating],
    variant: NDArray[np.floating],
    threshold: float,
) -> Comparison:
    """Compare all scores (images,) of a variant with FP32's, and say whether the gate is passed."""
    found = accuracy_at(labels, np.nan_to_num(variant, nan=0.0), threshold)
    reference = accuracy_at(labels, fp32, threshold)
    fall = reference.ap - found.ap
    flips = int(np.sum((variant >= threshold) != (fp32 >= threshold)))
    allowed = int(FLIPS * len(labels))
    faults = []
    if not np.isfinite(variant).all():
        faults.append(f"{int((~np.isfinite(variant)).sum())} scores are not numbers")
    if fall > AP_FALL:
        faults.append(
            f"AP falls from {reference.ap:.4f} to {found.ap:.4f}, by more than {AP_FALL:g}"
        )
    if flips > allowed:
        faults.append(
            f"{flips} of {len(labels)} verdicts change at the threshold of {threshold:.3f}, "
            f"{allowed} may ({FLIPS:.1%})"
        )
    return Comparison(
        accuracy=found,
        ap_fall=fall,
        flips=flips,
        max_difference=float(np.nanmax(np.abs(variant - fp32))),
        fault="; ".join(faults),
    )
