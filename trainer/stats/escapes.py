"""Is it good enough? What share of the defects would pass, and how sure that is.

The bound is exact: Clopper and Pearson 1934, The use of confidence or fiducial limits illustrated
in the case of the binomial, Biometrika 26, 404. One-sided, for nobody minds fewer escapes.
"""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from trainer.data import Sample

CONFIDENCE = 0.95
FIT = 0.01
"""Of the defects: where more may pass, a bundle is not fit to decide alone."""


@dataclass(frozen=True)
class Escapes:
    """How many defects passed as ok among images that were not learned from."""

    escapes: int
    defects: int
    bound: float
    """No more of all defects will pass, 0-1, with ``CONFIDENCE``."""
    carried_over: bool = False
    """Counted with thresholds that the images had no say in, either: it was the larger number."""

    @property
    def fit(self) -> bool:
        """Whether it may decide alone on a line."""
        return self.bound <= FIT

    def as_json(self) -> dict[str, Any]:
        """As in metrics.json."""
        return {
            "escapes": self.escapes,
            "defects": self.defects,
            "bound": self.bound,
            "confidence": CONFIDENCE,
            "fit_alone": self.fit,
            "carried_over": self.carried_over,
        }

    @classmethod
    def from_json(cls, known: Mapping[str, Any]) -> Escapes:
        """From what ``as_json`` gave."""
        carried = bool(known.get("carried_over"))
        return cls(known["escapes"], known["defects"], known["bound"], carried)

    def sentence(self) -> str:
        """What was seen, and what follows from it."""
        whom = "neither the model nor its threshold" if self.carried_over else "the model"
        saw = "had seen" if self.carried_over else "had not seen"
        seen = "no defect" if not self.escapes else f"{self.escapes}"
        share = f" ({_percent(self.escapes / self.defects)})" if self.escapes else ""
        return (
            f"Of {self.defects} defects that {whom} {saw}, {seen} passed as ok{share}. "
            f"With {_percent(CONFIDENCE)} confidence, at most {_percent(self.bound)} of the "
            "defects will pass (exact binomial bound, Clopper and Pearson 1934)."
        )

    def judgement(self) -> str:
        """Whether that is enough, where a person who misses nothing does not look too."""
        if self.fit:
            return "That is no more than one in a hundred, on images like these."
        return (
            "That is more than one in a hundred: do not let it decide alone on a line. What helps:"
        )


@dataclass(frozen=True)
class Advice:
    """Something to do about it."""

    why: str
    command: str


def escape_bound(escapes: int, defects: int, confidence: float = CONFIDENCE) -> float:
    """The largest share of escapes, 0-1, with which so few as were seen are not yet unlikely.

    The upper limit of Clopper and Pearson, one-sided: the p with P(X <= escapes) = 1 - confidence
    for X binomial (defects, p); 1 where every defect escaped, or there was none.
    """
    if escapes >= defects:
        return 1.0
    low, high = escapes / defects, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if _at_most(escapes, defects, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def defects_needed(escapes: int = 0, share: float = FIT) -> int:
    """How many defects, of which so many escape, show that no more than ``share`` will pass."""
    low, high = escapes, escapes + 1
    while escape_bound(escapes, high) > share:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if escape_bound(escapes, middle) > share:
            low = middle
        else:
            high = middle
    return high


def count_escapes(
    labels: NDArray[np.bool_],
    scores: NDArray[np.floating],
    groups: Sequence[str],
    threshold: float,
    carried_over: int | None = None,
) -> Escapes:
    """Count what passed, and bound what will.

    Images of one group are no proof each of their own, so the bound is the larger one of that by
    images and that by groups in which there are defects.

    Args:
        labels: (N,), whether an image is defective.
        scores: (N,), by a model that did not see the image's group.
        groups: (N,).
        threshold: at and above which an image is called defective.
        carried_over: escapes where the threshold, too, is chosen without the image
            (`carry_over`); the larger number counts.
    """
    missed = labels & (scores < threshold)
    escapes = max(int(missed.sum()), carried_over or 0)
    there = {group for group, label in zip(groups, labels, strict=True) if label}
    torn = {group for group, miss in zip(groups, missed, strict=True) if miss}
    more = escapes - int(missed.sum())
    bound = max(
        escape_bound(escapes, int(labels.sum())),
        escape_bound(min(len(torn) + more, len(there)), len(there)),
    )
    return Escapes(escapes, int(labels.sum()), bound, carried_over=more > 0)


def escapes_among(
    samples: Sequence[Sample], scores: NDArray[np.floating], threshold: float
) -> Escapes:
    """`count_escapes` of images that had no say in the model or its threshold."""
    labels = np.array([sample.defect for sample in samples], bool)
    return count_escapes(labels, scores, [sample.group for sample in samples], threshold)


def advise(
    found: Escapes,
    run: Path,
    data: Path,
    size: tuple[int, int] | None = None,
    image: tuple[int, int] | None = None,
    wanted: tuple[int, int] | None = None,
) -> list[Advice]:
    """Two or three things to do where too many may pass, as commands; nothing where it is fit.

    Args:
        found: what passed.
        run: the run's folder.
        data: its images.
        size: (width, height) of the network's input, as far as it is known.
        image: (width, height) of the images.
        wanted: the input that the smallest defects need, where this one is too small for them.
    """
    if found.fit:
        return []
    quoted, images = shlex.quote(str(run)), shlex.quote(str(data))
    rule = '--rule "recall>=0.99" ' if found.escapes else ""
    why = "a lower threshold, and " if found.escapes else ""
    some = [
        Advice(
            f"{why}people who check the doubtful images",
            f"trainer calibrate {quoted} {rule}--review 0.9 --out {_beside(run, 'careful')}",
        )
    ]
    if found.escapes and size and image and 4 * size[0] * size[1] <= image[0] * image[1]:
        wanted = wanted or (2 * size[0], 2 * size[1])
    if wanted and size and image:
        larger = f"{wanted[0]}x{wanted[1]}"
        some.append(
            Advice(
                f"a larger input ({size[0]} x {size[1]} now, the images {image[0]} x {image[1]}), "
                "if the defects are small",
                f"trainer train {images} --size {larger} --out {_beside(run, 'larger')}",
            )
        )
    needed = defects_needed()
    some.append(
        Advice(
            f"more images of defects, of every kind that occurs: {needed} without an escape show "
            f"one in a hundred, there are {found.defects}",
            f"trainer train {images} --out {_beside(run, 'more')}",
        )
        if found.escapes or found.defects < needed // 2
        else Advice(
            f"a test on new images that it did not learn from: {needed} defects without an escape",
            f"trainer evaluate {shlex.quote(str(run / 'bundle'))} NEW_IMAGES",
        )
    )
    return some


def _beside(run: Path, what: str) -> str:
    return shlex.quote(f"{run}-{what}")


def _at_most(successes: int, trials: int, share: float) -> float:
    """P(X <= successes) for X binomial, 0 < share < 1."""
    if share >= 1:
        return 0.0
    logs = (
        math.lgamma(trials + 1)
        - math.lgamma(k + 1)
        - math.lgamma(trials - k + 1)
        + k * math.log(share)
        + (trials - k) * math.log1p(-share)
        for k in range(successes + 1)
    )
    return math.fsum(map(math.exp, logs))


def _percent(share: float) -> str:
    return f"{share * 100:.2g} %" if share < 0.1 else f"{share * 100:.0f} %"
