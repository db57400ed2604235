"""What outlives one session of the publisher."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_agent.mqtt.backoff import Backoff
    from edge_agent.publish.state import Board
    from edge_agent.system.wake import Wake


@dataclass
class Stop:
    """When to end, by the monotonic clock. Set once, by the thread that wants it."""

    flush_until: float = math.inf
    until: float = math.inf

    @property
    def wanted(self) -> bool:
        return self.until < math.inf


@dataclass(frozen=True)
class Shared:
    """What all sessions of a publisher have in common."""

    board: Board
    """Where to say how it goes."""
    wake: Wake
    """Set when there may be new rows, or a stop is wanted."""
    stop: Stop
    retries: Backoff
    """Delays after a refusal."""
    suspected: set[int]
    """Replies, by sequence, that a connection was lost with."""
    outbox_error: type[Exception]
    """What the outbox raises when its storage fails."""
