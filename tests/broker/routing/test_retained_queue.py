"""What topics keep, against a model: in memory, on disk, and after a crash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.crashes import History, folder_for_crashes
from tests.support.house import (
    Taker,
    backlog_of,
    browsed,
    figures,
    make_head,
    raise_refusal,
    take_part,
)
from tests.support.storage import Shelf

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.names import RETAINED, parse_destination
from stompy_broker.message import Message
from stompy_broker.routing.durable import DurableSubscription
from stompy_broker.routing.interface import Close, Configure, Outcome, Remove
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.router import Router
from stompy_broker.routing.settings import NO_SETTINGS

TOPICS = ("a", "a.b", "b")
DURABLE = DurableSubscription("d", "a.>", shared=False)


def publish(router: Router, topic: str, body: str, **headers: str) -> None:
    """Publish as a client does."""
    head = make_head(
        f"/topic/{topic}", **{name.replace("_", "-"): v for name, v in headers.items()}
    )
    refused: list[ProtocolError] = []
    destination = parse_destination(f"/topic/{topic}")
    router.publish(destination, head, body.encode(), None, refused.append)
    assert refused == []


def keep(router: Router, topic: str, body: str, **headers: str) -> None:
    publish(router, topic, body, x_retain="true", **headers)


def come(router: Router, pattern: str) -> Taker:
    """Subscribe as a client does, and take everything."""
    kept = router.retained_messages.for_subscriber(pattern)
    queue = router.registry.subscribe_topic(pattern, first=kept)
    router.retained_messages.show(kept, queue)
    taker = Taker(1000, auto=True)
    take_part(queue, taker)
    return taker


def texts(messages: list[Message]) -> list[str]:
    return [(message.body or b"?").decode() for message in messages]


Standing = tuple[tuple[tuple[str, bytes, bytes], ...], tuple[tuple[bytes, bytes], ...]]


def standing(router: Router, shelf: Shelf) -> Standing:
    """What survives: what topics keep, and what waits for the durable subscription."""
    table = router.registry.queues.get("durable.d")
    waiting = [] if table is None else browsed(table)
    kept = list(router.retained.messages.items())
    shelf.load(*(m for _, m in kept if m.body is None), *(m for m in waiting if m.body is None))
    return (
        tuple((topic, m.head.block, m.body or b"") for topic, m in kept if m.head.persistent),
        tuple((m.head.block, m.body or b"") for m in waiting if m.head.persistent),
    )


class Acts(History[Standing]):
    """A broker on which messages are kept, and forgotten."""

    def __init__(self, top: Path | None) -> None:
        super().__init__(top, standing)
        self.model: dict[str, str] = {}

    def keep(self, topic: str, body: str) -> None:
        keep(self.router, topic, body)
        self._note(topic, body)

    def keep_in_memory(self, topic: str, body: str) -> None:
        keep(self.router, topic, body, persistent="false")
        self._note(topic, body)

    def clear(self, topic: str) -> None:
        keep(self.router, topic, "")
        self.model.pop(topic, None)

    def publish(self, topic: str, body: str) -> None:
        publish(self.router, topic, body)

    def subscribe_durably(self) -> None:
        backlog_of(self.router, DURABLE)

    def come(self, pattern: str) -> None:
        before = self.router.memory.used
        wanted = [body for topic, body in self.model.items() if pattern in (">", topic)]
        taker = come(self.router, pattern)
        assert texts(taker.taken) == wanted
        publish(self.router, "b", "live")
        assert texts(taker.taken) == [*wanted, "live"]
        assert self.router.memory.used == before
        self.router.registry.unsubscribe_topic(
            next(q for q in self.router.topics.match("b") if q.private)
        )

    def _note(self, topic: str, body: str) -> None:
        self.model.pop(topic, None)
        self.model[topic] = body


bodies = st.sampled_from(("1", "22", "x" * 3000))
topics = st.sampled_from(TOPICS)
acts = st.lists(
    st.one_of(
        st.tuples(st.just("keep"), topics, bodies),
        st.tuples(st.just("keep_in_memory"), topics, bodies),
        st.tuples(st.just("clear"), topics),
        st.tuples(st.just("publish"), topics, bodies),
        st.tuples(st.just("subscribe_durably")),
        st.tuples(st.just("come"), st.sampled_from((">", "b"))),
        st.tuples(st.just("turn")),
        st.tuples(st.just("sync")),
    ),
    max_size=12,
)


@settings(max_examples=25, deadline=None)
@given(acts=acts)
def test_what_a_crash_leaves_was_there(acts: list[tuple[Any, ...]]) -> None:
    with folder_for_crashes("retained") as top:
        Acts(top).act(acts)


@settings(max_examples=100, deadline=None)
@given(acts=acts)
def test_everybody_is_shown_what_there_is(acts: list[tuple[Any, ...]]) -> None:
    history = Acts(None)
    history.act(acts)
    assert history.kept_in_memory()[0] == standing(history.router, history.shelf)[0]


def test_bodies_that_are_on_disk_are_read_before_they_are_shown(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    router = shelf.route()
    for number in range(600):
        keep(router, f"t.{number}", "x" * 5000)
    shelf.sync()
    shelf.reopen()
    router = shelf.route()
    used = router.memory.used
    there: list[bool] = []
    pattern = parse_destination("/topic/t.*")
    router.retained_messages.when_there([pattern], lambda: there.append(True))
    router.retained_messages.when_there([pattern], lambda: there.append(True))
    assert there == []
    # One is forgotten meanwhile, and another one takes the place of an old one.
    keep(router, "t.7", "")
    keep(router, "t.8", "new")
    shelf.turns.until(lambda: len(there) == 2)
    found = texts(come(router, "t.*").taken)
    assert found == ["x" * 5000] * 598 + ["new"]
    assert router.memory.used > used + 597 * 5000
    for number in range(600):
        keep(router, f"t.{number}", "")
    assert router.memory.used == router.groups.home.disk.used == 0
    shelf.sync()
    shelf.close()


def test_a_body_that_is_lost_is_forgotten(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    router = shelf.route()
    for topic in ("a", "b"):
        keep(router, topic, "x" * 100)
    shelf.sync()
    shelf.reopen()
    router = shelf.route()
    shelf.sqlite.tables.connection.execute(
        "UPDATE message SET body = 'yyy' WHERE rowid IN "
        "(SELECT rowid FROM message ORDER BY sequence LIMIT 1)"
    )
    there: list[bool] = []
    router.retained_messages.when_there([parse_destination("/topic/>")], lambda: there.append(True))
    shelf.turns.until(lambda: there)
    assert list(router.retained.messages) == ["b"]
    assert texts(come(router, ">").taken) == ["x" * 100]
    shelf.close()


def test_nothing_else_is_done_with_the_queue() -> None:
    router = Shelf(None).route()
    keep(router, "t", "1")
    queue = router.queues[RETAINED]
    answers: list[Outcome] = []
    queue.control(Close(), answers.append)
    queue.control(Close(unused=0.0), answers.append)
    assert [a.error_code for a in answers if isinstance(a, ProtocolError)] == [
        ErrorCode.SUBSCRIPTION_IN_USE
    ] * 2
    refusals: list[ProtocolError | None] = []
    taker = Taker(1)
    queue.attach(taker, lambda error=None, /: refusals.append(error))
    assert refusals[0] is not None
    queue.resume(taker)
    queue.detach(taker, done=raise_refusal)
    (message,) = router.retained.messages.values()
    done: list[bool] = []
    queue.settle(message, Rejection(), lambda error=None, /: done.append(True))
    queue.settle_many([message], None, lambda error=None, /: done.append(True), lambda: None)
    queue.admit(1, 0, lambda error=None, /: done.append(True))
    queue.control(Configure(NO_SETTINGS))
    assert len(done) == 3
    told = figures(queue)
    assert (told.ready, told.published, told.in_use) == (1, 1, True)
    known: list[object] = []
    queue.stats(known.append, told)
    assert known == [told]
    assert browsed(queue) == []
    queue.control(Remove(frozenset((message.sequence,))), answers.append)
    assert answers[-1] == 1
    assert router.retained.messages == {}
    assert router.memory.used == 0
    assert "topics:0" in repr(queue)
    assert list(router) == []


def test_what_is_kept_went_somewhere() -> None:
    router = Shelf(None).route()
    keep(router, "t", "x")
    assert router.unroutable == 0
    keep(router, "t", "")
    assert router.unroutable == 1


def test_it_ends_in_its_time_and_tells_of_it_once() -> None:
    shelf = Shelf(None)
    router = shelf.route()
    for number in range(30):
        keep(router, f"t.{number}", "x", ttl="1000")
    keep(router, "t", "x")
    shelf.turns.time.advance(2.0)
    assert list(router.retained.messages) == ["t"]
    told = [event for event in router.events.recent if event.type == "retained.forgotten"]
    assert [event.detail for event in told] == [
        {"topics": 30, "names": [f"t.{number}" for number in range(20)]}
    ]
    assert figures(router.queues[RETAINED]).expired == 30
