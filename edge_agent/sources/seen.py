"""Which frame a message is: a new one, or one that was here before."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.sources.message import Offer
    from edge_agent.types import Seen

_MOST = 100  # inspections that one id of a camera may have, of which all but the last failed


def frame_of(
    offer: Offer, holds: Callable[[str], bool], seen: Callable[[str], Seen | None]
) -> tuple[str, bool]:
    """The identity of an image with an id of its camera, and whether it is new.

    An id is judged once. But where all that came of it is an ``error``, and other bytes come now,
    or those that could not be read then, it is another frame, whose identity is made from the
    first one's: the same again for a repeat of this message.

    Args:
        offer: what its message says.
        holds: whether a frame is in ``work/``; asked first, since it leaves that only after its
            inspection is in the journal.
        seen: what the journal knows of a frame; None: nothing.
    """
    identity = offer.identity
    for _ in range(_MOST):
        if holds(identity):
            return identity, False
        known = seen(identity)
        if known is None:
            return identity, True
        if not known.failed or not _is_other(offer, known):
            return identity, False
        identity = hashlib.sha256(f"{identity}\0again".encode()).hexdigest()[:24]
    return identity, False


def _is_other(offer: Offer, known: Seen) -> bool:
    image = offer.refused.image if offer.refused else None
    if known.sha256:
        digest = image.sha256 if image else hashlib.sha256(offer.content).hexdigest()
        return digest != known.sha256
    # Nobody could read it; or it took down each worker that did, and then only its size is known.
    return known.bytes == 0 or known.bytes != (image.bytes if image else len(offer.content))
