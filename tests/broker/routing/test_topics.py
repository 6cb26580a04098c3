"""Topics: whom a name reaches now, and how many copies there were."""

from __future__ import annotations

from tests.support.house import Time, make_head, make_router

from stompy_broker.destinations.names import parse_destination
from stompy_broker.routing.topics import REMEMBERED, Topics


def test_copies_are_counted_for_the_subscribers_of_their_time() -> None:
    router = make_router(Time())
    topic = parse_destination("/topic/a.b")

    def publish(times: int) -> None:
        for _ in range(times):
            router.publish(topic, make_head("/topic/a.b"), b"x")

    publish(1)
    first = router.registry.subscribe_topic("a.b")
    publish(2)
    second = router.registry.subscribe_topic("a.*")
    publish(3)
    router.registry.unsubscribe_topic(first)
    publish(4)
    (row,) = router.topics
    assert (row.name, row.published, row.copies, row.queues) == ("a.b", 10, 2 + 6 + 4, (second,))
    assert router.unroutable == 1


def test_names_that_nobody_hears_are_forgotten_first() -> None:
    topics, router = Topics(), make_router(Time())
    topics.add("kept.>", router.queue("q"))
    topics.find("kept.a")
    for number in range(REMEMBERED):
        topics.find(f"n{number}")
    names = {topic.name for topic in topics}
    assert "kept.a" in names
    assert len(topics) <= REMEMBERED


def test_when_all_are_heard_the_first_goes() -> None:
    topics, router = Topics(), make_router(Time())
    topics.add(">", router.queue("q"))
    for number in range(REMEMBERED + 1):
        topics.find(f"n{number}")
    assert len(topics) == REMEMBERED
    assert "n0" not in {topic.name for topic in topics}
