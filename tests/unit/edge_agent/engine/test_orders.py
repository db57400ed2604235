"""Every order has an answer, whenever it comes."""

from __future__ import annotations

import json

import pytest

from edge_agent.engine.orders import STOPS, Orders
from edge_agent.publish import BundleBody
from edge_agent.publish.commands import Answer


@pytest.fixture
def replies():
    return []


def give(orders, replies, name):
    """Order a bundle of this name."""
    answer = Answer("bundle", name.encode(), replies.append)
    orders.commands["bundle"].obey(BundleBody(activate=name), answer)


def said(replies):
    """Why which order was refused."""
    return [(reply.correlation.decode(), json.loads(reply.payload)["reason"]) for reply in replies]


def test_one_waits_and_a_second_is_refused(replies):
    woken = []
    orders = Orders(lambda: woken.append(1))
    assert orders.take() is None
    give(orders, replies, "first")
    give(orders, replies, "second")

    assert orders.take().activate == "first"
    assert orders.take() is None
    assert woken == [1]
    assert said(replies) == [
        ("second", "another command is still in progress: try again after its reply")
    ]


def test_at_the_end_the_one_that_waits_is_refused_and_each_that_comes(replies):
    orders = Orders(lambda: None)
    give(orders, replies, "waits")

    orders.close()
    give(orders, replies, "late")

    assert orders.take() is None
    assert said(replies) == [("waits", STOPS), ("late", STOPS)]
