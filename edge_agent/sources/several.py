"""Several sources as one: each gets its turn, none starves another."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from edge_agent.system.trouble import Trouble

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_agent.types import Claim


log = logging.getLogger(__name__)


class Source(Protocol):
    """What the loop asks of where images come from."""

    @property
    def ignored(self) -> dict[str, str]: ...
    @property
    def delayed(self) -> dict[str, str]: ...
    @property
    def trouble(self) -> str: ...
    @property
    def warnings(self) -> tuple[str, ...]: ...
    @property
    def forgotten(self) -> int: ...
    def waiting(self) -> int: ...
    def due(self) -> float: ...
    def look(self) -> None: ...
    def claim(self, limit: int) -> list[Claim]: ...
    def again(self, claim: Claim) -> bool: ...


class Sources:
    """As one `Source`."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = list(sources)
        self._failure = Trouble(log, "all can be claimed again")
        """Why one of them has nothing to give, while another one has."""

    @property
    def ignored(self) -> dict[str, str]:
        return {name: why for source in self._sources for name, why in source.ignored.items()}

    @property
    def delayed(self) -> dict[str, str]:
        return {name: why for source in self._sources for name, why in source.delayed.items()}

    @property
    def trouble(self) -> str:
        told = [*(source.trouble for source in self._sources), self._failure.text]
        return "; ".join(trouble for trouble in told if trouble)

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(warning for source in self._sources for warning in source.warnings)

    @property
    def forgotten(self) -> int:
        return sum(source.forgotten for source in self._sources)

    def waiting(self) -> int:
        return sum(source.waiting() for source in self._sources)

    def due(self) -> float:
        return min(source.due() for source in self._sources)

    def look(self) -> None:
        """See what waits, while nothing can be claimed."""
        for source in self._sources:
            source.look()

    def again(self, claim: Claim) -> bool:
        """Give back an image that is not whole; whether its source will give it out again."""
        return any(source.again(claim) for source in self._sources)

    def claim(self, limit: int) -> list[Claim]:
        """Up to ``limit`` images; another source is the first one each time.

        Raises:
            OSError: none can be claimed now.
        """
        claims: list[Claim] = []
        failed: OSError | None = None
        for source in self._sources:
            try:
                if len(claims) < limit:
                    claims += source.claim(limit - len(claims))
            except OSError as error:  # noqa: PERF203  what others have given must be judged
                failed = error
        self._sources.append(self._sources.pop(0))
        if failed and not claims:
            raise failed
        if failed:
            self._failure.failed(f"images can't be claimed: {failed.strerror}: {failed.filename}")
        else:
            self._failure.worked()
        return claims
