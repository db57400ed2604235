"""How much is allowed: so many at once, and so many a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Allowance:
    """What is not used is saved, up to what is allowed at once."""

    def __init__(self, at_once: float, a_second: float, clock: Callable[[], float]) -> None:
        """All of it is there.

        Args:
            at_once: how many, where none was taken for long.
            a_second: how many, in the long run.
            clock: monotonic seconds.
        """
        self._at_once = at_once
        self._a_second = a_second
        self._clock = clock
        self._left = at_once
        self._since = clock()

    def take(self) -> bool:
        """Whether there is one more; it is taken."""
        now = self._clock()
        self._left = min(self._at_once, self._left + (now - self._since) * self._a_second)
        self._since = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
