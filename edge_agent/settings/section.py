"""What all sections of ``station.toml`` have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
)

Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(ge=0.0, le=86_400.0)]


class Section(BaseModel):
    """Frozen; no unknown keys, and no relative path by the time it is checked."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _real_path(cls, value: Any) -> Any:
        if isinstance(value, Path) and (not value.is_absolute() or "\0" in str(value)):
            raise ValueError("is not a path on this machine")
        return value
