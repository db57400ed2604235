"""``command/replay``: messages that are kept are published again."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_agent.publish.commands import Answer, ReplayBody
    from edge_agent.publish.drain import Drain

# Messages that one command publishes again: whoever wants more asks for the rest.
_LIMIT = 10_000
# Replays that wait, and how long the next one waits after one that took a second: what marks ten
# thousand messages in the journal holds up verdicts.
_MOST = 10
_REST = 20.0
_NEWEST = 1 << 62


class Replays:
    """Those that were asked for, in order; each is done when nothing is in flight."""

    def __init__(self, drain: Drain, outbox_error: type[Exception]) -> None:
        """``outbox_error``: what the outbox raises when its storage fails."""
        self._drain = drain
        self._outbox_error = outbox_error
        self._waiting: deque[tuple[ReplayBody, Answer]] = deque()
        self._next_at = 0.0

    @property
    def due(self) -> float:
        """When the next one may be done, by the monotonic clock; infinite: none waits."""
        return self._next_at if self._waiting else float("inf")

    def want(self, body: ReplayBody, answer: Answer) -> None:
        """A command asks for one."""
        if len(self._waiting) < _MOST:
            self._waiting.append((body, answer))
        else:
            answer.refused(f"{_MOST} replays are waiting: try again after their replies")

    def do_next(self) -> None:
        """Mark what the first of them wants, and answer it.

        Raises:
            Exception: the outbox's; the command is answered.
        """
        body, answer = self._waiting.popleft()
        newest = _NEWEST if body.last is None else min(body.last, _NEWEST)
        began = time.monotonic()
        try:
            found = self._drain.replay(min(body.first, _NEWEST), newest, _LIMIT)
        except self._outbox_error as error:
            answer.refused(str(error))
            raise
        ended = time.monotonic()
        self._next_at = ended + _REST * (ended - began)
        kept = {"oldest": found.oldest, "newest": found.newest}
        if found.messages:
            answer.done(
                messages=found.messages,
                first=found.first,
                last=found.last,
                more=found.messages == _LIMIT and found.last < min(newest, found.newest),
                **kept,
            )
        else:
            answer.refused("none of the requested messages is kept any more", **kept)
