"""A worker that a hostile image has taken over may say anything: it is a reply, or its end."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edge_agent.engine.worker.protocol import (
    Broken,
    Failed,
    Judged,
    Ready,
    Refused,
    pack_task,
    replies,
    unpack_task,
)
from edge_agent.types import Failure, Image, Latency, Prediction, Region

IMAGE = Image("0" * 64, 10, 4, 5)
REPLIES = (
    Ready("fp32", "cpu", "CPU", 0.0, 1),
    Refused("no", provider=True),
    Broken("7", "it raised"),
    Judged("7", Prediction(0.5, (Region(0, 0, 1, 1, 0.5),), IMAGE, Latency(), 1), (10, 1)),
    Failed("7", Failure("bad", IMAGE, Latency(), 1), (10, 1)),
)
KNOWN = (Ready, Refused, Broken, Judged, Failed)


@given(
    reply=st.sampled_from(REPLIES),
    edits=st.lists(st.tuples(st.integers(0, 500), st.binary(min_size=1, max_size=3)), max_size=4),
    cut=st.none() | st.integers(0, 500),
)
def test_a_damaged_reply_is_a_reply_or_refused(reply, edits, cut):
    packet = bytearray(replies.dump_json(reply))
    for start, new in edits:
        packet[start : start + len(new)] = new
    reply_or_refusal(bytes(packet[:cut]))


@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_refused(packet):
    reply_or_refusal(packet)


@pytest.mark.parametrize("score", ["high", None, [], {}])
def test_a_score_that_is_no_number_is_no_reply(score):
    packet = json.loads(replies.dump_json(REPLIES[3]))
    packet["prediction"]["score"] = score

    with pytest.raises(ValidationError):
        replies.validate_json(json.dumps(packet))


def reply_or_refusal(packet: bytes) -> None:
    try:
        reply = replies.validate_json(packet)
    except ValidationError:
        return
    assert isinstance(reply, KNOWN)


@given(
    identity=st.text("0123456789abcdef", min_size=1, max_size=24),
    name=st.binary(min_size=1, max_size=255).filter(lambda b: not set(b) & {0, ord("/")}),
)
def test_a_task_comes_through_whatever_the_file_is_called(identity, name):
    path = Path("/spool") / os.fsdecode(name)

    assert unpack_task(pack_task(identity, path)) == (identity, path)
