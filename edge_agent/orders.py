"""``command/bundle``: an operator, or whoever rolls bundles out, has another bundle run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_agent.publish import BundleBody, Command

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.publish import Answer


@dataclass(frozen=True)
class Order:
    """What was asked for, and who is to hear what came of it."""

    activate: str | None
    """The name of a bundle's directory; None: the one that ran before."""
    answer: Answer


class Orders:
    """The order that waits, one at most; given in the publisher's thread, taken in the loop's."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """Nothing waits.

        Args:
            wake: called when there is an order to take.
        """
        self._wake = wake
        self._waits: Order | None = None

    @property
    def commands(self) -> dict[str, Command[BundleBody]]:
        """To be obeyed; answered when the bundle runs, or was refused."""
        return {"bundle": Command(BundleBody, self._obey)}

    def take(self) -> Order | None:
        """The order that waits, once."""
        if (waits := self._waits) is not None:  # another can't come before it was taken
            self._waits = None
        return waits

    def _obey(self, body: BundleBody, answer: Answer) -> None:
        if self._waits is not None:
            answer.refused("another order waits: ask again when it was answered")
            return
        self._waits = Order(body.activate, answer)
        self._wake()
