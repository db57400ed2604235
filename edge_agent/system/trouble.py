"""One thing that can be wrong: reported once, cleared once, however often it comes and goes."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_LONGEST = 60.0
"""Seconds that a trouble which came back again and again must stay away to be over."""
_FORGET = 600.0
"""Seconds without a failure after which a trouble counts as a new one."""


class Trouble:
    """Why something does not work; from any one thread, read from all.

    A trouble is over when what failed has worked. One that comes back soon after must then stay
    away for 1 s, 2 s, 4 s, up to a minute, before it counts as over: health does not flap, and the
    log has one line for each time that it was really over.
    """

    def __init__(
        self,
        log: logging.Logger,
        over: str,
        *,
        level: int = logging.ERROR,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """All is well.

        Args:
            log: where it is reported.
            over: the line when it is over.
            level: of the line when it begins.
            clock: monotonic seconds.
        """
        self._log = log
        self._over = over
        self._level = level
        self._clock = clock
        self._text = ""
        self._logged = ""
        self._log_at = 0.0
        self._pause = 0.0
        """Seconds that it must stay away to be over."""
        self._worked_since: float | None = None
        self._failed_at = float("-inf")

    @property
    def text(self) -> str:
        """Why it does not work; empty when it does."""
        self._settle()
        return self._text

    def failed(self, text: str) -> None:
        """It does not work, for this reason."""
        self._settle()
        now = self._clock()
        if not self._text or self._worked_since is not None:  # it begins, or comes back
            again = now - self._failed_at < _FORGET
            self._pause = min(max(1.0, 2 * self._pause), _LONGEST) if again else 0.0
        self._failed_at = now
        self._worked_since = None
        begins = not self._text
        self._text = text
        if begins or (text != self._logged and now >= self._log_at):
            self._logged = text
            self._log_at = now + max(1.0, self._pause)
            self._log.log(self._level, text)

    def worked(self) -> None:
        """What failed has worked."""
        if self._text and self._worked_since is None:
            self._worked_since = self._clock()
            self._settle()

    def _settle(self) -> None:
        since = self._worked_since
        if self._text and since is not None and self._clock() - since >= self._pause:
            self._text = self._logged = ""
            self._worked_since = None
            self._log.info(self._over)
