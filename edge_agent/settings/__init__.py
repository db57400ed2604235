"""``station.toml`` as frozen models, checked whole at start.

Relative paths are relative to the file, and ``credential:NAME`` is a credential that systemd hands
to the service. Unknown keys are errors: a typo must not be a default.
"""

from __future__ import annotations

from edge_agent.settings.judging import (
    DecisionSettings,
    Format,
    Instead,
    RuntimeSettings,
    TrustSettings,
    WorkerSettings,
)
from edge_agent.settings.load import CREDENTIALS, SettingsError, load_settings
from edge_agent.settings.outside import HttpSettings, LogSettings, MqttSettings, StationSettings
from edge_agent.settings.source import FolderSettings, MqttSourceSettings, SourceSettings
from edge_agent.settings.storage import RetentionSettings, StorageSettings
from edge_agent.settings.whole import Settings

__all__ = [
    "CREDENTIALS",
    "DecisionSettings",
    "FolderSettings",
    "Format",
    "HttpSettings",
    "Instead",
    "LogSettings",
    "MqttSettings",
    "MqttSourceSettings",
    "RetentionSettings",
    "RuntimeSettings",
    "Settings",
    "SettingsError",
    "SourceSettings",
    "StationSettings",
    "StorageSettings",
    "TrustSettings",
    "WorkerSettings",
    "load_settings",
]
