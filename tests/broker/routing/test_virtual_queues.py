"""The queues of virtual topics, found by the topic."""

from __future__ import annotations

from stompy_broker.routing.virtual_queues import VirtualQueues


def test_queues_are_found_as_long_as_they_are_there() -> None:
    there: set[str] = set()
    queues = VirtualQueues(there.__contains__)
    for name in ("Consumer.A.VirtualTopic.x", "Consumer.B.VirtualTopic.>", "plain"):
        there.add(name)
        assert queues.appeared(name) is (name != "plain")
        queues.appeared(name)
    both = ["Consumer.A.VirtualTopic.x", "Consumer.B.VirtualTopic.>"]
    assert sorted(queues.of("VirtualTopic.x")) == both
    assert queues.of("VirtualTopic.y") == both[1:]
    there.discard(both[0])
    assert queues.of("VirtualTopic.x") == both[1:]
    there.add(both[0])
    assert queues.of("VirtualTopic.x") == both[1:]  # whoever makes one tells
    queues.appeared(both[0])
    assert sorted(queues.of("VirtualTopic.x")) == both
