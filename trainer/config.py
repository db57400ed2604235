"""What shapes a run: written to RUN/config.json, enough to make it again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from trainer.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

BackboneName = Literal["efficientnet_lite0", "efficientnet_b0"]
Fit = Literal["stretch", "letterbox", "crop"]
STRIDES = (8, 16, 32)


class DenseConfig(BaseModel):
    """The ``dense`` recipe. None is decided by looking at the images, and then written down."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: Literal["dense"] = "dense"
    name: str = Field("dense", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    version: str = Field("1.0.0", pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")
    notice: str = ""
    """Goes into the bundle; shown wherever the bundle is."""
    seed: int = Field(0, ge=0, lt=2**31)
    folds: int = Field(5, ge=2, le=20)

    backbone: BackboneName = "efficientnet_lite0"
    weights: str | None = None
    """A file with the backbone's weights; None: those that come with it."""
    strides: tuple[int, ...] = STRIDES
    """The maps that the head sees. The backbone is cut after the coarsest."""
    size: tuple[int, int] | None = None
    """Input (width, height), multiples of 32."""
    fit: Fit | None = None
    interpolation: Literal["box", "bilinear", "bicubic"] = "bilinear"

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
    top_k: int = Field(16, ge=1)
    """The image's logit is the mean of so many of the map's largest."""

    @field_validator("strides")
    @classmethod
    def _known(cls, strides: tuple[int, ...]) -> tuple[int, ...]:
        if not strides or set(strides) - set(STRIDES) or len(set(strides)) != len(strides):
            raise ValueError("must be some of 8, 16 and 32")
        return tuple(sorted(strides))

    @field_validator("size")
    @classmethod
    def _divisible(cls, size: tuple[int, int] | None) -> tuple[int, int] | None:
        if size is not None and (min(size) < 32 or size[0] % 32 or size[1] % 32):
            raise ValueError(
                f"{size[0]}x{size[1]} won't do: both must be multiples of 32, "
                f"such as {max(32, size[0] // 32 * 32)}x{max(32, size[1] // 32 * 32)}"
            )
        return size

    @field_validator("batch")
    @classmethod
    def _even(cls, batch: int) -> int:
        if batch % 2:
            raise ValueError("must be even: half defects, half ok images")
        return batch


def dense_config(settings: dict[str, object]) -> DenseConfig:
    """Check settings as they come from the command line.

    Raises:
        UsageError: naming each that is wrong.
    """
    try:
        return DenseConfig.model_validate(settings)
    except ValidationError as error:
        parts = []
        for detail in error.errors(include_url=False, include_context=False):
            option = "--" + str(detail["loc"][0] if detail["loc"] else "").replace("_", "-")
            parts.append(f"{option}: {detail['msg'].removeprefix('Value error, ')}")
        raise UsageError("\n".join(parts)) from None


def read_config(file: Path) -> DenseConfig:
    """Read RUN/config.json again."""
    return DenseConfig.model_validate_json(file.read_bytes())
