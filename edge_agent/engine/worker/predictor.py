"""A session with its bundle's preprocess: from frames to scores and heatmaps."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.bundle import BundleError
from edge_agent.bundle.preprocess import decode_for
from edge_agent.bundle.preprocess import fit as fit_frame
from edge_agent.engine.runtime.placement import check_placement
from edge_agent.engine.runtime.session import CPU, Execution, open_session
from edge_agent.types.target import ProviderError, parse_target

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_agent.bundle import Bundle, Variant

SLACK = 1e-3
"""How far rounding, in FP16 or in a resize, may lead out of 0-1."""


@dataclass(frozen=True)
class Scored:
    """What the graph says of a batch."""

    score: NDArray[np.float32]
    """(N,), probability of a defect."""
    heatmap: NDArray[np.float32]
    """(N, h, w), 0-1."""

    def fault(self) -> str:
        """What is wrong with the model, going by its answer; empty if nothing is."""
        for name, values in (("score", self.score), ("heatmap", self.heatmap)):
            low, high = float(values.min()), float(values.max())
            if not (low >= -SLACK and high <= 1.0 + SLACK):  # also catches NaN
                worst = high if low >= -SLACK else low
                return f"the model's {name} is {worst}, not a probability"
        return ""


class SessionError(RuntimeError):
    """The session raised while it ran: the provider or its device has failed."""


class GoldenError(BundleError):
    """A golden image's score is off: the provider does not compute what it should."""


class Predictor:
    """One variant of a bundle on one execution provider."""

    def __init__(
        self,
        bundle: Bundle,
        variant: str,
        execution: Execution | None = None,
        *,
        provider: str = CPU,
        threads: int = 0,
    ) -> None:
        """Load the variant, as its hash is verified.

        Args:
            bundle: the one that it is of.
            variant: by name.
            execution: where and how; None: ``provider`` and ``threads`` say it.
            provider: as in the settings.
            threads: as in `Execution`.

        Raises:
            BundleError: no such variant, or its file is not the one that the manifest names.
            ProviderError: the provider can't be had, would not be what runs, or is one on which
                the variant was seen to judge wrongly when it was made.
        """
        self.bundle = bundle
        self.variant = bundle.variant(variant)
        self.execution = execution or Execution(parse_target(provider), threads)
        self.target = self.execution.target
        if why := self.variant.gate.get(self.target.name):
            raise ProviderError(
                f"{self.target.name}: variant {variant} of {bundle.path} did not keep its accuracy "
                f"there when it was made: {why}"
            )
        self.preprocess = bundle.manifest.preprocess
        model, name = bundle.read(self.variant), self.variant.file
        if self.target.provider == CPU:  # everything runs there
            self._session = open_session(model, self.execution, name=name)
            return
        scratch = tempfile.mkdtemp(prefix="profile-", dir=self.execution.cache)
        try:
            profile = Path(scratch) / "profile"
            own = replace(self.execution, cache=_compiled(self.execution.cache, self.variant))
            self._session = open_session(model, own, name=name, profile=profile)
            self._prove_placement()
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def predict(self, images: NDArray[np.uint8]) -> Scored:
        """Score fitted frames, (N, height, width, 3) uint8 RGB, one after the other.

        Raises:
            SessionError: the provider failed.
        """
        try:
            parts = [
                self._session.run(["score", "heatmap"], {"image": images[i : i + 1]})
                for i in range(len(images))
            ]
        except Exception as error:
            what = str(error) or type(error).__name__
            raise SessionError(f"{self.target.name} failed: {what}") from error
        if len(parts) == 1:
            return Scored(*parts[0])
        return Scored(*(np.concatenate(outputs) for outputs in zip(*parts, strict=True)))

    def prove(self) -> float:
        """Judge the golden images; return the largest difference to the expected scores.

        Raises:
            GoldenError: a score is further off than its tolerance.
            BundleError: an image is not the one that the manifest names.
        """
        worst = 0.0
        for golden in self.bundle.manifest.golden:
            frame = decode_for(self.preprocess, self.bundle.read(golden))
            batch = fit_frame(frame, self.preprocess).tensor[None]
            scored = self.predict(batch)
            if fault := scored.fault():
                raise BundleError(f"{self.bundle.path}: golden image {golden.file}: {fault}")
            score = float(scored.score[0])
            expected = golden.scores[self.variant.name]
            difference = abs(score - expected)
            if difference > golden.tolerance:
                raise GoldenError(
                    f"{self.bundle.path}: golden image {golden.file} scores {score:.4f} with "
                    f"variant {self.variant.name} on {self.target.name}, "
                    f"it must be {expected:.4f} within {golden.tolerance}"
                )
            worst = max(worst, difference)
        return worst

    def _prove_placement(self) -> None:
        size = (1, self.preprocess.height, self.preprocess.width, 3)
        self.predict(np.zeros(size, np.uint8))
        check_placement(Path(self._session.end_profiling()), self.target)


def _compiled(cache: Path | None, variant: Variant) -> Path | None:
    """Where a model's own compiled blobs are kept.

    Providers find a blob by the graph, and two models that differ in their weights alone have one
    graph.
    """
    if cache is None:
        return None
    place = cache / variant.sha256
    place.mkdir(exist_ok=True)
    return place
