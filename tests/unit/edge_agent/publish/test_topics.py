from __future__ import annotations

import pytest

from edge_agent.publish import Station, Topics, topics_of


def test_topics():
    assert topics_of(Station("plant 1", "7", "cam")) == Topics(
        status="inspection/plant 1/7/cam/status",
        verdict="inspection/plant 1/7/cam/verdict",
        defect="inspection/plant 1/7/cam/defect",
        telemetry="inspection/plant 1/7/cam/telemetry",
        command="inspection/plant 1/7/cam/command",
        reply="inspection/plant 1/7/cam/reply",
    )
    assert topics_of(Station("a", "b", "c"), root="x/y").status == "x/y/a/b/c/status"


@pytest.mark.parametrize("bad", ["+", "a#", "a/b", "a\0", "a\n", "\ud800", ""])
def test_a_level_that_would_be_another_topic_is_refused(bad):
    for names in ((bad, "l", "s"), ("s", bad, "s"), ("s", "l", bad)):
        with pytest.raises(ValueError, match=r"MQTT topics"):
            Station(*names)


@pytest.mark.parametrize(
    ("root", "message"),
    [("", "empty"), ("a//b", "empty"), ("/a", "empty"), ("a/+", r"'\+'"), ("$SYS", "keep for")],
)
def test_a_bad_root_is_refused(root, message):
    with pytest.raises(ValueError, match=message):
        topics_of(Station("s", "l", "n"), root)
