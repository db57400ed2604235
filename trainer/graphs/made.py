"""A variant that was made, and what came of holding it against FP32."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from edge_agent.types.target import CPU

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from edge_agent.bundle import Decision
    from trainer.graphs.gate import Comparison


@dataclass(frozen=True)
class Check:
    """A variant on one execution provider, held against FP32 on the CPU's."""

    held_out: Comparison
    """The folds' models, each on the images that it did not see."""
    scores: NDArray[np.float64]
    """(images,): out of fold."""
    shipped: Comparison | None = None
    """The model that ships, on all images; None where the folds' models failed already."""
    shipped_scores: NDArray[np.float64] | None = None
    """(images,): of the model that ships."""
    far: str = ""
    """What is wrong with how far scores are from the CPU provider's; empty if nothing is."""

    @property
    def fault(self) -> str:
        """Why the variant may not be used there; empty where it may."""
        if self.held_out.fault:
            return f"on held-out images {self.held_out.fault}"
        if self.shipped is not None and self.shipped.fault:
            return f"with the model that ships {self.shipped.fault}"
        return self.far


@dataclass(frozen=True)
class Made:
    """A variant, whether it passed the gate or not."""

    name: str
    precision: Literal["fp32", "fp16", "int8"]
    file: Path
    checks: dict[str, Check]
    """By provider: the CPU's, and where it passed there, every other one of this machine."""
    how: str
    """Settings that led here, in words."""
    decision: Decision | None = None
    """By the run's rule, on its own out-of-fold scores on the CPU provider; None: FP32's."""
    untried: dict[str, str] = field(default_factory=dict)
    """Providers on which it could not be run at all, and why."""

    @property
    def held_out(self) -> Comparison:
        """On the CPU provider, by the folds' models."""
        return self.checks[CPU].held_out

    @property
    def shipped(self) -> Comparison | None:
        """On the CPU provider, by the model that ships; None where the folds' failed already."""
        return self.checks[CPU].shipped

    @property
    def fault(self) -> str:
        """Why it may not be in the bundle; empty where it may."""
        return self.checks[CPU].fault

    @property
    def gate(self) -> dict[str, str]:
        """By provider: why it may not be used there; empty where it may."""
        return {provider: check.fault for provider, check in self.checks.items()}

    def figures(self) -> dict[str, Any]:
        """What metrics.json says of it."""
        worst = max(c.max_difference for c in (self.held_out, self.shipped) if c is not None)
        return {
            **self.held_out.accuracy.model_dump(),
            "size": self.file.stat().st_size,
            "max_difference": worst,
            "flips": self.held_out.flips,
            "shipped_flips": None if self.shipped is None else self.shipped.flips,
            "how": self.how,
            "fault": self.fault,
            "gate": self.gate,
            "untried": self.untried,
        }
