"""Temporary queues come when they are named, and go when they are of no use."""

from __future__ import annotations

from tests.support.wire import Peer, running_broker, until

from stompy_broker import RunningBroker


def temporary(broker: RunningBroker) -> list[str]:
    found: list[str] = broker._ask(
        lambda broker: [queue.destination for queue in broker._router.registry.replies.values()]
    )
    return found


def test_an_empty_one_without_subscriber_goes() -> None:
    with running_broker() as broker, Peer.open(broker.port) as peer:
        for _ in range(3):
            peer.send("SUBSCRIBE\nid:0\ndestination:/temp-queue/a\n\n\0UNSUBSCRIBE\nid:0\n\n\0")
        peer.sync()
        assert temporary(broker) == []


def test_one_that_holds_a_message_stays() -> None:
    with running_broker() as broker, Peer.open(broker.port) as peer:
        peer.send("SUBSCRIBE\nid:0\ndestination:/temp-queue/a\n\n\0UNSUBSCRIBE\nid:0\n\n\0")
        peer.send("SEND\ndestination:/temp-queue/a\n\nx\0")
        peer.sync()
        assert temporary(broker) == ["/temp-queue/a"]
        peer.send("SUBSCRIBE\nid:0\ndestination:/temp-queue/a\n\n\0")
        assert peer.expect("MESSAGE").body == b"x"
        peer.send("UNSUBSCRIBE\nid:0\n\n\0")
        peer.sync()
        assert temporary(broker) == []


def test_one_whose_address_was_given_away_stays_for_replies() -> None:
    with (
        running_broker() as broker,
        Peer.open(broker.port) as peer,
        Peer.open(broker.port) as other,
    ):
        other.send("SUBSCRIBE\nid:0\ndestination:/queue/q\n\n\0")
        other.sync()
        peer.send("SUBSCRIBE\nid:0\ndestination:/temp-queue/a\n\n\0")
        peer.send("SEND\ndestination:/queue/q\nreply-to:/temp-queue/a\n\n\0")
        peer.send("UNSUBSCRIBE\nid:0\n\n\0")
        peer.sync()
        address = other.expect("MESSAGE")["reply-to"]
        other.send(f"SEND\ndestination:{address}\n\nanswer\0")
        other.sync()
        peer.send("SUBSCRIBE\nid:0\ndestination:/temp-queue/a\n\n\0")
        assert peer.expect("MESSAGE").body == b"answer"
        peer.close()
        until(lambda: temporary(broker) == [], "its queue to be gone")


def test_old_addresses_make_room_for_new_ones() -> None:
    with running_broker(limits={"temporary_queues": 2}) as broker, Peer.open(broker.port) as peer:
        for number in range(2):
            peer.send(f"SEND\ndestination:/topic/t\nreply-to:/temp-queue/{number}\n\n\0")
            peer.send(f"UNSUBSCRIBE\nid:/temp-queue/{number}\n\n\0")
        peer.sync()

        def grow_old(broker: object) -> None:
            for queue in broker._router.registry.replies.values():  # type: ignore[attr-defined]
                queue._attendance.idle_since -= 61.0

        broker._ask(grow_old)
        peer.send("SUBSCRIBE\nid:0\ndestination:/temp-queue/2\n\n\0")
        peer.sync()
        assert temporary(broker) == ["/temp-queue/2"]
