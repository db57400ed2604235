"""What shapes a run: written to RUN/config.json, enough to make it again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from edge_agent.system.forms import NAME, VERSION, explained
from trainer.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BackboneName = Literal["efficientnet_lite0", "efficientnet_b0"]
Fit = Literal["stretch", "letterbox", "crop"]
Interpolation = Literal["box", "bilinear", "bicubic"]
VariantName = Literal["fp32", "int8", "fp16"]
Calibrator = Literal["minmax", "percentile", "entropy"]
STRIDES = (8, 16, 32)


class Aim(BaseModel):
    """What the threshold is to bring."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    rule: str = "max-f1"
    """``max-f1``, ``recall>=R``, ``precision>=P`` (0 < R, P <= 1) or ``cost``."""
    escape_cost: float | None = Field(None, gt=0, le=1e12)
    """Price of a missed defect, for the rule ``cost``, in any currency."""
    overkill_cost: float | None = Field(None, gt=0, le=1e12)
    """Price of a good part thrown away."""
    review: float | None = Field(None, gt=0, le=1)
    """The share of the errors that is to lie in the review band; None: no band."""

    @field_validator("rule")
    @classmethod
    def _understood(cls, rule: str) -> str:
        plain = rule.replace(" ", "")
        if plain in ("max-f1", "cost"):
            return plain
        kind, sign, number = plain.partition(">=")
        try:
            if kind in ("recall", "precision") and sign and 0 < float(number) <= 1:
                return plain
        except ValueError:
            pass
        raise ValueError(
            f"unknown rule {rule!r}: give max-f1, recall>=0.99, precision>=0.95 or cost "
            "(quoted, or the shell takes > for itself)"
        )

    @model_validator(mode="after")
    def _priced(self) -> Aim:
        given = [self.escape_cost is not None, self.overkill_cost is not None]
        if self.rule == "cost" and not all(given):
            raise ValueError("--rule cost needs both --escape-cost and --overkill-cost")
        if self.rule != "cost" and any(given):
            raise ValueError(
                f"--escape-cost and --overkill-cost go with --rule cost, not {self.rule}"
            )
        return self

    @property
    def bound(self) -> tuple[str, float]:
        """Of ``recall>=R`` or ``precision>=P``: which, and how much."""
        kind, _, least = self.rule.partition(">=")
        return kind, float(least)

    @property
    def prices(self) -> tuple[float, float]:
        """Of ``cost``: an escape's, an overkill's."""
        return self.escape_cost or 0.0, self.overkill_cost or 0.0


class RunConfig(Aim):
    """What every recipe has."""

    recipe: str
    name: str = Field("unnamed", pattern=NAME)
    """Of the product that the bundle judges; `trainer.run.naming` says which, if none is given."""
    version: str = Field("1.0.0", pattern=VERSION)
    notice: str = ""
    """Goes into the bundle; shown wherever the bundle is."""
    seed: int = Field(0, ge=0, lt=2**31)
    folds: int = Field(5, ge=2, le=20)

    backbone: BackboneName
    weights: str | None = None
    """A file with the backbone's weights; None: those that come with it."""
    interpolation: Interpolation = "bilinear"

    variants: tuple[VariantName, ...] = ("fp32", "int8", "fp16")
    """What the bundle is to have beside FP32, if it keeps the accuracy."""
    calibrator: Calibrator | Literal["auto"] = "auto"
    """How INT8's ranges follow from the training images; ``auto``: the first that is right."""
    seven_bit: bool = False
    """INT8 weights of 7 bits, for a line PC whose CPU has no VNNI."""

    @field_validator("variants")
    @classmethod
    def _with_fp32(cls, variants: tuple[VariantName, ...]) -> tuple[VariantName, ...]:
        if len(set(variants)) != len(variants) or "fp32" not in variants:
            raise ValueError("must be fp32 and any of int8, fp16, such as fp32,int8")
        return variants


class DenseConfig(RunConfig):
    """The ``dense`` recipe. None is decided by looking at the images, and then written down."""

    recipe: Literal["dense"] = "dense"
    backbone: BackboneName = "efficientnet_lite0"
    strides: tuple[int, ...] = STRIDES
    """The maps that the head sees. The backbone is cut after the coarsest."""
    size: tuple[int, int] | None = None
    """Input (width, height), multiples of 32."""
    fit: Fit | None = None

    views: int = Field(4, ge=1, le=4)
    """1: images as they are; 2: mirrored too; 4: also upside down."""
    width: int = Field(32, ge=4, le=256)
    """Channels of the head."""
    epochs: int = Field(20, ge=1, le=1000)
    batch: int = Field(16, ge=2, le=256)
    """Half defects, half ok images."""
    learning_rate: float = Field(1e-3, gt=0, lt=1)
    positive_weight: float = Field(3.0, gt=0)
    """How much more a defect's place counts in the map's cross-entropy."""
    top_k: int = Field(16, ge=1, le=100_000)
    """The image's logit is the mean of so many of the map's largest."""

    budget_ms: float | None = Field(None, gt=0, le=1e6)
    """Milliseconds of one inference on this machine: strides, size and width are then chosen."""
    margin: float = Field(0.005, ge=0, lt=1)
    """So much AP may be lost against the best within the budget, if it is cheaper."""

    @field_validator("strides")
    @classmethod
    def _known(cls, strides: tuple[int, ...]) -> tuple[int, ...]:
        if not strides or set(strides) - set(STRIDES) or len(set(strides)) != len(strides):
            raise ValueError("must be some of 8, 16 and 32")
        return tuple(sorted(strides))

    @field_validator("size")
    @classmethod
    def _divisible(cls, size: tuple[int, int] | None) -> tuple[int, int] | None:
        return size and _multiples_of_32(size)

    @field_validator("batch")
    @classmethod
    def _even(cls, batch: int) -> int:
        if batch % 2:
            raise ValueError("must be even: half defects, half ok images")
        return batch


