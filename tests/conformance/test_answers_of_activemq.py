"""What ActiveMQ 5.17 answered about several destinations, and what this broker does.

Where the two differ on purpose, the row says why.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.conformance.conftest import Connect
from tests.conformance.test_several_queues import subscribe
from tests.support.wire import Frame, Peer, unique

Seen = list[tuple[str, str, str]]
"""Of each message: subscription, the end of its destination, and its body."""


def seen(frames: list[Frame]) -> Seen:
    return [
        (frame["subscription"], frame["destination"].rpartition("-")[2], frame.body.decode())
        for frame in frames
    ]


def composite_send(peer: Peer, name: str) -> Seen:
    """Two subscriptions, and one SEND to both destinations."""
    subscribe(peer, f"/queue/{name}-q", id="1")
    subscribe(peer, f"/topic/{name}-t", id="2")
    peer.send(f"SEND\ndestination:/queue/{name}-q,/topic/{name}-t\n\nx\0")
    frames = [peer.expect("MESSAGE") for _ in range(2)]
    assert frames[0]["message-id"] == frames[1]["message-id"]
    return seen(frames)


def composite_subscription(peer: Peer, name: str) -> Seen:
    """One subscription to two queues, and a SEND to each."""
    subscribe(peer, f"/queue/{name}-a,/queue/{name}-b", id="1")
    for part, body in (("a", "1"), ("b", "2")):
        peer.send(f"SEND\ndestination:/queue/{name}-{part}\n\n{body}\0")
    return seen([peer.expect("MESSAGE") for _ in range(2)])


def queue_wildcard(peer: Peer, name: str) -> Seen:
    """One subscription to all queues of a pattern, that are there already."""
    for part, body in (("a", "1"), ("b", "2")):
        peer.send(f"SEND\ndestination:/queue/{name}.-{part}\n\n{body}\0")
    peer.send(f"SUBSCRIBE\nid:w\ndestination:/queue/{name}.*\n\n\0")
    return seen([peer.expect("MESSAGE") for _ in range(2)])


def virtual_topic(peer: Peer, name: str) -> Seen:
    """Two queues of one virtual topic, and a SEND to the topic."""
    for consumer in ("B", "A"):
        subscribe(peer, f"/queue/Consumer.{consumer}.VirtualTopic.{name}-v", id=consumer)
    peer.send(f"SEND\ndestination:/topic/VirtualTopic.{name}-v\n\nx\0")
    frames = [peer.expect("MESSAGE") for _ in range(2)]
    for frame in frames:
        word = frame["subscription"]
        assert frame["destination"] == f"/queue/Consumer.{word}.VirtualTopic.{name}-v"
    return seen(frames)


@pytest.mark.parametrize(
    ("ask", "theirs", "in_order"),
    [
        (composite_send, [("1", "q", "x"), ("2", "t", "x")], True),
        (composite_subscription, [("1", "a", "1"), ("1", "b", "2")], True),
        # Between queues there is no order; there, the later one came first.
        (queue_wildcard, [("w", "b", "2"), ("w", "a", "1")], False),
        (virtual_topic, [("B", "v", "x"), ("A", "v", "x")], False),
    ],
)
def test_as_activemq_answers(
    connect: Connect, ask: Callable[[Peer, str], Seen], theirs: Seen, in_order: bool
) -> None:
    ours = ask(connect(), unique())
    assert (ours if in_order else sorted(ours)) == (theirs if in_order else sorted(theirs))
