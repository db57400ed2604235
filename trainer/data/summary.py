"""What a data set is made of, and what about it would make figures better than they are."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from trainer.data.duplicates import find_pairs
from trainer.data.glance import glance_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainer.data.dataset import Dataset, Sample
    from trainer.data.duplicates import Pair
    from trainer.data.glance import Glance

FEW_DEFECTS = 30
_SHOWN = 100
"""So many images or pairs of each finding are kept by name."""
_FAINT = 64
"""What 14 bits leave of 256 grey levels, where they are saved in 16."""
_ODD = 1.25
_FENCE = 3.0
_TWICE = 2.0


@dataclass(frozen=True)
class Finding:
    """One thing to know about a data set."""

    kind: str
    warning: bool
    """Else a note: nothing needs to be done."""
    text: str
    """A sentence or two: what is so, what follows, what to do."""
    count: int
    images: tuple[tuple[str, ...], ...] = ()
    """Names of the first hundred; two names where it is about pairs."""


@dataclass(frozen=True)
class Spread:
    """How a property is distributed over the images."""

    low: float
    """5 % of the images are below."""
    median: float
    high: float
    """5 % are above."""


class _Seen(NamedTuple):
    """An image and what was seen of it."""

    sample: Sample
    glance: Glance


@dataclass(frozen=True)
class Summary:
    """A data set at a glance: RUN/dataset.json."""

    layout: str
    images: int
    defects: int
    masks: int
    groups: int
    splits: dict[str, tuple[int, int]]
    """Images and defects by the authors' split; "" where there is none."""
    sizes: dict[str, int]
    """Images by "width x height", the most frequent first, twenty at most."""
    grey: bool
    looks: dict[str, Spread]
    """brightness and contrast (grey values), sharpness (variance of the Laplacian)."""
    findings: tuple[Finding, ...]
    """Warnings first."""

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What should be looked into before a figure is believed."""
        return tuple(finding for finding in self.findings if finding.warning)

    def as_json(self) -> dict[str, Any]:
        """Plain values, as in RUN/dataset.json."""
        return asdict(self)


def summarise(dataset: Dataset) -> Summary:
    """Say what was seen of the images, without reading them again after ``open_dataset``."""
    samples = dataset.samples
    seen = [_Seen(sample, glance_of(sample)) for sample in samples]
    glances = [one.glance for one in seen]
    findings = [
        *_copies(samples, find_pairs(glances)),
        *_torn_groups(samples),
        *_classes(samples),
        *_masks(seen),
        *_sizes(seen),
        *_levels(seen),
        *_outliers(seen),
        *(Finding("reading", False, note, 0) for note in dataset.notes),
    ]
    sizes = Counter(f"{one.width} x {one.height}" for one in glances)
    return Summary(
        layout=dataset.layout,
        images=len(samples),
        defects=sum(sample.defect for sample in samples),
        masks=sum(sample.mask is not None for sample in samples),
        groups=len({sample.group for sample in samples}),
        splits={
            split: (
                sum(sample.split == split for sample in samples),
                sum(sample.split == split and sample.defect for sample in samples),
            )
            for split in sorted({sample.split for sample in samples})
        },
        sizes=dict(sizes.most_common(20)),
        grey=all(one.grey for one in glances),
        looks={
            name: Spread(
                *np.quantile(
                    [getattr(one.looks, name) for one in glances], (0.05, 0.5, 0.95)
                ).tolist()
            )
            for name in ("brightness", "contrast", "sharpness")
        },
        findings=tuple(sorted(findings, key=lambda finding: not finding.warning)),
    )


def _copies(samples: Sequence[Sample], pairs: Sequence[Pair]) -> list[Finding]:
    """Pairs, by where the two stand: that decides whether they do harm."""
    found: dict[tuple[str, bool], list[tuple[str, str]]] = defaultdict(list)
    for pair in pairs:
        one, other = samples[pair.first], samples[pair.second]
        if "test" in {one.split, other.split} and one.split != other.split:
            place = "split"
        elif one.defect != other.defect:
            place = "label"
        else:
            place = "inside" if one.group == other.group else "group"
        found[place, pair.exact].append((one.name, other.name))
    findings = []
    for (place, exact), names in found.items():
        first, second = names[0]
        pictures = "byte copies" if exact else "near-duplicates"
        text = _COPIES[place].format(
            n=len(names),
            s="" if len(names) == 1 else "s",
            what=pictures,
            first=first,
            second=second,
        )
        kind = f"{pictures} {_PLACES[place]}"
        findings.append(Finding(kind, place != "inside", text, len(names), tuple(names[:_SHOWN])))
    return findings


_PLACES = {
    "split": "across the test split",
    "label": "labelled both ways",
    "group": "in different groups",
    "inside": "within a group",
}
_COPIES = {
    "split": "{n} pair{s} of {what} stand on both sides of the test split (such as {first} and "
    "{second}): the model has seen what it is tested on, so figures on the test split are too "
    "optimistic",
    "label": "{n} pair{s} of {what} are labelled both ok and defective (such as {first} and "
    "{second}): decide which is right, or the model learns both",
    "group": "{n} pair{s} of {what} are in different groups (such as {first} and {second}): "
    "one may be learned from while the other is held out, so figures are too optimistic. Give them "
    "one group in a manifest.csv",
    "inside": "{n} pair{s} of {what} (such as {first} and {second}), each pair within one group: "
    "never on both sides of a fold",
}


def _torn_groups(samples: Sequence[Sample]) -> list[Finding]:
    """Named groups that the authors' split tears; those that copies make are told as copies."""
    names = {sample.name for sample in samples}
    sides: dict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for sample in samples:
        if sample.group not in names:
            sides[sample.group][sample.split == "test"].append(sample.name)
    torn = {
        group: (learned[0], test[0]) for group, (learned, test) in sides.items() if learned and test
    }
    if not torn:
        return []
    group, (first, second) = next(iter(torn.items()))
    stand = "group stands" if len(torn) == 1 else "groups stand"
    text = (
        f"{len(torn)} {stand} on both sides of the test split (such as {group}, with {first} and "
        f"{second}): the model has seen the part that it is tested on, so figures on the test "
        "split are too optimistic"
    )
    pairs = tuple(torn.values())[:_SHOWN]
    return [Finding("groups across the test split", True, text, len(torn), pairs)]


