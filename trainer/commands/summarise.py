"""A look through the data set, before it is learned from."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from edge_agent.system.text import printable, say

if TYPE_CHECKING:
    from trainer.data import Dataset
    from trainer.data.summary import Summary


def summarise_data(dataset: Dataset) -> Summary:
    """Look through the data set, and say on stderr what should be known of it."""
    from trainer.data.summary import summarise

    summary = summarise(dataset)
    for finding in summary.findings:
        text = f"{'warning' if finding.warning else 'note'}: {finding.text}"
        # It has names from the disk: none may forge a line of its own.
        say(printable(text, 4000), stream=sys.stderr)
    return summary
