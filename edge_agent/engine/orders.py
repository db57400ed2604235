"""``command/bundle``: an operator, or whoever rolls bundles out, has another bundle run."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_agent.publish import BundleBody, Command

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.publish import Answer


STOPS = "the station is stopping: try again when it is back"


@dataclass(frozen=True)
class Order:
    """What was asked for, and who is to hear what came of it."""

    activate: str | None
    """The name of a bundle's directory; None: the one that ran before."""
    answer: Answer
    name: str | None = None
    """What the bundle is called that is meant; None: as the one that runs."""

    @property
    def body(self) -> dict[str, str | bool]:
        """What was asked for, without the name."""
        return {"roll_back": True} if self.activate is None else {"activate": self.activate}


class Orders:
    """The order that waits, one at most; given in the publisher's thread, taken in the loop's."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """Nothing waits.

        Args:
            wake: called when there is an order to take.
        """
        self._wake = wake
        self._lock = threading.Lock()
        self._waits: Order | None = None
        self._closed = False

    @property
    def commands(self) -> dict[str, Command[BundleBody]]:
        """To be obeyed; answered when the bundle runs, or was refused."""
        return {"bundle": Command(BundleBody, self._obey)}

    def take(self) -> Order | None:
        """The order that waits, once."""
        with self._lock:
            waits, self._waits = self._waits, None
        return waits

    def close(self) -> None:
        """Take no more, and refuse the one that waits: none is left without an answer."""
        with self._lock:
            self._closed = True
        if waits := self.take():
            waits.answer.refused(STOPS)

    def _obey(self, body: BundleBody, answer: Answer) -> None:
        with self._lock:
            if self._closed:
                refused = STOPS
            elif self._waits is not None:
                refused = "another command is still in progress: try again after its reply"
            else:
                refused = ""
                self._waits = Order(body.activate, answer, body.name)
        if refused:
            answer.refused(refused)
        else:
            self._wake()
