"""What judges images, and how: model, processes, threshold, and whose bundles."""

from __future__ import annotations

import base64
import re
from typing import Annotated, Literal

from pydantic import (
    Field,
    field_validator,
    model_validator,
)

from edge_agent.settings.section import Seconds, Section
from edge_agent.types.target import AUTO, ProviderError, parse_target

Instead = Literal["error", "review", "ok"]
Format = Literal["PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM"]

_DIGEST = re.compile(r"[0-9a-f]{12,64}")


class DecisionSettings(Section):
    """Instead of what the bundle says, where this station must be stricter or laxer."""

    bundle: str | None = None
    """The start of the digest of the bundle that ``threshold`` and ``review`` were chosen for."""
    threshold: float | None = Field(default=None, ge=0.0, le=1.0)
    review: tuple[float, float] | None = None
    implausible: Instead = "error"

    @field_validator("bundle")
    @classmethod
    def _digest(cls, bundle: str | None) -> str | None:
        if bundle is not None and not _DIGEST.fullmatch(bundle):
            raise ValueError(
                "must be the start of a bundle's digest, at least 12 digits, as `edge-agent "
                "bundle show` prints it"
            )
        return bundle

    @field_validator("review")
    @classmethod
    def _band(cls, review: tuple[float, float] | None) -> tuple[float, float] | None:
        if review is not None and not 0.0 <= review[0] <= review[1] <= 1.0:
            raise ValueError("must be two scores from 0 to 1, the lower one first")
        return review


class TrustSettings(Section):
    """Whose bundles run here."""

    keys: dict[str, str] = Field(default={})
    require_signature: bool = False
    allow_downgrade: bool = False

    @field_validator("keys")
    @classmethod
    def _keys(cls, keys: dict[str, str]) -> dict[str, str]:
        for name, key in keys.items():
            try:
                raw = base64.b64decode(key.removeprefix("ed25519:"), validate=True)
            except ValueError:
                raw = b""
            if not key.startswith("ed25519:") or len(raw) != 32:
                raise ValueError(
                    f"{name} is not a public key: give what `edge-agent bundle keygen` printed"
                )
        return keys

    @model_validator(mode="after")
    def _someone(self) -> TrustSettings:
        if self.require_signature and not self.keys:
            raise ValueError(
                "require_signature is set, but keys is empty, so no signature would be valid"
            )
        return self


class RuntimeSettings(Section):
    """Which model runs on what; ``auto`` and 0 are found out by measuring."""

    provider: str = "auto"
    variant: str = "auto"
    workers: int = Field(default=0, ge=0, le=64)
    threads: int = Field(default=0, ge=0, le=256)
    fallback: bool = False
    precision: Literal["accuracy", "performance"] = "accuracy"
    gpu_memory_mb: int = Field(default=0, ge=0)
    probe_timeout: Annotated[float, Field(gt=0.0, le=3600.0)] = 120.0

    @field_validator("provider")
    @classmethod
    def _known(cls, provider: str) -> str:
        if provider != AUTO:
            try:
                parse_target(provider)
            except ProviderError as error:
                raise ValueError(str(error)) from None
        return provider


class WorkerSettings(Section):
    """The processes that decode and infer, and what they may use."""

    frame_timeout: Annotated[float, Field(gt=0.0, le=3600.0)] = 30.0
    start_timeout: Annotated[float, Field(gt=0.0, le=3600.0)] = 120.0
    max_attempts: int = Field(default=3, ge=1, le=100)
    retry_truncated: Seconds = 5.0
    memory_mb: int = Field(default=2048, ge=256)
    formats: tuple[Format, ...] = Field(
        default=("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM"), min_length=1
    )
    max_pixels: int = Field(default=64_000_000, ge=1)
    max_bytes: int = Field(default=128 << 20, ge=1)
