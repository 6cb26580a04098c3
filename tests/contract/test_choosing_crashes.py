"""A queue whose consumers choose keeps what it promised, whenever the broker ends.

Consumers with selectors and without come, take, settle, refuse and leave, in whatever turns. The
store's files are copied each time they have changed, as a crash would leave them. In each copy is
every message whose receipt has left and that nobody has settled, and none that was settled for
certain; and consumers that come then get each of them once, in order, by their selectors.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.crashes import Crashes, folder_for_crashes
from tests.support.house import Taker, browsed, figures, make_head, take_part
from tests.support.storage import Shelf

from stompy_broker.destinations.names import parse_destination
from stompy_broker.destinations.policy import Policy
from stompy_broker.message import Message
from stompy_broker.routing.interface import Queue
from stompy_broker.routing.rejection import Rejection

SOURCE = parse_destination("/queue/q")
POLICY = Policy(match="q", max_deliveries=-1, redelivery_delay=0)
COLOURS = ("red", "blue", "green")
SELECTORS = ("colour = 'red'", "colour IN ('red', 'blue')", "JMSRedelivered = FALSE", "")


class Promise(NamedTuple):
    """What a crash may not break."""

    there: frozenset[bytes]
    gone: frozenset[bytes]


class Story:
    """A broker on a store, and who consumes from its queue.

    Args:
        top: for the files of the store; None = it is in memory.
    """

    def __init__(self, top: Path | None) -> None:
        self.shelf = Shelf(None if top is None else top / "data")
        self.router = self.shelf.route(POLICY, memory_mark=20_000)
        self.takers: list[Taker] = []
        self.held: dict[Taker, list[Message]] = {}
        self.sent = 0
        self.safe: set[bytes] = set()
        self.told: set[bytes] = set()
        self.settled: set[bytes] = set()
        self.crashes: Crashes[Promise] | None = None
        if top is not None:
            self.crashes = Crashes(self.shelf, top, self.promise)

    @property
    def queue(self) -> Queue:
        """The queue that all of it is about."""
        return self.router.queue("q")

    def promise(self) -> Promise:
        """What holds just now."""
        return Promise(frozenset(self.safe - self.told), frozenset(self.settled))

    def note(self) -> None:
        """See what the consumers have got."""
        for taker in self.takers:
            self.held[taker] += taker.taken
            taker.taken.clear()

    def send(self, colour: str) -> None:
        self.sent += 1
        body = b"%d %s" % (self.sent, colour.encode())
        self.router.publish(
            SOURCE,
            make_head(colour=colour),
            body.ljust(900),
            lambda error=None: self.safe.add(body),
        )

    def come(self, selector: str, room: int) -> None:
        taker = Taker(room, selector=selector)
        self.takers.append(taker)
        self.held[taker] = []
        take_part(self.queue, taker)

    def _pick(self, number: int) -> tuple[Taker, Message] | None:
        self.note()
        every = [(taker, message) for taker in self.takers for message in self.held[taker]]
        return every[number % len(every)] if every else None

    def accept(self, number: int) -> None:
        if (picked := self._pick(number)) is not None:
            taker, message = picked
            self.held[taker].remove(message)
            assert message.body is not None
            body = message.body.rstrip()
            self.told.add(body)
            self.queue.settle(message, None, lambda error=None: self.settled.add(body))
            self._go_on(taker)

    def refuse(self, number: int) -> None:
        if (picked := self._pick(number)) is not None:
            taker, message = picked
            self.held[taker].remove(message)
            self.queue.settle(message, Rejection(delay=0))
            self._go_on(taker)

    def _go_on(self, taker: Taker) -> None:
        taker.room += 1
        self.queue.resume(taker)

    def leave(self, number: int) -> None:
        self.note()
        if self.takers:
            taker = self.takers.pop(number % len(self.takers))
            self.queue.detach(taker, self.held.pop(taker), lost=True)

    def turn(self) -> None:
        self.shelf.turns.end()
        self.shelf.turns.time.advance(0.002)

    def sync(self) -> None:
        self.shelf.sync()
        self.turn()

    def check(self) -> None:
        """Whatever crash there was, what was promised holds."""
        self.sync()
        self.note()
        told = figures(self.queue)
        assert told.unacked == sum(map(len, self.held.values()))
        assert told.ready + told.unacked == self.sent - len(self.told)
        self.shelf.close()
        for crash in self.crashes.every if self.crashes is not None else ():
            found = [message.body for message in after_a_crash(crash.copy)]
            bodies = [body.rstrip() for body in found if body is not None]
            assert len(bodies) == len(found) == len(set(bodies))
            # What was settled meanwhile may be there or not.
            assert crash.before.there & crash.after.there <= set(bodies), crash.copy
            assert crash.before.gone.isdisjoint(bodies), crash.copy


def after_a_crash(directory: Path) -> list[Message]:
    """What consumers get who come after a crash, some of them by a selector."""
    shelf = Shelf(directory)
    router = shelf.route(POLICY)
    queue = router.queue("q")
    colours = ["colour:red" in message.head.block.decode() for message in browsed(queue)]
    red, rest = Taker(1000, selector="colour = 'red'"), Taker(1000)
    for taker, count in ((red, sum(colours)), (rest, len(colours) - sum(colours))):
        take_part(queue, taker)
        while len(taker.taken) < count:
            shelf.turns.end()
            shelf.turns.time.advance(0.002)
    assert all("colour:red" in message.head.block.decode() for message in red.taken)
    for taker in (red, rest):
        assert in_order(message.sequence for message in taker.taken)
    shelf.close()
    return red.taken + rest.taken


def in_order(numbers: Iterable[int]) -> bool:
    """Whether numbers grow."""
    every = list(numbers)
    return every == sorted(every)


ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.sampled_from(COLOURS)),
        st.tuples(st.just("come"), st.sampled_from(SELECTORS), st.integers(1, 4)),
        st.tuples(st.just("accept"), st.integers(0, 9)),
        st.tuples(st.just("refuse"), st.integers(0, 9)),
        st.tuples(st.just("leave"), st.integers(0, 3)),
        st.just(("turn",)),
        st.just(("sync",)),
    ),
    max_size=40,
)


def act(story: Story, acts: list[tuple[Any, ...]]) -> None:
    for name, *args in acts:
        getattr(story, name)(*args)
    story.check()


@given(acts=ACTS)
@settings(max_examples=25, deadline=None)
def test_a_crash_at_any_commit_breaks_no_promise(acts: list[tuple[Any, ...]]) -> None:
    with folder_for_crashes("choosing") as top:
        act(Story(top), acts)


@given(acts=ACTS)
@settings(max_examples=50, deadline=None)
def test_a_store_in_memory_loses_nothing(acts: list[tuple[Any, ...]]) -> None:
    act(Story(None), acts)
