"""How publishing goes: written by the publisher's thread, read by every other."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.publish.drain import Outbox

log = logging.getLogger(__name__)

HELD_UP = "publishing is held up"
"""What the reason stands behind in the log."""

STOPPED = "stopped"
_COUNT_SECONDS = 1.0


@dataclass(frozen=True)
class PublisherState:
    """For status pages and logs. A broker outage is state, not an exception."""

    connected: bool
    reason: str
    """What keeps messages back, and what to do; empty when nothing does."""
    since: float
    """When ``connected`` or ``reason`` last changed; seconds since the epoch."""
    backlog: int
    """Messages that no broker has taken yet; as of the last second or so."""
    last_ack: float | None
    """When the broker last took a message; seconds since the epoch."""
    rejected: int
    """Publishes that a broker has refused since the start; each is kept and sent again."""
    commands: str = ""
    """Why not all commands are obeyed, and what to do; empty while they are."""
    commands_refused: int = 0
    """Commands that were not obeyed because too many came, since the start."""


class Board:
    """The current state. Only the publisher's thread changes it; a read is always whole."""

    def __init__(self, reason: str, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._count_at = -math.inf
        self.state = PublisherState(
            connected=False, reason=reason, since=clock(), backlog=0, last_ack=None, rejected=0
        )

    def say(self, reason: str, *, connected: bool) -> None:
        """Change what is said, and log it if it is news."""
        before = self.state
        if (before.connected, before.reason) == (connected, reason):
            return
        self.state = replace(before, connected=connected, reason=reason, since=self._clock())
        if reason == STOPPED:
            log.info("publishing has stopped")
        elif reason and reason != before.reason:
            log.warning("%s: %s", HELD_UP, reason)
        elif not reason:
            log.info("publishing")

    def settled(self, *, taken: int, refused: int) -> None:
        """PUBACKs came in: so many with success, so many without."""
        self.state = replace(
            self.state,
            last_ack=self._clock() if taken else self.state.last_ack,
            rejected=self.state.rejected + refused,
        )

    def obeys(self, trouble: str, refused: int) -> None:
        """How it goes with commands."""
        if (self.state.commands, self.state.commands_refused) != (trouble, refused):
            self.state = replace(self.state, commands=trouble, commands_refused=refused)

    def count(self, outbox: Outbox, *, now: bool = False) -> None:
        """Look at the backlog: once a second, less often where it is so long that it costs."""
        began = time.monotonic()
        if now or began >= self._count_at:
            self.state = replace(self.state, backlog=outbox.unacknowledged())
            ended = time.monotonic()
            self._count_at = ended + max(_COUNT_SECONDS, 50 * (ended - began))
