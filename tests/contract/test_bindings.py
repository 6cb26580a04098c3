"""Queues that topics are bound to, on both stores, with a crash at any commit.

Subscriptions bind topics to queues with a name, share topics, end bindings and themselves, in
whatever turns; consumers come and go, and some queues go with them. The store's files are copied
each time they have changed, as a crash would leave them. What is in each copy is what was there
after one of the acts, and not before the last that was reported safe: each message in all queues
that were bound to its topic, and each binding with its queue.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.crashes import History, folder_for_crashes
from tests.support.house import Taker, make_head
from tests.support.storage import Shelf

from stompy.errors import ProtocolError
from stompy_broker.destinations.names import parse_destination
from stompy_broker.routing.answers import nobody_asks
from stompy_broker.routing.durable import DurableSubscription, share_name
from stompy_broker.routing.interface import Browse, Browsed, Queue
from stompy_broker.routing.router import Router
from stompy_broker.store.base import StoredSubscription

QUEUES = ("orders", "audit")
PATTERNS = ("a", "a.*", "b")
TOPICS = ("a", "a.b", "b")


class Standing(NamedTuple):
    """What a broker has: bindings, and bodies by queue."""

    bound: dict[str, tuple[str, ...]]
    waiting: dict[str, list[bytes]]


def standing(router: Router, shelf: Shelf) -> Standing:
    """All of it; a queue that is empty, and that nothing is bound to, makes no difference."""
    waiting: dict[str, list[bytes]] = {}
    for queue in list(router.queues.values()):
        shown: list[Browsed] = []
        queue.browse(Browse(bodies=1 << 40), shown.append)
        shelf.turns.until(shown.copy)
        if shown[0].messages:
            waiting[queue.name] = [message.body or b"" for message in shown[0].messages]
    bound = {name: one.patterns for name, one in router.registry.durable.by_name.items()}
    assert all(one.queue in router.queues for one in router.registry.durable.by_name.values())
    return Standing(bound, waiting)


class Bindings(History[Standing]):
    """A broker whose topics are bound to queues.

    Args:
        top: for the files of the store; None = it is in memory.
    """

    def __init__(self, top: Path | None) -> None:
        super().__init__(top, standing)
        self.sent = 0
        self.takers: dict[str, tuple[Queue, Taker]] = {}

    def bind(self, name: str, pattern: str, ends: bool) -> None:
        wanted = DurableSubscription(name, pattern, True, queue_name=name, auto_delete=ends)
        self._subscribe(wanted)

    def share(self, pattern: str) -> None:
        name = share_name("g", pattern)
        self._subscribe(DurableSubscription(name, pattern, True, share="g"))

    def _subscribe(self, wanted: DurableSubscription) -> None:
        found: list[Queue | ProtocolError] = []
        self.router.registry.durable.subscribe(wanted, found.append)
        (queue,) = found
        if wanted.auto_delete and not isinstance(queue, ProtocolError):
            self._come(queue)

    def _come(self, queue: Queue) -> None:
        if queue.name not in self.takers:
            taker = Taker(1)
            queue.attach(taker)  # and takes nothing
            self.takers[queue.name] = queue, taker

    def unbind(self, name: str, pattern: str) -> None:
        known = self.router.registry.durable.by_name.get(name)
        if known is not None and pattern in known.patterns:
            self.router.registry.durable.unbind(name, pattern)

    def delete(self, name: str) -> None:
        if name in self.router.registry.durable.by_name:
            self.router.registry.durable.delete(name, nobody_asks)

    def visit(self, name: str) -> None:
        """A consumer comes to a queue, or goes again."""
        if name in self.takers:
            queue, taker = self.takers.pop(name)
            queue.detach(taker)
        elif name in self.router.queues:
            self._come(self.router.queues[name])

    def publish(self, topic: str) -> None:
        self.sent += 1
        destination = parse_destination(f"/topic/{topic}")
        self.router.publish(destination, make_head(str(destination)), b"%d" % self.sent)


NAMES = st.sampled_from(QUEUES)
ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("bind"), NAMES, st.sampled_from(PATTERNS), st.booleans()),
        st.tuples(st.just("share"), st.sampled_from(PATTERNS)),
        st.tuples(st.just("unbind"), NAMES, st.sampled_from(PATTERNS)),
        st.tuples(st.just("delete"), st.sampled_from((*QUEUES, share_name("g", "a")))),
        st.tuples(st.just("visit"), NAMES),
        st.tuples(st.just("publish"), st.sampled_from(TOPICS)),
        st.just(("turn",)),
        st.just(("sync",)),
    ),
    max_size=30,
)


@given(every=ACTS)
@settings(max_examples=40)
def test_a_crash_at_any_commit_finds_each_binding_with_its_messages(
    every: list[tuple[Any, ...]],
) -> None:
    with folder_for_crashes("bindings") as top:
        Bindings(top).act(every)


@given(every=ACTS)
@settings(max_examples=60)
def test_a_store_in_memory_has_the_same(every: list[tuple[Any, ...]]) -> None:
    bindings = Bindings(None)
    bindings.act(every)
    assert bindings.kept_in_memory() == bindings.history[-1]


def test_what_an_earlier_release_has_kept_is_read(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "data")
    kept = StoredSubscription("c.n", "a.*", '{"shared": false, "expires": 0.0, "left": 0}')
    shelf.store.keep_subscription(kept)
    shelf.sync()
    shelf.reopen()
    router = shelf.route()
    (known,) = router.registry.durable.by_name.values()
    assert known == DurableSubscription("c.n", "a.*", False)
    assert known.to_stored() == kept  # and is written as that release reads it
    shelf.close()
