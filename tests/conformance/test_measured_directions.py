"""Where RabbitMQ 3.10 and ActiveMQ 5.17 were measured to send messages, and where this broker does.

Each row is what a peer answered. Where this broker differs on purpose the row says why.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
from tests.conformance.conftest import Connect
from tests.support.wire import Frame, Peer, unique

Script = Callable[[Connect, str], list[tuple[str, ...]]]
"""What a client does with a name of its own; gives what came of it, the name left out."""


class Measured(NamedTuple):
    """One answer of a peer.

    Attributes:
        peer: whose.
        answer: what came.
        script: how it was asked.
        ours: what comes here, if that is something else.
        why: why.
    """

    peer: str
    answer: list[tuple[str, ...]]
    script: Script
    ours: list[tuple[str, ...]] | None = None
    why: str = ""


def frames(peer: Peer, count: int) -> list[Frame]:
    return [peer.expect("MESSAGE") for _ in range(count)]


def subscribe(peer: Peer, destination: str, id: str = "s", *lines: str) -> None:
    more = "".join(f"{line}\n" for line in lines)
    peer.send(f"SUBSCRIBE\nid:{id}\ndestination:{destination}\n{more}receipt:{id}\n\n\0")
    peer.expect("RECEIPT")


def send(peer: Peer, destination: str, body: str) -> None:
    peer.send(f"SEND\ndestination:{destination}\nreceipt:r\n\n{body}\0")
    peer.expect("RECEIPT")


def through(destination: str) -> Script:
    def script(connect: Connect, name: str) -> list[tuple[str, ...]]:
        reader = connect()
        place = destination.replace("NAME", name)
        subscribe(reader, place)
        send(connect(), place, "d")
        (message,) = frames(reader, 1)
        return [(message["destination"].replace(name, "NAME"), message.body.decode())]

    return script


def composite_send(connect: Connect, name: str) -> list[tuple[str, ...]]:
    one, two = connect(), connect()
    subscribe(one, f"/queue/{name}")
    subscribe(two, f"/topic/{name}")
    send(connect(), f"/queue/{name},/topic/{name}", "m")
    messages = [*frames(one, 1), *frames(two, 1)]
    assert len({message["message-id"] for message in messages}) == 1
    return [(message["destination"].replace(name, "NAME"),) for message in messages]


def composite_subscribe(connect: Connect, name: str) -> list[tuple[str, ...]]:
    reader, sender = connect(), connect()
    subscribe(reader, f"/queue/{name}.1,/queue/{name}.2", "1")
    send(sender, f"/queue/{name}.1", "1")
    send(sender, f"/queue/{name}.2", "2")
    return [
        (one["subscription"], one["destination"].replace(name, "NAME"), one.body.decode())
        for one in frames(reader, 2)
    ]


def virtual_topic(connect: Connect, name: str) -> list[tuple[str, ...]]:
    reader = connect()
    for word in "ab":
        subscribe(reader, f"/queue/Consumer.{word}.VirtualTopic.{name}", word)
    send(connect(), f"/topic/VirtualTopic.{name}", "m")
    found = [(m["subscription"], m["destination"].replace(name, "NAME")) for m in frames(reader, 2)]
    return sorted(found)


def shared_with_amq_queue(connect: Connect, name: str) -> list[tuple[str, ...]]:
    one, two, sender = connect(), connect(), connect()
    subscribe(
        one, f"/topic/{name}", "u1", "durable:true", "auto-delete:false", f"x-queue-name:{name}"
    )
    subscribe(two, f"/amq/queue/{name}", "u2")
    for number in range(4):
        send(sender, f"/topic/{name}", str(number))
    return [(str(len(frames(peer, 2))),) for peer in (one, two)]


ROWS = {
    "amq.direct": Measured(
        "rabbitmq", [("/exchange/amq.direct/NAME", "d")], through("/exchange/amq.direct/NAME")
    ),
    "amq.fanout": Measured(
        "rabbitmq", [("/exchange/amq.fanout", "d")], through("/exchange/amq.fanout")
    ),
    "amq.topic": Measured(
        "rabbitmq",
        [("/topic/NAME", "d")],
        through("/exchange/amq.topic/NAME"),
        ours=[("/exchange/amq.topic/NAME", "d")],
        why="MESSAGE has the destination of its SEND, byte for byte",
    ),
    "x-queue-name and /amq/queue/": Measured("rabbitmq", [("2",), ("2",)], shared_with_amq_queue),
    "composite SEND": Measured("activemq", [("/queue/NAME",), ("/topic/NAME",)], composite_send),
    "composite SUBSCRIBE": Measured(
        "activemq",
        [("1", "/queue/NAME.1", "1"), ("1", "/queue/NAME.2", "2")],
        composite_subscribe,
    ),
    "virtual topic": Measured(
        "activemq",
        [
            ("a", "/queue/Consumer.a.VirtualTopic.NAME"),
            ("b", "/queue/Consumer.b.VirtualTopic.NAME"),
        ],
        virtual_topic,
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_it_is_as_it_was_measured(connect: Connect, name: str) -> None:
    row = ROWS[name]
    assert bool(row.why) == (row.ours is not None)
    assert row.script(connect, unique()) == (row.answer if row.ours is None else row.ours)
