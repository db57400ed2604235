"""What the station says of itself, where and to whom."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    Field,
    field_validator,
    model_validator,
)

from edge_agent.settings.section import Port, Seconds, Section


def _level(level: str) -> str:
    if not 1 <= len(level) <= 64 or not level.isprintable() or any(c in level for c in "+#/"):
        raise ValueError("must be 1 to 64 printable characters, without / + #")
    return level


Level = Annotated[str, AfterValidator(_level)]
_HOST = re.compile(r"[\w.:%-]+")  # a name, or an address with its zone; no URL


class StationSettings(Section):
    """Who this is: the levels of its MQTT topics."""

    site: Level = "site"
    line: Level = "line"
    name: Level = "station"


class MqttSettings(Section):
    """The broker that verdicts go to."""

    host: str
    port: Port | None = None
    root: str = "inspection"
    client_id: str | None = Field(default=None, min_length=1, max_length=128)
    keepalive: int = Field(default=30, ge=5, le=3600)
    telemetry_every: Seconds = 10.0
    commands: bool = True
    username: str | None = None
    password_file: Path | None = None
    tls: bool = False
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    @field_validator("host")
    @classmethod
    def _alone(cls, host: str) -> str:
        # A URL may hold a password, and the host is told wherever the broker is spoken of.
        if not _HOST.fullmatch(host):
            raise ValueError(
                "must be the broker's name or address only: port, tls and username have their own "
                "keys"
            )
        return host

    @field_validator("root")
    @classmethod
    def _root(cls, root: str) -> str:
        if root.startswith("$"):
            raise ValueError("topics that begin with $ are the broker's own")
        if not root.isprintable() or any(c in root for c in "+#") or "" in root.split("/"):
            raise ValueError("topic levels must not be empty or contain + or #")
        return root

    @model_validator(mode="after")
    def _consistent(self) -> MqttSettings:
        files = (self.ca_file, self.cert_file, self.key_file)
        if any(files) and not self.tls:
            raise ValueError("certificate files are given, but tls = false: set tls = true")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together")
        if self.password_file is not None and self.username is None:
            raise ValueError("password_file is given without username")
        return self


class HttpSettings(Section):
    """``/healthz``, ``/readyz`` and ``/metrics``, read-only."""

    host: str = "127.0.0.1"
    port: Port = 8471


class LogSettings(Section):
    """How the agent speaks on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"