class SeedConfig(RunConfig):
    """The ``seed`` recipe, with the defaults of what this project began as."""

    recipe: Literal["seed"] = "seed"
    backbone: BackboneName = "efficientnet_b0"
    size: tuple[int, int] = (224, 224)
    """Input (width, height), multiples of 32."""
    fit: Fit = "stretch"

    epochs: int = Field(200, ge=1, le=10_000)
    batch: int = Field(8, ge=1, le=1024)
    """Drawn at random, both classes equally likely; over all processes together."""
    learning_rate: float = Field(1e-4, gt=0, lt=1)
    dropout: float = Field(0.2, ge=0, lt=1)
    """Before the last layer, as in EfficientNet-B0."""
    focal_weight: float = Field(0.5, ge=0, le=1)
    """Lambda: 1 is the focal loss alone, 0 the focal Tversky loss alone."""
    focal_delta: float = Field(0.6, ge=0, le=1)
    """Above one half, an escape weighs more than an overkill."""
    focal_gamma: float = Field(0.5, ge=0, lt=1)
    """The larger, the less an easy ok image counts, and the more an almost perfect batch."""

    unfreeze: Literal["stage7", "all"] | None = None
    """What is trained beside the last layer; of the backbone nothing, unless given."""
    patience: int | None = Field(None, ge=1, le=10_000)
    """Stop after so many epochs without a better F1; None: never when only the last layer is
    trained, else after 5."""
    precision: Literal["fp32", "mixed"] | None = None
    """None: mixed on a GPU, fp32 on a CPU."""

    @field_validator("size")
    @classmethod
    def _divisible(cls, size: tuple[int, int]) -> tuple[int, int]:
        return _multiples_of_32(size)


RECIPES: dict[str, type[RunConfig]] = {"dense": DenseConfig, "seed": SeedConfig}


def run_config(settings: Mapping[str, object]) -> RunConfig:
    """Check settings as they come from the command line; ``recipe`` says of which recipe.

    Raises:
        UsageError: naming each that is wrong, or that is another recipe's.
    """
    recipe = str(settings.get("recipe", "dense"))
    return _checked(RECIPES[recipe], settings)


def with_settings(config: RunConfig, settings: Mapping[str, object]) -> RunConfig:
    """A run's settings with some of them changed.

    Raises:
        UsageError: naming each that is wrong.
    """
    return _checked(type(config), {**config.model_dump(), **settings})


def aim_of(settings: Mapping[str, object]) -> Aim:
    """Check what the command line says about the threshold alone.

    Raises:
        UsageError: naming each setting that is wrong.
    """
    return _checked(Aim, settings)


def read_config(file: Path) -> RunConfig:
    """Read RUN/config.json again.

    Raises:
        UsageError: it is missing, or not what `trainer train` wrote.
    """
    try:
        content = json.loads(file.read_bytes())
        return RECIPES[content["recipe"]].model_validate(content)
    except OSError as error:
        raise UsageError(
            f"{file} can't be read ({error.strerror}): give the folder of a run"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{file} was not written by `trainer train`") from None


Checked = TypeVar("Checked", bound=BaseModel)


def _checked(model: type[Checked], settings: Mapping[str, object]) -> Checked:
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        parts = []
        for detail in error.errors(include_url=False):
            said = explained(detail)
            if not detail["loc"]:  # about several, which it names itself
                parts.append(said)
                continue
            name = str(detail["loc"][0])
            others = [recipe for recipe, other in RECIPES.items() if name in other.model_fields]
            if detail["type"] == "extra_forbidden" and others:
                said = f"is an option of the {' and the '.join(others)} recipe, not of this one"
            parts.append(f"--{name.replace('_', '-')}: {said}")
        raise UsageError("\n".join(parts)) from None


def _multiples_of_32(size: tuple[int, int]) -> tuple[int, int]:
    if min(size) < 32 or max(size) > 8192 or size[0] % 32 or size[1] % 32:
        raise ValueError(
            f"{size[0]}x{size[1]} is not possible: both must be multiples of 32, such as "
            f"{min(max(32, size[0] // 32 * 32), 8192)}x{min(max(32, size[1] // 32 * 32), 8192)}"
        )
    return size
