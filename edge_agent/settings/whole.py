"""The whole of ``station.toml``, and what its sections ask of each other."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import (
    model_validator,
)

from edge_agent.mqtt.pattern import TopicPattern
from edge_agent.settings.judging import (
    DecisionSettings,
    RuntimeSettings,
    TrustSettings,
    WorkerSettings,
)
from edge_agent.settings.outside import HttpSettings, LogSettings, MqttSettings, StationSettings
from edge_agent.settings.section import Section
from edge_agent.settings.source import SourceSettings
from edge_agent.settings.storage import RetentionSettings, StorageSettings


class Settings(Section):
    """The whole of ``station.toml``."""

    bundle: Path
    station: StationSettings = StationSettings()
    source: SourceSettings
    storage: StorageSettings
    decision: DecisionSettings = DecisionSettings()
    trust: TrustSettings = TrustSettings()
    retention: RetentionSettings = RetentionSettings()
    runtime: RuntimeSettings = RuntimeSettings()
    worker: WorkerSettings = WorkerSettings()
    mqtt: MqttSettings | None = None
    http: HttpSettings | None = None
    log: LogSettings = LogSettings()

    @property
    def image_folders(self) -> dict[str, Path]:
        """Where images come from and go to, by the settings' names."""
        source, storage = self.source, self.storage
        found = {
            "source.folder.path": source.folder.path if source.folder else None,
            "source.mqtt.folder": source.mqtt.folder if source.mqtt else None,
            "storage.work": storage.work_dir,
            "storage.processed": storage.processed_dir,
            "storage.quarantine": storage.quarantine_dir,
        }
        return {name: path for name, path in found.items() if path is not None}

    @model_validator(mode="after")
    def _listens_to_others(self) -> Settings:
        source, broker, own = self.source.mqtt, self.mqtt, self.station
        if source is None:
            return self
        if broker is None:
            raise ValueError("[source.mqtt] needs [mqtt]: it says how to reach the broker")
        if source.client_id is not None and source.client_id == broker.client_id:
            raise ValueError(
                "source.mqtt.client_id and mqtt.client_id are the same: the broker would accept "
                "only one of the two connections. Remove the first one"
            )
        for level in ("status", "verdict", "defect", "telemetry", "reply"):
            topic = f"{broker.root}/{own.site}/{own.line}/{own.name}/{level}"
            if TopicPattern(source.topic).matches(topic):
                raise ValueError(
                    f"source.mqtt.topic includes {topic}, this station's own: it would judge its "
                    "own messages. Give the cameras their own topic: cameras/{camera}/{id}"
                )
        return self

    @model_validator(mode="after")
    def _apart(self) -> Settings:
        storage = self.storage
        inbox = {"source.folder.path": self.source.folder.path} if self.source.folder else {}
        places = {
            **inbox,
            "storage.root": storage.root,
            "storage.work": storage.work_dir,
            "storage.processed": storage.processed_dir,
            "storage.quarantine": storage.quarantine_dir,
            "bundle": self.bundle,
        }
        taken: dict[str, str] = {}
        for name, path in places.items():
            real = os.path.realpath(path)
            if real in taken:
                raise ValueError(f"{name} and {taken[real]} are both {path}: each needs its own")
            taken[real] = name
        self._not_among_images(taken)
        work = Path(os.path.realpath(storage.work_dir))
        for real, name in taken.items():
            if work in Path(real).parents:  # whatever lies there is taken for an image
                raise ValueError(f"{name} lies inside storage.work, {work}: move it out")
        return self

    def _not_among_images(self, taken: dict[str, str]) -> None:
        """What is the station's own must not lie where it looks for images."""
        folder = self.source.folder
        if folder is None or not folder.depth:
            return
        inbox = Path(os.path.realpath(folder.path))
        for real, name in taken.items():
            if inbox in Path(real).parents:
                raise ValueError(
                    f"{name} lies inside source.folder.path, {inbox}, whose folders are looked "
                    "into: move it out, or set depth = 0"
                )
