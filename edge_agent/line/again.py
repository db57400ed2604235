"""Which frames that could not be judged are judged again, and which are errors for good."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from edge_agent.line.waiting import UNREAD, Waiting

if TYPE_CHECKING:
    from edge_agent.engine.worker.protocol import Failed
    from edge_agent.sources.several import Source
    from edge_agent.sources.spool import Spool
    from edge_agent.types import Claim

_OWN_DISK = 100
"""Times ``retry_truncated``: how long an image is tried that the station's own disk can't read."""
_LATER = 1000  # truncated frames waiting for their rest; beyond that they are judged as they are
# What says something of the file. All else may pass: a share or its server does not answer, a
# process has no descriptor left.
_LASTING = frozenset(
    {
        *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.EISDIR, errno.ENOTDIR),
        *(errno.EINVAL, errno.ENAMETOOLONG),
    }
)


class Again:
    """Lets frames wait whose file may become whole, or readable."""

    def __init__(
        self, waiting: Waiting, spool: Spool, source: Source, retry_truncated: float
    ) -> None:
        """``retry_truncated``: seconds without a change after which half a file is all there is."""
        self._waiting = waiting
        self._spool = spool
        self._source = source
        self._retry_truncated = retry_truncated

    def wait(self, claim: Claim, reply: Failed) -> bool:
        """Whether the frame waits to be judged again."""
        if reply.errno:
            return self._wait_for_reading(claim, reply.errno)
        if not reply.truncated or claim.whole or len(self._waiting) >= _LATER:
            return False
        if claim.wanted is not None:
            return self._source.again(claim)
        return self._waiting.add(claim, "is not whole yet", reply.signature, self._retry_truncated)

    def _wait_for_reading(self, claim: Claim, error: int) -> bool:
        patient = self._waiting.waited(claim) < _OWN_DISK * self._retry_truncated
        passes = patient or not self._spool.ours(claim)
        if self._spool.reachable(claim) and (error in _LASTING or not passes):
            return False
        why = f"can not be read: {os.strerror(error)}"
        return self._waiting.add(claim, why, UNREAD, float("inf"))
