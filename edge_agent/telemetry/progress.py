"""Does the work advance? What the watchdog is fed by."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Progress:
    """Knows since when nothing has moved although frames wait."""

    def __init__(self, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Be patient for as long as the agent's own remedies take.

        Args:
            patience: seconds. Longer than a frame or a worker's start may take: until then it is
                the worker pool that replaces whoever hangs.
            clock: seconds, monotonic.
        """
        self._patience = patience
        self._clock = clock
        self._seen: int | None = None
        self._since = clock()

    def advances(self, *, waiting: bool, moved: int) -> bool:
        """Whether all is well: nothing waits, or something has moved lately.

        Args:
            waiting: whether there is anything to do.
            moved: changes with every step forward.
        """
        now = self._clock()
        if not waiting or moved != self._seen:
            self._seen, self._since = moved, now
        return now - self._since <= self._patience

    def stuck(self) -> float:
        """Seconds that nothing has moved, or that nobody has asked whether; 0 while all is well.

        From any thread: the one that asks `advances` may be what is stuck.
        """
        silent = self._clock() - self._since
        return silent if silent > self._patience else 0.0
