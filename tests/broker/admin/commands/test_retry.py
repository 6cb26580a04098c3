"""Dead letters that are tried again: where they go, and what they do not say any more."""

from __future__ import annotations

import pytest

from stompy.admin import CommandError
from stompy_broker.admin.commands.retry import (
    backlog_of,
    deliveries_of,
    head_of,
    headers_at,
    origin_of,
)
from stompy_broker.destinations.names import parse_destination
from stompy_broker.message import Message, MessageHead, stamp
from stompy_broker.routing.durable import DurableSubscription


def letter(**headers: str) -> Message:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    head = MessageHead.from_headers({"destination": "/queue/DLQ.a", **named}, message_id=b"7")
    return Message(9, head, b"x", stamp(5))


def test_it_goes_where_it_came_from() -> None:
    assert str(origin_of(letter(original_destination="/topic/a"))) == "/topic/a"
    with pytest.raises(CommandError, match="does not say where it came from"):
        origin_of(letter())


def test_what_one_subscription_gave_up_goes_to_that_one() -> None:
    known = DurableSubscription("c.d", "a", shared=False)
    place = backlog_of(letter(original_subscription="c.d"), {"c.d": known})
    assert str(place) == f"/queue/{known.queue}"
    assert backlog_of(letter(), {}) is None
    with pytest.raises(CommandError, match=r"c\.d.*is gone"):
        backlog_of(letter(original_subscription="c.d"), {})


def test_what_a_bound_queue_gave_up_goes_there_although_nothing_is_bound() -> None:
    message = letter(original_subscription="named", x_last_death_queue="named")
    assert str(backlog_of(message, {})) == "/queue/named"


@pytest.mark.parametrize(("told", "known"), [("3", 3), ("x", 0), ("9" * 10, 0)])
def test_deliveries_before_its_death_count(told: str, known: int) -> None:
    message = letter(x_death_count=told)
    assert deliveries_of(message, revived=True) == known
    assert deliveries_of(message, revived=False) == 0


def test_it_does_not_speak_of_its_death_any_more() -> None:
    message = letter(x_death_info="bad", x_first_death_queue="a", x_death_path="/queue/a", ttl="5")
    message.expires = 99
    place = parse_destination("/queue/a")
    assert headers_at(message, place, revives=True) == {
        "destination": "/queue/a",
        "x-first-death-queue": "a",
        "expires": "99",
    }
    assert "x-death-info" in headers_at(message, place, revives=False)
    assert head_of(message, {}).message_id == b"7"
    assert head_of(message, {}, is_copy=True).message_id is None
