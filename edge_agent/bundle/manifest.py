"""``manifest.json``: everything needed to use a bundle's models rightly (format 1)."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from edge_agent.system.forms import LOWER, NAME, SHA256, VERSION

FORMAT = 1
LARGEST_MODEL = (1 << 31) - 1
"""Bytes: an ONNX model is one protobuf message, which can't be larger."""

_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")


def _inside(name: str) -> str:
    """Accept a plain relative path that can't leave the bundle's directory."""
    if not _FILE.fullmatch(name):
        raise ValueError(f"{name!r} is not a plain path inside the bundle")
    return name


BundlePath = Annotated[str, AfterValidator(_inside)]
Sha256 = Annotated[str, Field(pattern=SHA256)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Bounds = tuple[float, float]


class _Frozen(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        json_schema_serialization_defaults_required=True,
    )


class Preprocess(_Frozen):
    """How a frame becomes the graph's input: uint8, height x width x 3, RGB."""

    width: int = Field(ge=16, le=8192)
    height: int = Field(ge=16, le=8192)
    colour: Literal["rgb", "grey"] = "rgb"
    fit: Literal["stretch", "letterbox", "crop"] = "stretch"
    interpolation: Literal["box", "bilinear", "bicubic"] = "bilinear"


class Decision(_Frozen):
    """Where the verdict changes, and by which rule that was chosen."""

    threshold: Probability
    review: tuple[Probability, Probability] | None = None
    """Scores from the first up to (not including) the second are for a person to look at."""
    rule: str
    figures: dict[str, float] = {}

    @model_validator(mode="after")
    def _ordered(self) -> Decision:
        if self.review is not None and not self.review[0] <= self.threshold <= self.review[1]:
            raise ValueError(f"the review band {self.review} must enclose {self.threshold}")
        return self


class Accuracy(_Frozen):
    """Measured with the variant that it stands beside, on out-of-fold or held-out images."""

    ap: Probability
    auroc: Probability
    f1: Probability
    precision: Probability
    recall: Probability
    accuracy: Probability
    threshold: Probability
    escapes: int = Field(ge=0)
    overkills: int = Field(ge=0)
    images: int = Field(ge=0)
    defects: int = Field(ge=0)


class Variant(_Frozen):
    """One ONNX file."""

    name: str = Field(pattern=LOWER)
    precision: Literal["fp32", "fp16", "int8"]
    file: BundlePath
    sha256: Sha256
    size: int = Field(ge=1, le=LARGEST_MODEL)
    accuracy: Accuracy | None = None
    gate: dict[str, str] = {}
    """By execution provider on which it was held against FP32 when it was made: why its accuracy
    is not FP32's there, and no station runs it there; empty where it is."""
    decision: Decision | None = None
    """By the same rule on its own out-of-fold scores; None: the bundle's."""


class Golden(_Frozen):
    """An image whose score is known: what proves a provider before it may judge."""

    file: BundlePath
    sha256: Sha256
    scores: dict[str, Probability]
    """Expected score by variant name: INT8 is held to INT8's own score, not to FP32's."""
    tolerance: float = Field(gt=0.0, le=0.5)


class Listed(_Frozen):
    """A file of the bundle that no station needs; what names it stands in ``training``."""

    file: BundlePath
    sha256: Sha256


class Training(_Frozen):
    """Where the models come from, enough to make them again."""

    recipe: str
    parameters: dict[str, Any]
    dataset: dict[str, Any]
    """Fingerprint (sha256 over the images' and masks' bytes), images, defects, groups; learned:
    file and sha256 of the list of the images' own hashes."""
    folds: int
    seed: int
    libraries: dict[str, str]
    metrics: dict[str, Any]


class Distribution(_Frozen):
    """A histogram: ``edges`` has one more entry than ``counts``."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    @model_validator(mode="after")
    def _matching(self) -> Distribution:
        if len(self.edges) != len(self.counts) + 1:
            raise ValueError("a histogram has one more edge than counts")
        if any(right <= left for left, right in pairwise(self.edges)):
            raise ValueError("the edges of a histogram rise")
        if min(self.counts, default=0) < 0 or not sum(self.counts):
            raise ValueError("a histogram counts at least one value, and none less than no times")
        return self


class Reference(_Frozen):
    """How good training images look and score: what drift is measured against."""

    score: Distribution
    brightness: Distribution
    contrast: Distribution
    sharpness: Distribution
    compression: Distribution | None = None
    """Bits a pixel of the files: tells of another format or JPEG quality. None: not known."""


class Expects(_Frozen):
    """Bounds of a picture that the bundle can judge: what is outside is no picture of the part.

    From the training images, and wider: docs/plausible.md has by how much.
    """

    width: tuple[int, int]
    """Pixels of the upright image, the least and the most; so are all bounds."""
    height: tuple[int, int]
    shape: Bounds
    """Width / height."""
    colour: Bounds
    """Mean difference between a pixel's largest and smallest channel, 0..255."""
    brightness: Bounds
    """Mean grey, 0..255."""
    contrast: Bounds
    """Standard deviation of grey, 0..127.5."""
    sharpness: Bounds
    """Variance of the Laplacian."""
    darkest: Bounds
    """Mean grey of the darkest of 4 x 4 parts, 0..255."""
    images: int = Field(ge=1)
    """Training images that it was measured on."""

    @model_validator(mode="after")
    def _ordered(self) -> Expects:
        for name in type(self).model_fields:
            bounds = getattr(self, name)
            if isinstance(bounds, tuple) and not 0 <= bounds[0] <= bounds[1]:
                raise ValueError(f"{name}: {bounds} are no bounds: the least, then the most")
        return self


class Manifest(_Frozen):
    """The whole of ``manifest.json``."""

    format: Literal[1] = 1
    name: str = Field(pattern=NAME)
    version: str = Field(pattern=VERSION)
    created: str
    """ISO 8601, UTC."""
    notice: str = ""
    """Shown wherever the bundle is shown: a licence, a warning."""
    labels: tuple[str, str] = ("ok", "defect")
    preprocess: Preprocess
    decision: Decision
    variants: tuple[Variant, ...] = Field(min_length=1)
    golden: tuple[Golden, ...] = Field(min_length=1)
    training: Training
    reference: Reference
    expects: Expects | None = None
    """None: made before this was measured, and every picture is judged."""

    def decision_of(self, variant: str) -> Decision:
        """Where a variant's verdict changes: its own, or else the bundle's."""
        own = (one.decision for one in self.variants if one.name == variant)
        return next(own, None) or self.decision

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        names = [variant.name for variant in self.variants]
        if len(set(names)) != len(names):
            raise ValueError(f"two variants share a name: {names}")
        for golden in self.golden:
            if set(golden.scores) != set(names):
                raise ValueError(
                    f"{golden.file} has expected scores for {sorted(golden.scores)}, "
                    f"the variants are {sorted(names)}"
                )
        return self


def manifest_schema() -> str:
    """The JSON Schema of ``manifest.json``, as published in ``docs/schemas``."""
    schema = Manifest.model_json_schema(mode="serialization")  # what is written has every field
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    return json.dumps(schema, indent=2) + "\n"
