"""A session with its bundle's preprocess: from frames to scores and heatmaps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_agent.bundle import BundleError
from edge_agent.bundle.preprocess import decode
from edge_agent.bundle.preprocess import fit as fit_frame
from edge_agent.runtime.session import CPU, open_session

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edge_agent.bundle import Bundle


@dataclass(frozen=True)
class Scored:
    """What the graph says of a batch."""

    score: NDArray[np.float32]
    """(N,), probability of a defect."""
    heatmap: NDArray[np.float32]
    """(N, h, w), 0-1."""


class Predictor:
    """One variant of a bundle on one execution provider."""

    def __init__(
        self, bundle: Bundle, variant: str, *, provider: str = CPU, threads: int = 0
    ) -> None:
        self.bundle = bundle
        self.variant = bundle.variant(variant)
        self.provider = provider
        self.device = "CPU"
        self.preprocess = bundle.manifest.preprocess
        self._session = open_session(
            bundle.file(self.variant.file), provider=provider, threads=threads
        )

    def predict(self, images: NDArray[np.uint8]) -> Scored:
        """Score a batch of fitted frames: (N, height, width, 3) uint8 RGB."""
        score, heatmap = self._session.run(["score", "heatmap"], {"image": images})
        return Scored(score, heatmap)

    def prove(self) -> float:
        """Judge the golden images; return the largest difference to the expected scores.

        Raises:
            BundleError: a score is further off than its tolerance.
        """
        worst = 0.0
        for golden in self.bundle.manifest.golden:
            frame = decode(self.bundle.file(golden.file).read_bytes())
            batch = fit_frame(frame, self.preprocess).tensor[None]
            score = float(self.predict(batch).score[0])
            difference = abs(score - golden.scores[self.variant.name])
            if not difference <= golden.tolerance:  # also catches NaN
                raise BundleError(
                    f"{self.bundle.path}: golden image {golden.file} scores {score:.4f} with "
                    f"variant {self.variant.name} on {self.provider}, "
                    f"it must be {golden.scores[self.variant.name]:.4f} "
                    f"within {golden.tolerance}"
                )
            worst = max(worst, difference)
        return worst
