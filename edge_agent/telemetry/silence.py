"""Does anything come? A line whose camera has stopped looks like one without defects."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from edge_agent.system.trouble import Trouble

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)


class Silence:
    """Knows for how long no image has been judged although some are expected.

    What counts is an inspection in the journal, and not that a file was seen or taken: only that
    says that parts are inspected. While the station is paused nothing is expected; it begins anew
    with its end.
    """

    def __init__(
        self,
        expect_every: float,
        last: Callable[[], float | None],
        paused: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Expect images from now on.

        Args:
            expect_every: seconds without one after which it is too long; 0: none is expected.
            last: when the last inspection was committed, by ``clock``; None: none yet.
            paused: whether images are left where they are.
            clock: seconds, monotonic.
        """
        self._every = expect_every
        self._last = last
        self._paused = paused
        self._clock = clock
        self._since = clock()
        self._trouble = Trouble(log, "images arrive again", clock=clock)

    @property
    def text(self) -> str:
        """Why the station inspects nothing, in words; empty while images come or none need to."""
        return self._trouble.text

    def look(self) -> None:
        """Look at the clock; from the loop, about once a second."""
        now = self._clock()
        if self._paused():
            self._since = now
        since = max(self._since, self._last() or self._since)
        if self._every and now - since > self._every:
            self._trouble.failed(
                f"no image was judged for more than {self._every:g} s ([source] expect_every): "
                "look at camera, trigger, cable and share, and under ignored in /healthz"
            )
        else:
            self._trouble.worked()
