"""Messages in order: the same as a list that is sorted each time."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.support.house import make_head

from stompy_broker.message import Message
from stompy_broker.routing import ordered_messages
from stompy_broker.routing.interface import place_of
from stompy_broker.routing.ordered_messages import OrderedMessages

HEADS = {priority: make_head(priority=str(priority)) for priority in (0, 4, 9)}
PRIORITIES = st.sampled_from([4, 4, 4, 4, 0, 9])


class OrderMachine(RuleBasedStateMachine):
    """Messages with claims, and a dictionary beside them."""

    def __init__(self) -> None:
        super().__init__()
        # So small that blocks are split, and end, all the time.
        self.usual, ordered_messages.BLOCK = ordered_messages.BLOCK, 3
        self.messages = OrderedMessages()
        self.model: dict[int, tuple[Message, int]] = {}

    def teardown(self) -> None:
        """Have the usual blocks again."""
        ordered_messages.BLOCK = self.usual

    def ordered(self) -> list[Message]:
        """What is there, in order."""
        return sorted((message for message, _ in self.model.values()), key=place_of)

    @rule(sequence=st.integers(1, 60), priority=PRIORITIES, claims=st.integers(0, 2))
    def add(self, sequence: int, priority: int, claims: int) -> None:
        """One comes."""
        if sequence not in self.model:
            message = Message(sequence, HEADS[priority], b"", b"")
            self.messages.add(message, claims)
            self.model[sequence] = message, claims

    @rule(first=st.integers(1, 60), count=st.integers(1, 6), priority=PRIORITIES)
    def add_run(self, first: int, count: int, priority: int) -> None:
        """Some come in a row."""
        run = [
            Message(sequence, HEADS[priority], b"", b"")
            for sequence in range(first, first + count)
            if sequence not in self.model
        ]
        if run:
            self.messages.add_run(list(run), [1] * len(run))
            self.model |= {message.sequence: (message, 1) for message in run}

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        """One goes, wherever it is."""
        message, claims = self.model.pop(data.draw(st.sampled_from(sorted(self.model))))
        assert self.messages.take(message) == claims
        assert self.messages.take(message) == -1

    @rule()
    def take_block(self) -> None:
        """The first ones go."""
        block = self.messages.take_block()
        assert block == self.ordered()[: len(block)]
        assert bool(block) == bool(self.model)
        for message in block:
            del self.model[message.sequence]

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def take_all(self, data: st.DataObject) -> None:
        """Many go at once."""
        gone = data.draw(st.sets(st.sampled_from(sorted(self.model))))
        entries = [self.model.pop(sequence) for sequence in gone]
        claimed = self.messages.take_all({id(message) for message, _ in entries})
        assert claimed == sum(claims > 0 for _, claims in entries)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), more=st.sampled_from([1, -1]))
    def claim(self, data: st.DataObject, more: int) -> None:
        """One has another claim, or one less."""
        sequence = data.draw(st.sampled_from(sorted(self.model)))
        message, claims = self.model[sequence]
        more = more if claims else 1
        self.model[sequence] = message, claims + more
        assert self.messages.claim(message, more) == claims + more

    @rule(sequence=st.integers(0, 61), priority=PRIORITIES, most=st.integers(1, 9))
    def look_behind(self, sequence: int, priority: int, most: int) -> None:
        """The next ones behind a place are found."""
        place = -priority, sequence
        behind = [message for message in self.ordered() if place_of(message) > place]
        assert self.messages.after(place, most) == behind[:most]

    @invariant()
    def it_is_what_the_model_is(self) -> None:
        """All of it is there, in order, and found."""
        ordered = self.ordered()
        assert list(self.messages) == ordered
        assert len(self.messages) == len(ordered)
        assert self.messages.after(None, 100) == ordered
        assert self.messages.first is (ordered[0] if ordered else None)
        newest = max(self.model, default=None)
        found = self.messages.newest
        assert (None if found is None else found.sequence) == newest
        assert self.messages.priorities == sorted(
            {message.head.priority for message in ordered}, reverse=True
        )


TestOrder = OrderMachine.TestCase
TestOrder.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


def test_what_is_not_there_is_not_found() -> None:
    messages = OrderedMessages()
    message = Message(1, HEADS[4], b"", b"")
    assert (messages.take(message), messages.claim(message, 1)) == (-1, -1)
    messages.add(Message(2, HEADS[4], b"", b""))
    assert (messages.take(message), messages.claim(message, 1)) == (-1, -1)
    assert messages.take(Message(3, HEADS[4], b"", b"")) == -1
    messages.clear()
    assert (messages.first, len(messages)) == (None, 0)
