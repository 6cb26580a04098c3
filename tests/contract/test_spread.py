"""One SEND to several queues is one change: whenever the broker ends, all of them have it or none.

Messages are sent by routes, to virtual topics and to composite destinations, alone and several in
one COMMIT, in whatever turns. The store's files are copied each time they have changed, as a crash
would leave them. What is in each copy is what was there after one of the changes, and not before
the last that was reported safe.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.crashes import History, folder_for_crashes
from tests.support.storage import Shelf

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.policy import Policy
from stompy_broker.message import MessageHead
from stompy_broker.routing.admission import Admission
from stompy_broker.routing.answers import nobody_asks
from stompy_broker.routing.interface import Browse, Browsed, Remove
from stompy_broker.routing.router import Router
from stompy_broker.routing_config import RouteConfig
from stompy_broker.session.send_routes import SendRoutes
from stompy_broker.session.spread_send import SpreadSend, publish_spread

ROUTES = [
    {"from": "/queue/a", "to": ["/queue/b", "/queue/c"], "set": {"way": "1"}},
    {"from": "/queue/c", "to": ["/queue/d"], "mode": "move", "selector": "n > 4"},
    {"from": "/queue/e", "to": ["/topic/VirtualTopic.v"], "mode": "move"},
]
VIRTUAL = ("Consumer.A.VirtualTopic.v", "Consumer.B.VirtualTopic.>")
PLACES = ("/queue/a", "/queue/a,/queue/f,/queue/d", "/topic/VirtualTopic.v", "/queue/e", "/queue/c")

Standing = dict[str, list[tuple[str, bytes, str | None]]]


def standings(router: Router, shelf: Shelf) -> Standing:
    """Everything that waits in a broker, by queue: id, body, and where it was sent to."""
    found: Standing = {}
    for queue in list(router.queues.values()):
        shown: list[Browsed] = []
        queue.browse(Browse(bodies=1 << 40), shown.append)
        shelf.turns.until(shown.copy)
        rows = []
        for message in shown[0].messages:
            assert message.body is not None
            origin = message.head.headers().get("original-destination")
            rows.append((message.message_id, message.body, origin))
        if rows:
            found[queue.name] = rows
    return found


class Sends(History[Standing]):
    """A broker to whose destinations much is sent at once.

    Args:
        top: for the files of the store; None = it is in memory.
    """

    def __init__(self, top: Path | None) -> None:
        super().__init__(top, standings)
        routes = [RouteConfig.model_validate(one) for one in ROUTES]
        self.router.directions.renew(routes=routes)
        self.routes = SendRoutes(self.router.directions)
        for name in VIRTUAL:
            self.router.queue(name)
        self.sent = 0

    def _made(self, place: str) -> SpreadSend:
        self.sent += 1
        distribution = self.routes.read(place).distribution
        assert distribution is not None
        head = MessageHead.from_headers({"destination": place, "n": str(self.sent % 10)})
        return SpreadSend(self.router, distribution, head, b"%d" % self.sent)

    def send(self, place: str) -> None:
        publish_spread(self.router, self._made(place), nobody_asks)

    def commit(self, places: Sequence[str]) -> None:
        admission = Admission(self.router)
        sends = [self._made(place) for place in places]
        for send in sends:
            send.prepare(admission, None)
        admission.ask(nobody_asks)
        for send in sends:
            send.publish(nobody_asks)

    def take(self, name: str) -> None:
        queue = self.router.queues.get(name)
        shown: list[Browsed] = []
        if queue is not None:
            queue.browse(Browse(), shown.append)
            some = frozenset(message.sequence for message in shown[0].messages[:2])
            queue.control(Remove(some), nobody_asks)


ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.sampled_from(PLACES)),
        st.tuples(st.just("commit"), st.lists(st.sampled_from(PLACES), min_size=1, max_size=3)),
        st.tuples(st.just("take"), st.sampled_from(("a", "b", "d", *VIRTUAL))),
        st.just(("turn",)),
        st.just(("sync",)),
    ),
    max_size=25,
)


@given(acts=ACTS)
@settings(max_examples=25)
def test_a_crash_at_any_commit_finds_all_copies_or_none(acts: list[tuple[Any, ...]]) -> None:
    with folder_for_crashes("spread") as top:
        Sends(top).act(acts)


@given(acts=ACTS)
@settings(max_examples=50)
def test_a_store_in_memory_has_all_copies_or_none(acts: list[tuple[Any, ...]]) -> None:
    sends = Sends(None)
    sends.act(acts)
    assert sends.kept_in_memory() == sends.history[-1]


@pytest.mark.parametrize("place", PLACES)
def test_memory_counts_a_body_once_and_gives_it_back(place: str) -> None:
    """A body that lies in several queues is there once."""
    sends = Sends(None)
    distribution = sends.routes.read(place).distribution
    assert distribution is not None
    before = sends.router.memory.used
    body = bytes(100_000)
    head = MessageHead.from_headers({"destination": place})
    publish_spread(sends.router, SpreadSend(sends.router, distribution, head, body), nobody_asks)
    assert 100_000 <= sends.router.memory.used - before < 110_000
    for queue in list(sends.router.queues.values()):
        sends.take(queue.name)
    assert sends.router.memory.used == before
    sends.shelf.close()


def test_what_one_queue_refuses_is_nowhere() -> None:
    shelf = Shelf(None)
    router = shelf.route(
        Policy(match="/queue/c", max_length=1, overflow="reject-publish"),
    )
    routes = SendRoutes(router.directions)
    distribution = routes.read("/queue/a,/queue/b,/queue/c").distribution
    assert distribution is not None
    answers: list[ProtocolError | None] = []

    def done(error: ProtocolError | None = None, /) -> None:
        answers.append(error)

    for _ in range(2):
        head = MessageHead.from_headers({"destination": "/queue/a,/queue/b,/queue/c"})
        publish_spread(router, SpreadSend(router, distribution, head, b"m"), done)
        shelf.sync()
    first, second = answers
    assert first is None
    assert second is not None
    assert second.error_code is ErrorCode.QUEUE_FULL
    assert [len(rows) for rows in standings(router, shelf).values()] == [1, 1, 1]
    shelf.close()
