"""``command/pause`` and ``command/resume``: an operator keeps the station from taking images."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from edge_agent.publish import Command, Nothing

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.publish import Answer


class Pause:
    """Whether images are left where they are; from any thread.

    It ends with the daemon: a station that starts is there to inspect, and one that was forgotten
    would stay paused over every restart.
    """

    def __init__(self, changed: Callable[[], None], clock: Callable[[], float] = time.time) -> None:
        """Not paused.

        Args:
            changed: called when it begins and when it ends, in the thread that said so.
            clock: wall clock.
        """
        self._changed = changed
        self._clock = clock
        self.since: float | None = None
        """Seconds since the epoch; None while the station takes images."""

    def holds(self) -> bool:
        """Whether images are left where they are."""
        return self.since is not None

    @property
    def commands(self) -> dict[str, Command[Nothing]]:
        """To be obeyed: both are done at once, and doing them twice changes nothing."""
        return {"pause": Command(Nothing, self._pause), "resume": Command(Nothing, self._resume)}

    def _pause(self, _: Nothing, answer: Answer) -> None:
        if self.since is None:
            self.since = self._clock()
            self._changed()
        answer.done(paused=True)

    def _resume(self, _: Nothing, answer: Answer) -> None:
        if self.since is not None:
            self.since = None
            self._changed()
        answer.done(paused=False)
