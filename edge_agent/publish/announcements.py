"""What the station says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Announcements:
    """What the station says of itself, on ``status`` (retained) and on ``telemetry``."""

    birth: Callable[[], bytes]
    """Said at each connection, and whenever it has changed when the publisher is notified."""
    last_will: bytes
    """Said by the broker when the connection is lost."""
    farewell: bytes
    """Said by the station when it is stopped."""
    telemetry: Callable[[], bytes] = lambda: b""
    telemetry_every: float = 0.0
    """Seconds from one message on ``telemetry`` to the next; 0: none."""
    ready: Callable[[], bool] = lambda: True
    """Whether the birth may be said: what else the station listens to is heard."""
