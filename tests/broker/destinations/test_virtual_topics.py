"""Names of virtual topics and of the queues that get their messages."""

from __future__ import annotations

import pytest

from stompy_broker.destinations.virtual_topics import VirtualTopicNames


@pytest.mark.parametrize(
    ("name", "is_virtual"),
    [
        ("VirtualTopic.x", True),
        ("VirtualTopic.x.y", True),
        ("VirtualTopicx", False),
        ("x.VirtualTopic.x", False),
        ("$exchange.VirtualTopic.x", False),
    ],
)
def test_topics(name: str, is_virtual: bool) -> None:
    assert VirtualTopicNames().is_topic(name) is is_virtual


@pytest.mark.parametrize(
    ("queue", "topics"),
    [
        ("Consumer.A.VirtualTopic.x", "VirtualTopic.x"),
        ("Consumer.A.VirtualTopic.>", "VirtualTopic.>"),
        ("Consumer.A.VirtualTopic.*.y", "VirtualTopic.*.y"),
        ("Consumer.A.>", ">"),
        ("Consumer.A.B.VirtualTopic.x", None),
        ("Consumer.A", None),
        ("Consumer.VirtualTopic.x", None),
        ("Consumers.A.VirtualTopic.x", None),
        ("VirtualTopic.x", None),
    ],
)
def test_queues(queue: str, topics: str | None) -> None:
    assert VirtualTopicNames().topics_of(queue) == topics


def test_other_names() -> None:
    names = VirtualTopicNames("v.>", "for.*.*.")
    assert names.is_topic("v.x")
    assert not names.is_topic("VirtualTopic.x")
    assert names.topics_of("for.a.b.v.x") == "v.x"
    assert names.topics_of("Consumer.A.VirtualTopic.x") is None
    assert VirtualTopicNames("").topics_of("Consumer.A.VirtualTopic.x") is None
    assert not VirtualTopicNames("").is_topic("VirtualTopic.x")
