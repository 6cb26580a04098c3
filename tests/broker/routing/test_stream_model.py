"""Readers of a stream against a model: offsets, refusals, delays, losses, and what goes meanwhile.

Whatever is done, each reader is given what is for it in the order of the offsets; what it refused
comes again, not before its time and before anything that it was never given; and a name goes on
where it was, also after a restart. The same is asked of a store in memory and of one on disk, from
which all is read that was there before a restart.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import mkdtemp
from typing import cast

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.support.house import Taker, figures, make_head, take_part
from tests.support.storage import Shelf

from stompy_broker.destinations.names import parse_destination
from stompy_broker.destinations.policy import Policy
from stompy_broker.message import Message
from stompy_broker.routing.interface import Browse, Browsed, Queue
from stompy_broker.routing.reader_message import ReaderMessage
from stompy_broker.routing.reading import FROM_FIRST, Reading, StartAt, StreamStart
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.stream_orders import StreamFigures, Truncate
from stompy_broker.routing.terms import Terms

SOURCE = parse_destination("/queue/s")
POLICY = Policy(match="/queue/s", type="stream", max_deliveries=-1)
COLOURS = ("red", "blue", "")
CHOICES = (
    ("", frozenset[str](), False),
    ("k = 'red'", frozenset[str](), False),
    ("", frozenset({"red"}), False),
    ("", frozenset({"red"}), True),
)
BODY = 20_000
"""So large that a few messages are a page."""
CALM = 4
"""After so many turns in which the store does nothing, nothing more happens."""


class Known:
    """What the model knows of one reader.

    Attributes:
        name: of it; empty = none.
        choice: selector, filter values, and whether those without are taken.
        pointer: the offset of which it is known that all before were given, or are not for it.
        settled: offsets that are settled.
        due: when what came back may be given again, by offset.
        held: what its consumer has.
    """

    def __init__(self, name: str, choice: tuple[str, frozenset[str], bool], pointer: int) -> None:
        self.name, self.choice, self.pointer = name, choice, pointer
        self.begun = pointer
        self.settled: set[int] = set()
        self.due: dict[int, float] = {}
        self.held: dict[int, ReaderMessage] = {}
        self.taker: Taker | None = None

    def wants(self, colour: str) -> bool:
        selector, values, unfiltered = self.choice
        if selector and colour != "red":
            return False
        if values:
            return colour == "red" or (unfiltered and not colour)
        return True

    @property
    def unsettled(self) -> list[int]:
        """What was given and is not settled."""
        return sorted([*self.held, *self.due])


class StreamMachine(RuleBasedStateMachine):
    """One stream and its readers."""

    def __init__(self) -> None:
        super().__init__()
        self.shelf = self.open()
        self.router = self.shelf.route(POLICY)
        self.colours: list[str] = []
        self.first = 0
        self.nameless: list[Known] = []
        self.named: dict[str, Known] = {}

    def open(self) -> Shelf:
        return Shelf(None)

    def reopen(self) -> None:
        before, self.shelf = self.shelf, Shelf(None)
        self.shelf.store = before.store

    # -- what is done -----------------------------------------------------------------------

    @property
    def stream(self) -> Queue:
        return self.router.queue("s")

    @property
    def present(self) -> list[Known]:
        return [*self.nameless, *[one for one in self.named.values() if one.taker is not None]]

    def quiet(self) -> None:
        """Wait until nothing happens any more, and see what readers got."""
        calm = 0
        while calm < CALM:
            self.shelf.sync()
            self.shelf.turns.end()
            self.shelf.turns.time.advance(0)
            calm = 0 if self.shelf.store.busy else calm + 1
        for known in self.present:
            self.note(known)

    def note(self, known: Known) -> None:
        taker = known.taker
        assert taker is not None
        for message in taker.taken:
            self.note_one(known, cast(ReaderMessage, message))
        taker.taken.clear()

    def note_one(self, known: Known, message: ReaderMessage) -> None:
        place, now = message.place, self.shelf.turns.time.now
        assert message.body is not None
        assert message.body.rstrip() == b"%d" % place
        assert place not in known.held
        if place in known.due:
            assert place == min(known.due), "it passed what it refused before"
            assert known.due.pop(place) <= now
            assert message.redelivery is not None
        else:
            assert not known.due, "it passed what it refused"
            assert place >= known.pointer
            for between in range(known.pointer, place):
                assert self.is_over(known, between), between
            assert place not in known.settled
            known.pointer = place + 1
        assert known.wants(self.colours[place])
        known.held[place] = message

    def is_over(self, known: Known, place: int) -> bool:
        wanted = known.wants(self.colours[place])
        return place < self.first or place in known.settled or not wanted

    @rule(count=st.integers(1, 8), colour=st.sampled_from(COLOURS))
    def send(self, count: int, colour: str) -> None:
        extra = {"k": colour, "x-stream-filter-value": colour} if colour else {}
        for _ in range(count):
            body = b"%d" % len(self.colours)
            self.colours.append(colour)
            self.router.publish(SOURCE, make_head("/queue/s", **extra), body.ljust(BODY))
        self.quiet()

    @precondition(lambda self: len(self.nameless) < 3)
    @rule(
        choice=st.sampled_from(CHOICES),
        room=st.integers(1, 4),
        back=st.integers(0, 12),
        at=st.sampled_from([StartAt.FIRST, StartAt.NEXT, StartAt.BACK]),
    )
    def come(
        self, choice: tuple[str, frozenset[str], bool], room: int, back: int, at: StartAt
    ) -> None:
        end = len(self.colours)
        begins = {StartAt.FIRST: self.first, StartAt.NEXT: end, StartAt.BACK: end - back}
        known = Known("", choice, max(begins[at], self.first))
        self.nameless.append(known)
        self.attach(known, room, Reading(StreamStart(at, back)))

    @rule(name=st.sampled_from("ab"), room=st.integers(1, 4))
    def come_by_name(self, name: str, room: int) -> None:
        choice = CHOICES[name == "b"]
        known = self.named.setdefault(name, Known(name, choice, self.first))
        if known.taker is None:
            self.attach(known, room, Reading(FROM_FIRST, resumes=True, name=name))

    def attach(self, known: Known, room: int, reading: Reading) -> None:
        selector, values, unfiltered = known.choice
        known.taker = Taker(room)
        wanted = reading._replace(filters=values, unfiltered=unfiltered)
        known.taker.terms = Terms(selector, reading=wanted)
        take_part(self.stream, known.taker)
        self.quiet()

    def pick(self, number: int) -> tuple[Known, int] | None:
        every = [(known, place) for known in self.present for place in sorted(known.held)]
        return every[number % len(every)] if every else None

    @rule(number=st.integers(0, 99))
    def accept(self, number: int) -> None:
        if (picked := self.pick(number)) is not None:
            known, place = picked
            self.stream.settle(known.held.pop(place))
            known.settled.add(place)
            self.go_on(known)

    @rule(number=st.integers(0, 99), delay=st.sampled_from([0.0, 5.0, 20.0]))
    def refuse(self, number: int, delay: float) -> None:
        if (picked := self.pick(number)) is not None:
            known, place = picked
            message = known.held.pop(place)
            if place >= self.first:
                known.due[place] = self.shelf.turns.time.now + delay if delay else 0.0
            self.stream.settle(message, Rejection(delay=delay))
            self.go_on(known)

    @rule(number=st.integers(0, 99))
    def give_up(self, number: int) -> None:
        if (picked := self.pick(number)) is not None:
            known, place = picked
            self.stream.settle(known.held.pop(place), Rejection(requeue=False))
            known.settled.add(place)
            self.go_on(known)

    def go_on(self, known: Known) -> None:
        assert known.taker is not None
        known.taker.room += 1
        self.stream.resume(known.taker)
        self.quiet()

    @rule(number=st.integers(0, 9), lost=st.booleans())
    def leave(self, number: int, lost: bool) -> None:
        if self.present:
            self.go(self.present[number % len(self.present)], lost=lost)

    def go(self, known: Known, *, lost: bool) -> None:
        taker, known.taker = known.taker, None
        assert taker is not None
        held: list[Message] = [known.held[place] for place in sorted(known.held)]
        if not known.name:
            self.nameless.remove(known)
        # What it had is given again, in order with the rest.
        known.pointer = min([known.pointer, *known.unsettled])
        known.due.clear()
        known.held.clear()
        self.stream.detach(taker, held, lost=lost)
        self.quiet()

    @rule(count=st.integers(0, 10))
    def cut(self, count: int) -> None:
        self.stream.control(Truncate(self.first + count))
        self.first = min(self.first + count, len(self.colours))
        for known in (*self.nameless, *self.named.values()):
            # What went does not come again; who has it may settle it yet.
            for place in [one for one in known.due if one < self.first]:
                del known.due[place]
        self.quiet()

    @rule(seconds=st.sampled_from([1.0, 5.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.shelf.turns.time.advance(seconds)
        self.quiet()

    @rule()
    def restart(self) -> None:
        self.quiet()
        for known in self.named.values():
            known.pointer = min([known.pointer, *known.unsettled])
            kept = known.pointer
            known.settled = {place for place in known.settled if place < kept}
            known.taker = None
            known.due.clear()
            known.held.clear()
        self.nameless.clear()
        now = self.shelf.turns.time.now
        self.reopen()
        self.shelf.turns.time.now = now
        self.router = self.shelf.route(POLICY)
        self.quiet()

    # -- what holds -------------------------------------------------------------------------

    def told(self) -> StreamFigures:
        found: list[Browsed] = []
        self.stream.browse(Browse(stream=True), found.append)
        assert found[0].stream is not None
        return found[0].stream

    @invariant()
    def the_ends_are_known(self) -> None:
        told = self.told()
        assert (told.first, told.next) == (self.first, len(self.colours))
        row = figures(self.stream)
        assert row.ready == len(self.colours) - self.first
        assert row.unacked == sum(len(known.held) for known in self.present)

    def teardown(self) -> None:
        """Let everybody read to the end: each got all that was for it."""
        try:
            self.drain()
        finally:
            self.shelf.close()

    def drain(self) -> None:
        for name in list(self.named):
            self.come_by_name(name, 4)
        self.wait(30.0)  # also what was refused before its consumer left
        for _ in range(200):
            for known in self.present:
                while known.held:
                    place = min(known.held)
                    self.stream.settle(known.held.pop(place))
                    known.settled.add(place)
                    self.go_on(known)
            self.wait(5.0)
            if all(not known.due and not known.held for known in self.present):
                break
        for known in self.present:
            for place in range(known.pointer, len(self.colours)):
                assert self.is_over(known, place)
        for one in self.told().readers:
            if one.name:
                assert one.lag == 0
            assert one.unacked == one.waiting == 0


class DiskStreamMachine(StreamMachine):
    """The same on disk."""

    def open(self) -> Shelf:
        self.top = Path(mkdtemp(prefix="stompy-streams-"))
        return Shelf(self.top / "data")

    def reopen(self) -> None:
        self.shelf.reopen()

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            shutil.rmtree(self.top)


SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]
StreamMachine.TestCase.settings = settings(
    max_examples=15, stateful_step_count=30, deadline=None, suppress_health_check=SLOW
)
DiskStreamMachine.TestCase.settings = settings(
    max_examples=6, stateful_step_count=25, deadline=None, suppress_health_check=SLOW
)
TestStreamInMemory = StreamMachine.TestCase
TestStreamOnDisk = DiskStreamMachine.TestCase
