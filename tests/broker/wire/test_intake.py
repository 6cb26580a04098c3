"""What is unfinished counts, for all of them together."""

from __future__ import annotations

import pytest
from tests.support.house import Time

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.routing.flow_control import Pressure
from stompy_broker.wire.intake import FREE, Intake

MIB = 1024 * 1024
MARK = 64 * MIB


class Sender:
    def __init__(self) -> None:
        self.waits = False
        self.refused: ProtocolError | None = None

    def wait_for_room(self) -> None:
        self.waits = True

    def has_room(self) -> None:
        self.waits = False

    def refuse(self, error: ProtocolError) -> None:
        self.refused = error


class House:
    def __init__(self) -> None:
        self.time = Time()
        self.memory = Pressure(MARK)
        self.intake = Intake(self.memory, MARK, self.time.clock)


@pytest.fixture
def house() -> House:
    return House()


def test_it_counts_in_the_memory_of_the_broker(house: House) -> None:
    sender = Sender()
    house.intake.note(sender, FREE)
    assert house.memory.used == 0, "a little is free"
    house.intake.note(sender, MIB)
    house.intake.note(sender, 2 * MIB)
    assert house.memory.used == house.intake.held == 2 * MIB
    house.intake.note(sender, 0)
    assert house.memory.used == house.intake.held == 0


def test_over_a_quarter_only_the_first_goes_on(house: House) -> None:
    first, second, third, small = Sender(), Sender(), Sender(), Sender()
    house.intake.note(first, 10 * MIB)
    house.intake.note(second, 6 * MIB)
    assert not second.waits
    house.intake.note(third, MIB)
    house.intake.note(small, FREE)
    house.intake.note(first, 60 * MIB)
    assert (first.waits, third.waits, small.waits) == (False, True, False)
    house.intake.note(first, 0)  # its frame is complete
    assert not third.waits


def test_when_the_first_has_finished_the_next_one_may(house: House) -> None:
    first, second, third = Sender(), Sender(), Sender()
    house.intake.note(first, 5 * MIB)
    house.intake.note(second, 12 * MIB)
    house.intake.note(third, 12 * MIB)
    assert second.waits
    assert third.waits
    house.intake.note(first, 0)
    assert not second.waits, "it is the first now, although there is too much yet"
    assert third.waits


def test_a_first_one_that_does_not_come_on_is_refused(house: House) -> None:
    lazy, second = Sender(), Sender()
    house.intake.note(lazy, 15 * MIB)
    house.time.advance(1000.0)
    house.intake.note(second, 15 * MIB)
    assert second.waits
    house.time.advance(9.0)
    house.intake.note(lazy, 15 * MIB + 1)
    assert lazy.refused is None, "nobody waited before"
    house.time.advance(2.0)
    assert lazy.refused is not None
    assert lazy.refused.error_code is ErrorCode.LIMIT_EXCEEDED
    assert not second.waits


def test_a_first_one_that_comes_on_is_not(house: House) -> None:
    busy, second = Sender(), Sender()
    house.intake.note(busy, 15 * MIB)
    house.intake.note(second, 15 * MIB)
    for size in range(16, 64):
        house.intake.note(busy, size * MIB)
        house.time.advance(10.0)
    assert busy.refused is None
    assert second.refused is None


def test_without_a_mark_nobody_waits() -> None:
    time = Time()
    intake = Intake(Pressure(0), 0, time.clock)
    senders = [Sender() for _ in range(10)]
    for sender in senders:
        intake.note(sender, 500 * MIB)
    assert not any(sender.waits for sender in senders)
