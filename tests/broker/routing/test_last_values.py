"""Which messages of a queue have a value that newer ones replace."""

from __future__ import annotations

from tests.support.house import make_message

from stompy_broker.message import Message
from stompy_broker.routing.last_values import LastValues


def values_of(*messages: Message) -> LastValues:
    values = LastValues("symbol", in_place=False)
    for message in messages:
        values.note(message)
    return values


def test_the_newest_of_a_key_is_known() -> None:
    one, two, other = (make_message(n, symbol=key) for n, key in ((1, "A"), (2, "A"), (3, "B")))
    values = values_of(one)
    assert values.newest_like(two) is one
    assert values.note(two) is one
    assert values.newest_like(one) is two
    assert values.newest_like(other) is None
    assert values.is_outdated(one)
    assert not values.is_outdated(two)
    assert len(values) == 1


def test_without_a_key_nothing_is_known() -> None:
    for message in (make_message(1), make_message(2, symbol="")):
        values = values_of(message)
        assert values.key_of(message) is None
        assert values.newest_like(message) is None
        assert not values.is_outdated(message)
        assert len(values) == 0
        values.gone(message)


def test_what_is_gone_is_forgotten() -> None:
    messages = [make_message(n, symbol="A") for n in range(5)]
    values = values_of(*messages)
    values.gone(messages[1])
    assert values.newest_like(messages[0]) is messages[4]
    values.gone(messages[4])
    assert values.newest_like(messages[0]) is messages[3]
    assert values.is_outdated(messages[2])
    assert not values.is_outdated(messages[3])
    for message in (messages[0], messages[3], messages[2]):
        values.gone(message)
    assert len(values) == 0
    values.gone(messages[2])
    assert values.note(messages[2]) is None
