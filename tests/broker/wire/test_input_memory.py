"""What is unfinished counts, for all of them together."""

from __future__ import annotations

import pytest
from tests.support.house import Time

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.wire.input_memory import FREE, InputMemory

MIB = 1024 * 1024
MARK = 64 * MIB


class Sender:
    def __init__(self) -> None:
        self.waits = False
        self.refused: ProtocolError | None = None

    def pause_for_memory(self) -> None:
        self.waits = True

    def resume_for_memory(self) -> None:
        self.waits = False

    def refuse(self, error: ProtocolError) -> None:
        self.refused = error


class Memory:
    def __init__(self) -> None:
        self.time = Time()
        self.pressure = Watermark(MARK)
        self.input = InputMemory(self.pressure, MARK, self.time.clock)


@pytest.fixture
def memory() -> Memory:
    return Memory()


def test_it_counts_in_the_memory_of_the_broker(memory: Memory) -> None:
    sender = Sender()
    memory.input.set_size(sender, FREE)
    assert memory.pressure.used == 0, "a little is free"
    memory.input.set_size(sender, MIB)
    memory.input.set_size(sender, 2 * MIB)
    assert memory.pressure.used == memory.input.held == 2 * MIB
    memory.input.set_size(sender, 0)
    assert memory.pressure.used == memory.input.held == 0


def test_over_a_quarter_only_the_first_goes_on(memory: Memory) -> None:
    first, second, third, small = Sender(), Sender(), Sender(), Sender()
    memory.input.set_size(first, 10 * MIB)
    memory.input.set_size(second, 6 * MIB)
    assert not second.waits
    memory.input.set_size(third, MIB)
    memory.input.set_size(small, FREE)
    memory.input.set_size(first, 60 * MIB)
    assert (first.waits, third.waits, small.waits) == (False, True, False)
    memory.input.set_size(first, 0)  # its frame is complete
    assert not third.waits


def test_when_the_first_has_finished_the_next_one_may(memory: Memory) -> None:
    first, second, third = Sender(), Sender(), Sender()
    memory.input.set_size(first, 5 * MIB)
    memory.input.set_size(second, 12 * MIB)
    memory.input.set_size(third, 12 * MIB)
    assert second.waits
    assert third.waits
    memory.input.set_size(first, 0)
    assert not second.waits, "it is the first now, although there is too much yet"
    assert third.waits


def test_a_first_one_that_does_not_come_on_is_refused(memory: Memory) -> None:
    lazy, second = Sender(), Sender()
    memory.input.set_size(lazy, 15 * MIB)
    memory.time.advance(1000.0)
    memory.input.set_size(second, 15 * MIB)
    assert second.waits
    memory.time.advance(9.0)
    memory.input.set_size(lazy, 15 * MIB + 1)
    assert lazy.refused is None, "nobody waited before"
    memory.time.advance(2.0)
    assert lazy.refused is not None
    assert lazy.refused.error_code is ErrorCode.LIMIT_EXCEEDED
    assert not second.waits


def test_a_first_one_that_comes_on_is_not(memory: Memory) -> None:
    busy, second = Sender(), Sender()
    memory.input.set_size(busy, 15 * MIB)
    memory.input.set_size(second, 15 * MIB)
    for size in range(16, 64):
        memory.input.set_size(busy, size * MIB)
        memory.time.advance(10.0)
    assert busy.refused is None
    assert second.refused is None


def test_without_a_mark_nobody_waits() -> None:
    time = Time()
    input_memory = InputMemory(Watermark(0), 0, time.clock)
    senders = [Sender() for _ in range(10)]
    for sender in senders:
        input_memory.set_size(sender, 500 * MIB)
    assert not any(sender.waits for sender in senders)
