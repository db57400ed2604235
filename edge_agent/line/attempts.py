"""How many workers a frame has cost: counted in the journal, so that a restart knows it too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_agent.journal import JournalError

if TYPE_CHECKING:
    from edge_agent.journal import Journal
    from edge_agent.system.trouble import Trouble
    from edge_agent.types import Claim


class Attempts:
    """Counts them; while the journal can't, in memory."""

    def __init__(self, journal: Journal, trouble: Trouble) -> None:
        self._journal = journal
        self._trouble = trouble
        self._uncounted: dict[str, int] = {}
        """Those that the journal could not count yet, by frame."""

    def add(self, claim: Claim) -> int:
        """One more; return how many there are by now, as far as is known."""
        uncounted = self._uncounted.pop(claim.id, 0) + 1
        try:
            return self._journal.add_attempts(claim.id, uncounted)
        except JournalError as error:
            if not error.temporary:
                raise
            self._trouble.failed(str(error))
        self._uncounted[claim.id] = uncounted
        return self._journal.attempts(claim.id) + uncounted

    def forget(self, claim: Claim) -> None:
        """The frame has its inspection."""
        self._uncounted.pop(claim.id, None)
