"""The topic of images: what the broker is asked for, and what its levels say."""

from __future__ import annotations

import pytest

from edge_agent.mqtt.pattern import TopicPattern


@pytest.mark.parametrize(
    ("text", "asked", "topic", "said"),
    [
        ("cameras/top", "cameras/top", "cameras/top", {}),
        ("cameras/#", "cameras/#", "cameras/a/b", {}),
        ("#", "#", "a", {}),
        ("{camera}/x/{id}", "+/x/+", "top/x/7", {"camera": "top", "id": "7"}),
        ("{id}/#", "+/#", "7", {"id": "7"}),
        ("c/+/{name}/{captured}", "c/+/+/+", "c/x/p.png/5", {"name": "p.png", "captured": "5"}),
        ("$share/all/c/{id}", "$share/all/c/+", "c/7", {"id": "7"}),
        ("a//{id}", "a//+", "a//7", {"id": "7"}),
    ],
)
def test_what_it_asks_for_and_reads(text, asked, topic, said):
    pattern = TopicPattern(text)
    assert pattern.filter == asked
    assert pattern.read(topic) == said


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "1 to 65535 bytes"),
        ("a\0b", "control"),
        ("a" * 70_000, "1 to 65535 bytes"),
        ("#/a", "last"),
        ("a/b#", "whole levels"),
        ("a/b+/c", "whole levels"),
        ("a/x{id}", "whole level"),
        ("a/{id}x", "whole level"),
        ("a/{id", "whole level"),
        ("a/{}", "a level may be called"),
        ("a/{part}", "camera, captured, id, name"),
        ("{id}/{id}", "once each"),
        ("$share/group", "GROUP/TOPIC"),
        ("$share//a", "GROUP/TOPIC"),
        ("$share/g+/a", "GROUP/TOPIC"),
        ("$share/", "GROUP/TOPIC"),
    ],
)
def test_what_no_broker_would_take_is_refused(text, why):
    with pytest.raises(ValueError, match=why):
        TopicPattern(text)


@pytest.mark.parametrize(
    ("text", "topic", "comes"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/b/c", False),
        ("a/b/c", "a/b", False),
        ("a/{id}/c", "a/7/c", True),
        ("a/+", "a/b/c", False),
        ("a/#", "a/b/c", True),
        ("a/#", "a", True),
        ("#", "a/b", True),
        ("$share/g/a/+", "a/b", True),
    ],
)
def test_what_comes(text, topic, comes):
    assert TopicPattern(text).matches(topic) is comes
