"""Several sources as one: each gets its turn, none starves another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_agent.types import Claim


class Source(Protocol):
    """What the loop asks of where images come from."""

    @property
    def ignored(self) -> dict[str, str]: ...
    @property
    def trouble(self) -> str: ...
    def waiting(self) -> int: ...
    def due(self) -> float: ...
    def claim(self, limit: int) -> list[Claim]: ...


class Sources:
    """As one `Source`."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = list(sources)

    @property
    def ignored(self) -> dict[str, str]:
        return {name: why for source in self._sources for name, why in source.ignored.items()}

    @property
    def trouble(self) -> str:
        return "; ".join(source.trouble for source in self._sources if source.trouble)

    def waiting(self) -> int:
        return sum(source.waiting() for source in self._sources)

    def due(self) -> float:
        return min(source.due() for source in self._sources)

    def claim(self, limit: int) -> list[Claim]:
        """Up to ``limit`` images; another source is the first one each time.

        Raises:
            OSError: none can be claimed now.
        """
        claims: list[Claim] = []
        for source in self._sources:
            if len(claims) < limit:
                claims += source.claim(limit - len(claims))
        self._sources.append(self._sources.pop(0))
        return claims