def _classes(samples: Sequence[Sample]) -> list[Finding]:
    findings = []
    defects, images = sum(sample.defect for sample in samples), len(samples)
    if defects < FEW_DEFECTS:
        text = (
            f"only {defects} defective images: every figure about escapes is uncertain, look at "
            f"the intervals; {FEW_DEFECTS} or more would narrow them"
        )
        findings.append(Finding("few defects", True, text, defects))
    if defects > images / 2:
        text = (
            f"{defects} of {images} images are defective: on a line defects are rarer, so "
            "precision, F1 and AP will be lower there; escape and overkill rates carry over"
        )
        findings.append(Finding("class balance", True, text, defects))
    elif defects < images / 100:
        text = (
            f"only {defects} of {images} images are defective: judge by escapes and overkills, "
            "accuracy means little here"
        )
        findings.append(Finding("class balance", True, text, defects))
    if images == len({sample.group for sample in samples}):
        text = (
            "every image is a group of its own: if several show one part or one batch, name their "
            "groups in a manifest.csv, or figures are too optimistic"
        )
        findings.append(Finding("groups", False, text, images))
    return findings


def _masks(seen: Sequence[_Seen]) -> list[Finding]:
    defects = [one for one in seen if one.sample.defect]
    bare = [one for one in defects if one.sample.mask is None]
    large = [one for one in seen if one.sample.marked is not None and one.sample.marked > 0.5]
    findings = []
    if 0 < len(bare) < len(defects):
        text = (
            f"{len(bare)} of {len(defects)} defective images have no mask (such as "
            f"{bare[0].sample.name}): they are learned from their label alone, and don't count "
            "in recall by size"
        )
        findings.append(Finding("missing masks", True, text, len(bare), _names(bare)))
    if large:
        text = (
            f"{len(large)} masks mark more than half of the image (such as that of "
            f"{large[0].sample.name}): is the mask inverted?"
        )
        findings.append(Finding("large masks", True, text, len(large), _names(large)))
    return findings


