"""An id is judged once; and again where all that came of it is an error of other bytes."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from edge_agent.sources.message import Offer
from edge_agent.sources.seen import frame_of
from edge_agent.types import Failure, Image, Seen

IMAGE = b"image"
SHA = hashlib.sha256(IMAGE).hexdigest()
OFFER = Offer("a" * 24, True, "n", "n.png", None, IMAGE, None, None, "top")
MISSING = replace(OFFER, content=b"", refused=Failure("not there", Image("", 0)))


def frame(offer, journal, held=()):
    return frame_of(offer, lambda i: i in held, journal.get)


def test_what_is_new_has_its_own_identity():
    assert frame(OFFER, {}) == (OFFER.identity, True)
    assert frame(OFFER, {}, [OFFER.identity]) == (OFFER.identity, False)


@pytest.mark.parametrize(
    "known",
    [
        Seen(failed=False, sha256="another"),
        Seen(failed=False),  # its row has gone by age
        Seen(failed=True, sha256=SHA, bytes=5),
        Seen(failed=True, bytes=len(IMAGE)),  # it took down its workers
    ],
)
def test_what_was_judged_is_a_repeat(known):
    assert frame(OFFER, {OFFER.identity: known}) == (OFFER.identity, False)


@pytest.mark.parametrize(
    "known",
    [
        Seen(failed=True),  # the file was not there
        Seen(failed=True, sha256="half of it", bytes=3),
        Seen(failed=True, bytes=9999),  # too large
    ],
)
@pytest.mark.parametrize("offer", [OFFER, MISSING])
def test_an_id_of_which_nothing_was_read_is_tried_again(known, offer):
    if offer is MISSING and known.bytes == 3:
        offer = replace(offer, refused=Failure("other", Image("other", 4)))
    again, new = frame(offer, {OFFER.identity: known})
    assert new
    assert again != OFFER.identity
    assert len(again) == 24
    # The same again for a repeat; and once it is judged, it stays so.
    held = {OFFER.identity: known}
    assert frame(offer, held, [again]) == (again, False)
    assert frame(offer, held | {again: Seen(failed=False)}) == (again, False)
    assert frame(OFFER, held | {again: Seen(failed=True)})[1]


def test_one_that_fails_for_ever_comes_to_an_end():
    asked = []

    def seen(identity):
        asked.append(identity)
        return Seen(failed=True)

    assert not frame_of(OFFER, lambda _: False, seen)[1]
    assert len(set(asked)) == 100
