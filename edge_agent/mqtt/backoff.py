"""How long to wait before trying again."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_SYSTEM = random.SystemRandom()


class Backoff:
    """Delays that double from ``shortest`` to ``longest``, each shortened by up to a half.

    The random part keeps the stations of a hall from coming back in step after a power cut.
    """

    def __init__(
        self, shortest: float, longest: float, chance: Callable[[], float] = _SYSTEM.random
    ) -> None:
        self._shortest = shortest
        self._longest = longest
        self._chance = chance
        self._failures = 0

    def next(self, *, longest: bool = False) -> float:
        """Seconds until the next try; ``longest`` goes to the longest delay at once."""
        # 2 ** 30 is beyond any longest delay: the exponent must not grow for years.
        steps = 30 if longest else min(self._failures, 30)
        self._failures += 1
        delay: float = min(self._shortest * 2**steps, self._longest)
        return delay * (0.5 + self._chance() / 2)

    def reset(self) -> None:
        """It worked: begin with ``shortest`` again."""
        self._failures = 0
