"""What one SEND becomes that goes to several destinations."""

from __future__ import annotations

from tests.support.house import make_head

from stompy_broker.destinations.names import parse_destination
from stompy_broker.message import Message, stamp
from stompy_broker.routing.distribution import (
    CompositeDistribution,
    PlainDistribution,
    RewrittenHeads,
    with_id,
)


def test_a_copy_has_a_destination_of_its_own_and_tells_where_it_was_sent_to() -> None:
    heads = RewrittenHeads("/queue/b", {"x": "new", "priority": "7"})
    copy = heads.of(make_head("/queue/a", x="old", y="stays"))
    assert copy.headers() == {
        "destination": "/queue/b",
        "x": "new",
        "y": "stays",
        "priority": "7",
        "original-destination": "/queue/a",
    }
    assert copy.priority == 7
    again = RewrittenHeads("/queue/c").of(copy)
    assert again.headers()["original-destination"] == "/queue/a"


def test_heads_that_come_again_are_made_once() -> None:
    heads = RewrittenHeads("/queue/b")
    first = heads.of(make_head("/queue/a", x="1"))
    assert heads.of(make_head("/queue/a", x="1")) is first
    for number in range(100):
        heads.of(make_head("/queue/a", x=str(number)))
    assert len(heads._known) <= 64


def test_an_id_of_somebody_else_changes_nothing_but_that() -> None:
    head = make_head(priority="7", persistent="false", ttl="5", expires="9", timestamp="1")
    told = with_id(head, b"42")
    assert (told.block, told.message_id) == (head.block, b"42")
    for name in ("sized", "stamped", "persistent", "priority", "ttl", "expires", "can_expire"):
        assert getattr(told.traits, name) == getattr(head.traits, name)
    message = Message(7, told, b"", stamp(0))
    assert message.message_id == "42"


def test_each_part_of_several_has_its_own_destination_as_written() -> None:
    parts = [
        (text, PlainDistribution(parse_destination(text))) for text in ("/queue/a", "topic://b")
    ]
    message = Message(1, make_head("/queue/a,topic://b", x="1"), b"", stamp(0))
    made = CompositeDistribution(parts).parts(message)
    assert [str(part.destination) for part in made] == ["/queue/a", "/topic/b"]
    assert [part.head.headers() for part in made] == [
        {"destination": text, "x": "1"} for text in ("/queue/a", "topic://b")
    ]
