"""Where the station keeps what is its own, and for how long."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import (
    Field,
    model_validator,
)

from edge_agent.settings.section import Section

Days = Annotated[float, Field(gt=0.0, le=36_500.0)]


class StorageSettings(Section):
    """Where the station keeps what is its own."""

    root: Path
    work: Path | None = None
    processed: Path | None = None
    quarantine: Path | None = None

    @property
    def work_dir(self) -> Path:
        return self.work or self.root / "work"

    @property
    def processed_dir(self) -> Path:
        return self.processed or self.root / "processed"

    @property
    def quarantine_dir(self) -> Path:
        return self.quarantine or self.root / "quarantine"

    @property
    def journal(self) -> Path:
        return self.root / "journal.db"

    @property
    def cache(self) -> Path:
        """What can be made again: compiled models, the table of measured candidates."""
        return self.root / "cache"

    @property
    def bundles(self) -> Path:
        """Which version of each bundle ran here last."""
        return self.root / "bundles.json"

    @property
    def mounts(self) -> Path:
        """On which filesystem each folder lay."""
        return self.root / "mounts.json"

    @property
    def session(self) -> Path:
        """Which session the broker keeps for ``[source.mqtt]``."""
        return self.root / "session.json"

    @property
    def lock(self) -> Path:
        return self.root / "lock"


class RetentionSettings(Section):
    """How long the station keeps what it has judged; None: for ever."""

    ok_days: Days | None = None
    defect_days: Days | None = None
    max_images: int | None = Field(default=None, ge=1)
    min_free_mb: int | None = Field(default=None, ge=1)
    journal_days: Days | None = None
    replay_days: Days = 7.0

    @model_validator(mode="after")
    def _defects_longest(self) -> RetentionSettings:
        if self.defect_days and (self.ok_days is None or self.ok_days > self.defect_days):
            raise ValueError("defect_days is shorter than ok_days: defects are kept longest")
        return self

    @property
    def ok_images_go(self) -> bool:
        """Whether images that were judged ok are ever removed."""
        return any((self.ok_days, self.max_images, self.min_free_mb))

    @property
    def other_images_go(self) -> bool:
        """Whether the others are."""
        return any((self.defect_days, self.max_images, self.min_free_mb))
