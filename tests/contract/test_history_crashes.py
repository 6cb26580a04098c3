"""A queue and its past agree, whenever the broker ends.

Consumers come, take, accept, refuse and leave, operators delete, in whatever turns; more waits than
fits into memory, so that bodies leave it. The store's files are copied each time they have changed,
as a crash would leave them. In each copy every message whose receipt has left is in the queue or in
its past, and never in both; with its body; and the past tells of nothing that did not happen.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.crashes import Crashes, folder_for_crashes
from tests.support.house import Taker, make_head, take_part
from tests.support.storage import Shelf, page_of

from stompy.admin.settlements import SettlementKind
from stompy_broker.destinations.names import parse_destination
from stompy_broker.destinations.policy import Policy
from stompy_broker.message import Message
from stompy_broker.routing.interface import Browse, Browsed, Move, Queue, Remove, Transfer
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.settlement_record import SettlementRecord, decode_record

SOURCE = parse_destination("/queue/q")
POLICIES = (
    Policy(match="/queue/q", max_deliveries=-1, redelivery_delay=0, history="24h"),
    Policy(match="/queue/>", history="24h"),
)
LOG = "history./queue/q"
DEAD = "history./queue/DLQ.q"

ENDS = {
    "accept": SettlementKind.ACKED,
    "auto": SettlementKind.TAKEN,
    "refuse": SettlementKind.NACKED,
    "give_up": SettlementKind.DEAD_LETTERED,
    "delete": SettlementKind.DELETED,
    "move": SettlementKind.MOVED,
}
"""How the past tells of each act."""


class Promise(NamedTuple):
    """What holds at a moment.

    Attributes:
        safe: whose receipt has left.
        settled: whose settlement was told to be safe.
        told: what was done to messages, and how often.
    """

    safe: frozenset[bytes]
    settled: frozenset[bytes]
    told: Counter[tuple[SettlementKind, int]]


class Found(NamedTuple):
    """What is in a copy.

    Attributes:
        waiting: the bodies in the queue.
        left: the bodies that left, as the past has them.
        records: each settlement, with the sequence of its message.
    """

    waiting: list[bytes]
    left: list[bytes]
    records: list[tuple[int, SettlementRecord]]


class Story:
    """A broker on a store, and who consumes from its queue.

    Args:
        top: for the files of the store; None = it is in memory.
    """

    def __init__(self, top: Path | None) -> None:
        self.shelf = Shelf(None if top is None else top / "data")
        self.router = self.shelf.route(*POLICIES, memory_mark=20_000)
        self.takers: list[Taker] = []
        self.held: dict[Taker, list[Message]] = {}
        self.sent = 0
        self.safe: set[bytes] = set()
        self.settled: set[bytes] = set()
        self.told: Counter[tuple[SettlementKind, int]] = Counter()
        self.crashes: Crashes[Promise] | None = None
        if top is not None:
            self.crashes = Crashes(self.shelf, top, self.promise)

    @property
    def queue(self) -> Queue:
        """The queue that all of it is about."""
        return self.router.queue("q")

    def promise(self) -> Promise:
        """What holds just now."""
        return Promise(frozenset(self.safe), frozenset(self.settled), Counter(self.told))

    def note(self) -> None:
        """See what the consumers have got."""
        for taker in self.takers:
            for message in taker.taken:
                if taker.auto:
                    self.told[SettlementKind.TAKEN, message.sequence] += 1
                else:
                    self.held[taker].append(message)
            taker.taken.clear()

    def send(self, persistent: bool) -> None:
        self.sent += 1
        body = (b"%d" % self.sent).ljust(900)
        head = make_head(persistent="true" if persistent else "false")
        done = (lambda error=None: self.safe.add(body)) if persistent else None
        self.router.publish(SOURCE, head, body, done)
        self.note()

    def come(self, room: int, auto: bool) -> None:
        taker = Taker(room, auto=auto)
        self.takers.append(taker)
        self.held[taker] = []
        take_part(self.queue, taker)
        self.note()

    def _end(self, name: str, number: int, rejection: Rejection | None) -> None:
        self.note()
        every = [(taker, message) for taker in self.takers for message in self.held[taker]]
        if not every:
            return
        taker, message = every[number % len(every)]
        self.held[taker].remove(message)
        self.told[ENDS[name], message.sequence] += 1
        body = message.body
        assert body is not None
        done = None if name == "refuse" else (lambda error=None: self.settled.add(body))
        self.queue.settle(message, rejection, done)
        taker.room += 1
        self.queue.resume(taker)
        self.note()

    def accept(self, number: int) -> None:
        self._end("accept", number, None)

    def refuse(self, number: int) -> None:
        self._end("refuse", number, Rejection(delay=0))

    def give_up(self, number: int) -> None:
        self._end("give_up", number, Rejection(requeue=False, reason="no"))

    def leave(self, number: int) -> None:
        self.note()
        if self.takers:
            taker = self.takers.pop(number % len(self.takers))
            back = self.held.pop(taker)
            for place, message in enumerate(back):
                kind = SettlementKind.RETURNED if place else SettlementKind.LOST
                self.told[kind, message.sequence] += 1
            self.queue.detach(taker, back, lost=True)
            self.note()

    def delete(self, number: int) -> None:
        for sequence in self._waiting(number):
            self.told[SettlementKind.DELETED, sequence] += 1
            self.queue.control(Remove(frozenset((sequence,)), "deleted"))

    def move(self, number: int) -> None:
        for sequence in self._waiting(number):
            self.told[SettlementKind.MOVED, sequence] += 1
            there = Transfer(sequence, parse_destination("/queue/other"), make_head("/queue/other"))
            self.queue.control(Move([there]))

    def _waiting(self, number: int) -> list[int]:
        found: list[Browsed] = []
        self.queue.browse(Browse(), found.append)
        every = [message.sequence for message in found[0].messages]
        return [every[number % len(every)]] if every else []

    def turn(self) -> None:
        self.shelf.turns.end()
        self.shelf.turns.time.advance(0.002)

    def sync(self) -> None:
        self.shelf.sync()
        self.turn()

    def check(self) -> None:
        """Whatever crash there was, queue and past agree."""
        while self.takers:
            self.leave(0)
        self.sync()
        last = self.promise()
        self._hold_together(found_in(self.shelf, self.queue), last, last)
        self.shelf.close()
        for crash in self.crashes.every if self.crashes is not None else ():
            shelf = Shelf(crash.copy)
            found = found_in(shelf, shelf.route(*POLICIES).queue("q"))
            shelf.close()
            self._hold_together(found, crash.before, crash.after)

    def _hold_together(self, found: Found, before: Promise, after: Promise) -> None:
        every = found.waiting + found.left
        assert len(every) == len(set(every)), "a message is in both, or twice"
        assert before.safe <= set(every)
        assert before.settled <= set(found.left)
        told = Counter((record.kind, sequence) for sequence, record in found.records)
        assert told <= after.told, "the past tells of what did not happen"


def found_in(shelf: Shelf, queue: Queue) -> Found:
    """What is in a queue and its past."""
    browsed: list[Browsed] = []
    queue.browse(Browse(bodies=1 << 30), browsed.append)
    shelf.turns.until(lambda: browsed)
    waiting = [message.body for message in browsed[0].messages]
    ends = shelf.store.logs.ends().get(LOG)
    left: list[bytes] = []
    records: list[tuple[int, SettlementRecord]] = []
    at = 0 if ends is None else ends.first
    while ends is not None and at < ends.next:
        page = page_of(shelf, LOG, at)
        assert not page.lost
        for entry in page.entries:
            record = decode_record(entry.payload)
            records.append((entry.sequence, record))
            if record.leaves:
                assert entry.body is not None
                left.append(entry.body)
        at = page.next
    return Found([body for body in waiting if body is not None], left, records)


ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.booleans()),
        st.tuples(st.just("send"), st.just(True)),
        st.tuples(st.just("come"), st.integers(1, 4), st.booleans()),
        st.tuples(st.sampled_from(("accept", "refuse", "give_up")), st.integers(0, 9)),
        st.tuples(st.sampled_from(("delete", "move")), st.integers(0, 9)),
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
def test_queue_and_past_agree_after_a_crash_at_any_commit(acts: list[tuple[Any, ...]]) -> None:
    with folder_for_crashes("history") as top:
        act(Story(top), acts)


@given(acts=ACTS)
@settings(max_examples=50, deadline=None)
def test_queue_and_past_agree_in_memory(acts: list[tuple[Any, ...]]) -> None:
    act(Story(None), acts)


def test_bodies_that_are_on_disk_only_go_into_the_past() -> None:
    """Much waits, and all of it is deleted: the writer takes the bodies over."""
    with folder_for_crashes("history") as top:
        story = Story(top)
        for _ in range(60):
            story.send(persistent=True)
            story.sync()
        in_memory = [message.body is not None for message in _messages(story.queue)]
        assert not all(in_memory), "nothing has left memory"
        for _ in range(60):
            story.delete(0)
        story.check()
        assert story.sent == 60


def _messages(queue: Queue) -> list[Message]:
    found: list[Browsed] = []
    queue.browse(Browse(), found.append)
    return found[0].messages