def _sizes(seen: Sequence[_Seen]) -> list[Finding]:
    width = float(np.median([one.glance.width for one in seen]))
    height = float(np.median([one.glance.height for one in seen]))

    def odd(one: _Seen) -> bool:
        sides = one.glance.width / width, one.glance.height / height
        shape = sides[0] / sides[1]
        return max(shape, 1 / shape) > _ODD or not 1 / _TWICE <= min(sides) <= max(sides) <= _TWICE

    strange = [one for one in seen if odd(one)]
    if not strange:
        return []
    first = strange[0]
    text = (
        f"{len(strange)} images have an odd size (such as {first.sample.name}, "
        f"{first.glance.width} x {first.glance.height}; the median is {width:.0f} x "
        f"{height:.0f}): from another camera or cropped otherwise?"
    )
    return [Finding("odd sizes", True, text, len(strange), _names(strange))]


def _levels(seen: Sequence[_Seen]) -> list[Finding]:
    """Most images use a small part of what 8 bits hold: a camera's 12 bits at the low end of 16."""
    faint = [one for one in seen if one.glance.brightest < _FAINT]
    if 2 * len(faint) <= len(seen):
        return []
    brightest = max(one.glance.brightest for one in faint)
    text = (
        f"{len(faint)} images are black but for {brightest} of 255 grey levels (such as "
        f"{faint[0].sample.name}): of 16 bits the upper 8 are used, so have a camera of 10, 12 or "
        "14 bits stretch its values to all 16, or write 8; if it is the light, more of it"
    )
    return [Finding("few grey levels", True, text, len(faint), _names(faint))]


def _outliers(seen: Sequence[_Seen]) -> list[Finding]:
    """Images that look unlike the others: beyond the outer fences (Tukey 1977) by much."""
    sharp = np.log2([max(one.glance.looks.sharpness, 1e-3) for one in seen])
    bright = np.array([one.glance.looks.brightness for one in seen])
    contrast = np.log2([max(one.glance.looks.contrast, 1e-3) for one in seen])
    clipped = np.array([one.glance.clipped for one in seen])
    # The second number: what is far for the eye, whatever the fences of a very even set say.
    checks = (
        ("blurred images", -sharp, 1.0, "less sharp than the others", "out of focus, or moved?"),
        (
            "flat images",
            -contrast,
            1.0,
            "of less contrast than the others",
            "is there a part in it?",
        ),
        ("dark images", -bright, 25.0, "darker than the others", "was the light on?"),
        ("bright images", bright, 25.0, "brighter than the others", "over-exposed?"),
        (
            "over-exposed images",
            clipped,
            0.1,
            "white in more places than the others",
            "over-exposed?",
        ),
    )
    findings = []
    for kind, values, least, what, question in checks:
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
        limit = max(high + _FENCE * (high - low), middle + least)
        far = [seen[i] for i in np.argsort(-values, kind="stable") if values[i] > limit]
        if far:
            verb = "image is" if len(far) == 1 else "images are"
            text = f"{len(far)} {verb} {what} (such as {far[0].sample.name}): {question}"
            findings.append(Finding(kind, True, text, len(far), _names(far)))
    return findings


def _names(seen: Sequence[_Seen]) -> tuple[tuple[str, ...], ...]:
    return tuple((one.sample.name,) for one in seen[:_SHOWN])
