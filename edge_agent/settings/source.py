"""Where images come from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    Field,
    field_validator,
    model_validator,
)

from edge_agent.mqtt.pattern import TopicPattern
from edge_agent.settings.section import Seconds, Section

_WORDS = 1 << 16
"""Bytes that a message's JSON may have beside an image."""


class FolderSettings(Section):
    """The camera-drop folder."""

    path: Path
    depth: int = Field(default=0, ge=0, le=8)
    after: Literal["move", "keep"] = "move"
    settle: Seconds = 0.5
    scan_every: Annotated[float, Field(ge=0.05, le=3600.0)] = 1.0
    patterns: tuple[str, ...] = (
        "*.png",
        "*.jpg",
        "*.jpeg",
        "*.bmp",
        "*.tif",
        "*.tiff",
        "*.webp",
        "*.pgm",
        "*.ppm",
        "*.pnm",
    )

    @field_validator("patterns")
    @classmethod
    def _lower(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        if not patterns:
            raise ValueError('no pattern means no image: leave it out, or give ["*"]')
        return tuple(pattern.lower() for pattern in patterns)


class MqttSourceSettings(Section):
    """A topic that images arrive on, at the broker of ``[mqtt]``."""

    topic: str
    folder: Path | None = None
    encoding: Literal["binary", "base64", "json"] = "binary"
    field: str = Field(default="image", min_length=1)
    client_id: str | None = Field(default=None, min_length=1, max_length=128)
    receive_maximum: int = Field(default=20, ge=1, le=65_535)
    max_bytes: int = Field(default=128 << 20, ge=1)
    session_expiry: int = Field(default=7 * 86_400, ge=1, le=(1 << 32) - 1)

    @field_validator("topic")
    @classmethod
    def _topic(cls, topic: str) -> str:
        TopicPattern(topic)
        return topic

    @model_validator(mode="after")
    def _one_way(self) -> MqttSourceSettings:
        if self.folder is not None and self.encoding != "binary":
            raise ValueError(
                "encoding is for images inside messages, but with folder a message names a file: "
                "remove one of the two"
            )
        return self

    @property
    def limit(self) -> int:
        """Bytes that a message may have: an image's, as it is encoded, or the name of one's."""
        if self.folder is not None:
            return _WORDS
        if self.encoding == "binary":
            return self.max_bytes
        # Base64 has 4 characters for 3 bytes, and MIME's lines end in 2 more after each 76.
        return self.max_bytes * 4 // 3 * 78 // 76 + _WORDS


class SourceSettings(Section):
    """Where images come from: a folder, a topic, or both."""

    expect_every: Seconds = 0.0
    """Without a judged image for so long the station is failing; 0: it may be quiet for ever."""
    folder: FolderSettings | None = None
    mqtt: MqttSourceSettings | None = None

    @model_validator(mode="after")
    def _any(self) -> SourceSettings:
        if self.folder is None and self.mqtt is None:
            raise ValueError("no source of images: add [source.folder], [source.mqtt] or both")
        return self
