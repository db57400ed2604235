"""Which files of a folder have come to rest: their writers have let go of them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_agent.sources.ending import Ending, ending_of
from edge_agent.system.text import printable

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

log = logging.getLogger(__name__)

_HELD = 60.0
"""Seconds of quiet after which a file counts as closed though nobody was seen to close it."""
RESTLESS = 10.0
"""Seconds after which a file that is still being written to is named."""
_HASTY = 100  # names
_NAMES = 50_000

Signature = tuple[int, int, int, int]
"""Inode, size, mtime and ctime (ns)."""


@dataclass
class _Seen:
    signature: Signature
    since: float
    """Since when the file has looked so."""
    first: float
    """When it was seen first."""
    ending: Ending | None = None
    """What its end is like; None: nobody has looked since it has looked so."""


class Settling:
    """What is known of files that were written in place and are not taken yet."""

    def __init__(self, folder: Path, *, settle: float, patience: float) -> None:
        """Nothing is known of any file yet.

        Args:
            folder: where they lie.
            settle: seconds without a change, after the writer has closed the file.
            patience: the same for a file that lacks its format's end, or that ends in zeros and was
                not seen to be closed, or several times: more of it may be still to come.
        """
        self._folder = folder
        self._settle = settle
        self._patience = max(patience, settle)
        self._seen: dict[str, _Seen] = {}
        self._closed: set[str] = set()
        """Names of files that a writer has closed since one was taken."""
        self._hasty: dict[str, None] = {}
        """Names under which a file was closed twice before it was taken."""

    def ready_at(self, name: str, signature: Signature, now: float, *, writing: bool) -> float:
        """When a file that looks so counts as whole, if it does not change any more.

        ``writing``: somebody is known to have it open for that.
        """
        seen = self._seen.get(name) or _Seen(signature, now, now)
        if seen.signature != signature:
            seen = _Seen(signature, now, seen.first)
        self._seen[name] = seen
        ready = seen.since + (max(self._settle, _HELD) if writing else self._settle)
        if now < ready or self._patience <= self._settle:
            return ready
        if seen.ending is None:
            seen.ending = self._ending(name)
        # Closed once it is whole; closed again and again, as by a writer of blocks, it may not be.
        let_go = name in self._closed and name not in self._hasty
        doubtful = seen.ending.there is False or (seen.ending.zeros and not let_go)
        return max(ready, seen.since + self._patience) if doubtful else ready

    def restless_since(self, name: str, now: float) -> float | None:
        """Since when a file has not come to rest, if that is longer than images take; else None."""
        first = self._seen[name].first
        return first if now - first >= RESTLESS + self._settle else None

    def closed(self, name: str) -> bool:
        """A writer has closed a file; whether it is to be taken at once.

        So it is where a file of this name was written anew before it had settled: the next one
        may come at any moment. It must have its format's end.
        """
        if name in self._closed and name not in self._hasty:
            if len(self._hasty) >= _HASTY:
                self._hasty.pop(next(iter(self._hasty)))
            self._hasty[name] = None
            log.info(
                "%s is written anew before it was quiet for settle = %g s: from now on it is taken "
                "as soon as it is closed with its format's end",
                *(printable(name), self._settle),
            )
        if len(self._closed) < _NAMES:
            self._closed.add(name)
        if name not in self._hasty:
            return False
        ending = self._ending(name)
        return bool(ending.there) and not ending.zeros

    def changed(self, name: str, signature: Signature) -> bool:
        """Whether a file is about to be taken that looks otherwise than when it was offered."""
        seen = self._seen.pop(name, None)
        changed = seen is not None and seen.signature != signature
        if not changed:
            self._closed.discard(name)
        return changed

    def forget(self, name: str) -> None:
        """Another file has the name."""
        self._seen.pop(name, None)

    def keep_only(self, names: Collection[str]) -> None:
        """Forget what is known of all other files."""
        self._seen = {name: seen for name, seen in self._seen.items() if name in names}
        self._closed.intersection_update(names)

    def _ending(self, name: str) -> Ending:
        try:
            return ending_of(self._folder / name)
        except OSError:
            return Ending(there=None, zeros=False)  # its claim will say what is wrong
