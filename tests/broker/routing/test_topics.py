"""Topics: whom a name reaches now, and how many copies there were."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.house import Time, make_head, make_router

from stompy.errors import ProtocolError
from stompy_broker.destinations.names import parse_destination
from stompy_broker.destinations.policy import Policy
from stompy_broker.message import Message
from stompy_broker.routing.durable import DurableSubscription
from stompy_broker.routing.interface import Queue
from stompy_broker.routing.router import Router
from stompy_broker.routing.topics import REMEMBERED, Topics
from stompy_broker.selectors.parser import parse
from stompy_broker.selectors.selector import Selector, compile_selector


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


def publish(router: Router, name: str, **headers: str) -> None:
    router.publish(parse_destination(name), make_head(name, **headers), b"x")


def test_who_chooses_is_offered_everything_and_counts_what_it_takes() -> None:
    router = make_router(Time())
    registry, topics = router.registry, router.topics
    red = registry.subscribe_topic("a.*", compile_selector("color = 'red'"))
    odd = registry.subscribe_topic("a.>", compile_selector("n = 1 OR n = 3"))
    plain = registry.subscribe_topic("a.b")
    for number, color in enumerate(("red", "blue", "red")):
        publish(router, "/topic/a.b", color=color, n=str(number))
    publish(router, "/topic/a.c.d", color="red", n="3")
    topics.count()
    red_, odd_ = topics.chooser(red), topics.chooser(odd)
    assert red_ is not None
    assert odd_ is not None
    assert (red_.matched, red_.skipped) == (2, 1)
    assert (odd_.matched, odd_.skipped) == (2, 2)
    assert topics.chooser(plain) is None
    first, second = topics
    assert (first.copies, second.copies) == (2 + 1 + 3, 1)
    registry.unsubscribe_topic(red)
    assert topics.chooser(red) is None
    publish(router, "/topic/a.b", color="red", n="0")
    assert first.copies == 7


def test_only_those_are_asked_whose_constant_it_is() -> None:
    router = make_router(Time())
    asked: list[str] = []
    texts = [f"customer = '{number}' AND n > 0" for number in range(100)]
    for text in texts:
        selector = Selector(text, parse(text))
        matches = selector.matches

        def note(
            message: Message,
            matches: Callable[[Message], bool] = matches,
            text: str = text,
        ) -> bool:
            asked.append(text)
            return matches(message)

        selector.matches = note
        router.registry.subscribe_topic("t", selector)
    publish(router, "/topic/t", customer="7", n="1")
    assert asked == [texts[7]]


def test_what_was_found_for_a_head_is_remembered_unless_messages_of_it_differ() -> None:
    router = make_router(Time())
    router.registry.subscribe_topic("t", compile_selector("color = 'red'"))
    topic, head = parse_destination("/topic/t"), make_head("/topic/t", color="red")
    for _ in range(3):
        router.publish(topic, head, b"x")
    (found,) = router.topics
    assert found.copies == 3
    router.registry.subscribe_topic("t", compile_selector("JMSRedelivered = TRUE"))
    router.publish(topic, head, b"x")
    (found,) = router.topics
    assert found.copies == 4


def test_a_sender_that_somebody_declines_is_told_of() -> None:
    topics, router = Topics(), make_router(Time())
    told: list[str] = []
    topics.declined = told.append
    queue = router.queue("q")
    topics.add("a", queue, None, "c-1")
    topics.add("b.>", queue, None, "c-1")
    assert told == ["c-1"]
    assert topics.declines("c-1")
    topics.sender = ("c-1",)
    message = Message(0, make_head("/topic/a"), b"", b"")
    assert topics.find("a").choose(message, topics.sender) == ()
    assert topics.find("a").choose(message, ("c-2",)) == (queue,)
    topics.remove("a", queue)
    assert topics.match("a") == ()
    assert topics.match("b.c") == (queue,)
    topics.remove("b.>", queue)
    assert not topics.declines("c-1")


def test_a_full_durable_subscription_refuses_only_what_it_would_take() -> None:
    router = make_router(Time(), Policy(match="/topic/t", overflow="reject-publish", max_length=1))
    durable = DurableSubscription("d", "t", shared=False)
    found: list[Queue | ProtocolError] = []
    router.registry.durable.subscribe(durable, found.append)
    (queue,) = found
    assert isinstance(queue, Queue)
    router.topics.remove("t", queue)
    router.topics.add("t", queue, compile_selector("color = 'red'"))
    refused: list[ProtocolError] = []
    topic = parse_destination("/topic/t")
    for color in ("red", "blue", "red"):
        router.publish(topic, make_head("/topic/t", color=color), b"x", None, refused.append)
    assert len(refused) == 1
