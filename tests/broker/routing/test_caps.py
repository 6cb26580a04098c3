"""Caps on what clients make by naming it: an ERROR names the limit, and nothing else breaks."""

from __future__ import annotations

import pytest
from tests.support.house import (
    Taker,
    Time,
    figures,
    make_head,
    make_router,
    raise_refusal,
    take_part,
)
from tests.support.wire import Peer, running_broker

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.names import parse_destination
from stompy_broker.routing.caps import Caps
from stompy_broker.routing.rejection import Rejection


@pytest.mark.parametrize(
    ("limits", "frames", "setting"),
    [
        ({"queues": 2}, [f"SEND\ndestination:/queue/q{n}\n\n\0" for n in range(3)], "queues"),
        (
            {"queues": 2},
            [f"SUBSCRIBE\nid:{n}\ndestination:/queue/q{n}\n\n\0" for n in range(3)],
            "queues",
        ),
        (
            {"queues": 1},
            [
                "SEND\ndestination:/queue/q\n\n\0BEGIN\ntransaction:t\n\n\0",
                "SEND\ndestination:/queue/r\ntransaction:t\n\n\0",
                "COMMIT\ntransaction:t\n\n\0",
            ],
            "queues",
        ),
        (
            {"durables": 1},
            [
                f"SUBSCRIBE\nid:{n}\ndestination:/topic/t\ndurable:true\nauto-delete:false\n\n\0"
                for n in range(2)
            ],
            "durables",
        ),
        (
            {"temporary_queues": 2},
            [f"SUBSCRIBE\nid:{n}\ndestination:/temp-queue/{n}\n\n\0" for n in range(3)],
            "temporary_queues",
        ),
        (
            {"subscriptions": 2},
            [f"SUBSCRIBE\nid:{n}\ndestination:/topic/{n}\n\n\0" for n in range(3)],
            "subscriptions",
        ),
        ({"transactions": 1}, [f"BEGIN\ntransaction:{n}\n\n\0" for n in "ab"], "transactions"),
        (
            {"name": 20},
            [f"SEND\ndestination:/{kind}/{'ä' * 10}\n\n\0" for kind in ("queue", "topic")]
            + [f"SEND\ndestination:/topic/{'ä' * 10}b\n\n\0"],
            "name",
        ),
        (
            {"name": 20},
            [f"SUBSCRIBE\nid:1\ndestination:/temp-queue/{'a' * 21}\n\n\0"],
            "name",
        ),
    ],
)
def test_the_error_names_the_limit(limits: dict[str, int], frames: list[str], setting: str) -> None:
    with running_broker(limits=limits) as broker, Peer.open(broker.port) as peer:
        for frame in frames:
            peer.send(frame)
        error = peer.expect_error("limit-exceeded")
        assert f"(limits.{setting})" in error.body.decode()
        with Peer.open(broker.port) as other:
            other.sync()


def test_dead_letters_and_what_was_stored_are_not_refused() -> None:
    """Nobody could be told."""
    time, taker = Time(), Taker(1)
    router = make_router(time)
    router.registry.table.caps = Caps(queues=1)
    router.publish(parse_destination("/queue/q"), make_head(), b"x")
    there = parse_destination("/queue/r")
    with pytest.raises(ProtocolError, match=r"limits\.queues") as caught:
        router.publish(there, make_head("/queue/r"), b"x", None, raise_refusal)
    assert caught.value.error_code is ErrorCode.LIMIT_EXCEEDED
    take_part(router.queue("q"), taker)
    router.queue("q").settle(taker.taken[0], Rejection(requeue=False))
    assert figures(router.queues["DLQ.q"]).ready == 1


def test_thousands_of_idle_queues_are_forgotten_in_steps() -> None:
    time = Time()
    router = make_router(time, idle=10.0)
    for number in range(2500):
        router.queue(f"q{number}")
    time.advance(11.0)
    left = len(router.queues)
    assert 0 < left < 2500
    for _ in range(3):
        time.advance(0.01)
    assert not router.queues
