"""A stream keeps what it promised, whenever the broker ends.

A program reads a stream under a name and sends what it reads to a queue, each time in one turn with
the settlement, as a COMMIT does. The store's files are copied each time they have changed, as a
crash would leave them. In each copy is every message of the stream whose receipt has left, at the
offset at which readers saw it; and once the program has gone on there, each message is in the queue
exactly once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.crashes import Crashes, folder_for_crashes
from tests.support.house import Taker, browsed, make_head, take_part
from tests.support.storage import Shelf, logs_of

from stompy_broker.destinations.names import parse_destination
from stompy_broker.destinations.policy import Policy
from stompy_broker.message import Message
from stompy_broker.routing.interface import Queue
from stompy_broker.routing.reader_message import ReaderMessage
from stompy_broker.routing.reading import FROM_FIRST, Reading
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.router import Router
from stompy_broker.routing.stream_orders import Truncate
from stompy_broker.routing.terms import Terms

SOURCE = parse_destination("/queue/s")
TARGET = parse_destination("/queue/out")
POLICY = Policy(match="/queue/s", type="stream", redelivery_delay=0, max_deliveries=-1)
NAMED = Terms(reading=Reading(FROM_FIRST, resumes=True, name="n"))
ALL = Terms(reading=Reading(FROM_FIRST))


class Promise(NamedTuple):
    """What a crash may not break.

    Attributes:
        safe: bodies whose receipt has left.
        seen: what readers saw: offset and body.
        committed: bodies of which it was told that they are in the queue.
        first: the first offset that stays.
    """

    safe: frozenset[bytes]
    seen: frozenset[tuple[int, bytes]]
    committed: frozenset[bytes]
    first: int


class Program:
    """Takes messages of the stream and sends them on, each once."""

    def __init__(self, router: Router, terms: Terms = NAMED) -> None:
        self.router = router
        self.taker = Taker(5)
        self.taker.terms = terms
        self.stream = router.queue("s")
        self.held: list[ReaderMessage] = []
        take_part(self.stream, self.taker)

    def note(self) -> list[ReaderMessage]:
        new = [cast(ReaderMessage, message) for message in self.taker.taken]
        self.held += new
        self.taker.taken.clear()
        return new

    def settled(self) -> None:
        self.taker.room += 1
        self.stream.resume(self.taker)


class Story:
    """A broker on a store, and what is done to it."""

    def __init__(self, top: Path) -> None:
        self.shelf = Shelf(top / "data")
        self.router = self.shelf.route(POLICY)
        self.sent = 0
        self.safe: set[bytes] = set()
        self.seen: set[tuple[int, bytes]] = set()
        self.committed: set[bytes] = set()
        self.first = 0
        self.program = Program(self.router)
        self.live = Program(self.router, ALL)
        self.crashes: Crashes[Promise] = Crashes(self.shelf, top, self.promise)

    @property
    def stream(self) -> Queue:
        return self.router.queue("s")

    def promise(self) -> Promise:
        return Promise(
            frozenset(self.safe), frozenset(self.seen), frozenset(self.committed), self.first
        )

    def note(self) -> None:
        for one in (self.program, self.live):
            for message in one.note():
                assert message.body is not None
                self.seen.add((message.place, message.body))

    def send(self, count: int) -> None:
        for _ in range(count):
            self.sent += 1
            body = b"%d" % self.sent
            self.router.publish(
                SOURCE, make_head("/queue/s"), body.ljust(700), self._when_safe(body)
            )

    def _when_safe(self, body: bytes) -> Any:
        return lambda error=None: self.safe.add(body)

    def move(self, count: int) -> None:
        """Take messages that were read, in order, and send them on, all in one turn."""
        self.note()
        program = self.program
        for _ in range(min(count, len(program.held))):
            message = program.held.pop(0)
            assert message.body is not None
            body = message.body.rstrip()
            # Bodies of a queue are on disk only after a crash.
            self.router.publish(TARGET, make_head("/queue/out", n=body.decode()), b"")
            self.stream.settle(
                message, None, cast(Any, lambda error=None, body=body: self.committed.add(body))
            )
            program.settled()

    def refuse(self) -> None:
        """Refuse all that was read, so that it comes again in order."""
        self.note()
        for message in list(self.program.held):
            self.program.held.remove(message)
            self.program.taker.room += 1
            self.stream.settle(message, Rejection(delay=0))
        self.stream.resume(self.program.taker)

    def leave(self) -> None:
        """Lose the program and begin it anew, in the same broker."""
        self.note()
        self.stream.detach(self.program.taker, self.program.held, lost=True)
        self.program = Program(self.router)

    def read(self) -> None:
        """Have another reader go on that keeps no place."""
        self.note()
        while self.live.held:
            self.stream.settle(self.live.held.pop(0))
            self.live.settled()

    def cut(self) -> None:
        """Let go of what the program has sent on."""
        self.stream.control(Truncate(len(self.committed)))
        self.first = max(self.first, min(len(self.committed), self.sent))

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
        self.shelf.close()
        for crash in self.crashes.every:
            check_crash(crash.copy, crash.before, crash.after)


def check_crash(directory: Path, before: Promise, after: Promise) -> None:
    shelf = Shelf(directory)
    router = shelf.route(POLICY)
    logs = logs_of(shelf)
    if "stream./queue/s" not in logs:
        assert not before.safe
        assert not before.seen
        shelf.close()
        return
    log = logs["stream./queue/s"]
    found = {cast(int, entry[0]): cast(bytes, entry[4]) for entry in log.entries}
    bodies = {body.rstrip() for body in found.values()}
    assert set(range(log.first, log.next)) == set(found)
    gone = {b"%d" % number for number in range(1, after.first + 1)}
    assert before.safe - bodies <= gone
    for place, body in before.seen:
        assert place < log.next
        assert found.get(place, body) == body
    # What the program does after a crash: it goes on where it was.
    moved = [message.head.headers()["n"].encode() for message in browsed(router.queue("out"))]
    there = set(moved)
    assert len(moved) == len(there)
    assert before.committed <= there
    kept = log.readers.get("n", 0)
    assert there == {b"%d" % number for number in range(1, kept + 1)}
    program, sent = Program(router), sorted(there, key=int)
    while len(sent) < log.next:
        shelf.turns.end()
        shelf.turns.time.advance(0.002)
        for message in program.note():
            assert message.body is not None
            sent.append(message.body.rstrip())
            program.stream.settle(message)
            program.settled()
    assert sent == [b"%d" % number for number in range(1, log.next + 1)]
    shelf.close()


ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(1, 6)),
        st.tuples(st.just("move"), st.integers(1, 5)),
        st.tuples(st.just("move"), st.integers(1, 5)),
        st.just(("refuse",)),
        st.just(("leave",)),
        st.just(("read",)),
        st.just(("cut",)),
        st.just(("turn",)),
        st.just(("sync",)),
    ),
    max_size=30,
)


@given(acts=ACTS)
@settings(max_examples=20, deadline=None)
def test_reading_and_sending_on_in_one_change_is_exactly_once(acts: list[tuple[Any, ...]]) -> None:
    with folder_for_crashes("streams") as top:
        story = Story(top)
        for name, *args in acts:
            getattr(story, name)(*args)
        story.check()


def test_in_memory_it_is_the_same_without_a_crash() -> None:
    shelf = Shelf(None)
    router = shelf.route(POLICY)
    program = Program(router)
    for number in range(10):
        router.publish(SOURCE, make_head("/queue/s"), b"%d" % number)
        for message in program.note():
            program.stream.settle(message)
            program.settled()
    again: list[Message] = Program(shelf.route(POLICY)).taker.taken
    assert again == []
