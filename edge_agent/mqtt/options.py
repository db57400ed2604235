"""How to reach the broker."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True)
class TlsOptions:
    """The broker's name is always checked against its certificate."""

    ca: Path | None = None
    """PEM; None: the system's own authorities."""
    cert: Path | None = None
    """PEM, the client's certificate; None: it has none."""
    key: Path | None = None
    """PEM; a file that only the service can read."""


@dataclass(frozen=True)
class MqttOptions:
    """Seconds where a time is meant."""

    client_id: str
    """One client for each id: brokers disconnect the older of two."""
    host: str = "localhost"
    port: int = 1883
    keepalive: int = 15
    username: str | None = None
    password: Callable[[], str] | None = field(default=None, repr=False)
    """Asked at each connection, so that a new one is taken without a restart. Raises OSError."""
    tls: TlsOptions | None = None
    max_inflight: int = 100
    """Publishes without PUBACK at once; the broker may allow less."""
    connect_timeout: float = 5.0
    ack_timeout: float = 60.0
    """A broker that answers pings, but acknowledges nothing for so long, is left."""
    reconnect_min: float = 1.0
    reconnect_max: float = 30.0

    @property
    def broker(self) -> str:
        """For messages: ``host:port``."""
        return f"{self.host}:{self.port}"
