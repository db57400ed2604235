"""What was found out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    topic: str
    level: Level
    """``error``: the station can't do its work, or not as it is set up."""
    what: str
    """What is so, in words that an operator can act on; never a secret."""
    mend: str = ""
    """What to do about it; empty when there is nothing to do."""
