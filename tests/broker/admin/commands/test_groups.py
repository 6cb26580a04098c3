"""Counting the messages of a queue by headers, without counting twice."""

from __future__ import annotations

import pytest
from tests.broker.admin.test_streams import Broker

from stompy_broker.admin.commands.groups import MOST_GROUPS, Count, Groups, counted
from stompy_broker.message import Message, MessageHead
from stompy_broker.routing.interface import Browse, Browsed, Remove
from stompy_broker.routing.selection import EVERYTHING


class Counter:
    """A queue whose messages are counted by colour, and how many were looked at for that."""

    def __init__(self) -> None:
        self.broker = Broker()
        self.queue = self.broker.router.queue("q")
        self.groups = Groups()
        self.looked_at = 0

    def fill(self, *colours: str, priority: str = "4") -> None:
        for colour in colours:
            head = MessageHead.from_headers({"colour": colour, "priority": priority})
            self.broker.router.publish_to(self.queue, head, b"x")

    def colour(self, message: Message) -> str | None:
        self.looked_at += 1
        return message.head.headers().get("colour")

    def count(self) -> dict[str | None, int]:
        self.looked_at = 0
        found = self.finished(self.groups.count(self.queue, ("colour",), [self.colour]))
        afresh = self.finished(counted(self.queue, [self.plain], EVERYTHING))
        assert (found.matched, found.last) == (afresh.matched, afresh.last)
        told = {values[0]: group.to_json() for values, group in found.groups.items()}
        assert told == {values[0]: group.to_json() for values, group in afresh.groups.items()}
        return {values[0]: group.count for values, group in found.groups.items()}

    def plain(self, message: Message) -> str | None:
        return message.head.headers().get("colour")

    def remove_first(self) -> None:
        def remove(browsed: Browsed) -> None:
            self.queue.control(Remove(frozenset({browsed.messages[0].sequence})))

        self.queue.browse(Browse(most=1), remove)

    def finished(self, steps) -> Count:
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value


@pytest.fixture
def counter() -> Counter:
    return Counter()


def test_what_did_not_change_is_not_looked_at_again(counter: Counter) -> None:
    counter.fill("red", "red", "blue")
    assert counter.count() == {"red": 2, "blue": 1}
    assert counter.looked_at == 3
    assert counter.count() == {"red": 2, "blue": 1}
    assert counter.looked_at == 0


def test_only_what_was_added_is_looked_at(counter: Counter) -> None:
    counter.fill(*["red"] * 50)
    counter.count()
    counter.fill("blue", "red")
    assert counter.count() == {"red": 51, "blue": 1}
    assert counter.looked_at == 2


def test_when_some_went_all_are_counted_again(counter: Counter) -> None:
    counter.fill("red", "red", "blue")
    counter.count()
    counter.remove_first()
    counter.fill("green")
    assert counter.count() == {"red": 1, "blue": 1, "green": 1}


def test_messages_with_places_of_their_own(counter: Counter) -> None:
    counter.fill("red", "blue")
    counter.count()
    counter.fill("green", priority="9")
    assert counter.count() == {"red": 1, "blue": 1, "green": 1}
    assert counter.count() == {"red": 1, "blue": 1, "green": 1}
    assert counter.looked_at == 0


def test_another_queue_of_the_same_name_begins_anew(counter: Counter) -> None:
    counter.fill("red")
    counter.count()
    counter.broker.router.registry.delete_queue(counter.queue, "test", "")
    counter.queue = counter.broker.router.queue("q")
    assert counter.count() == {}
    counter.fill("blue")
    assert counter.count() == {"blue": 1}


def test_very_many_groups_are_not_kept(counter: Counter) -> None:
    counter.fill(*map(str, range(MOST_GROUPS + 1)))
    assert len(counter.count()) == MOST_GROUPS + 1
    assert counter.groups._kept == {}
