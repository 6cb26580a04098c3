"""A store on a log: whatever the log does, it holds what it promised, and no turn in part."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from tests.support.house import WALL, make_message
from tests.support.logged import LoggedShelf, MemoryShop
from tests.support.storage import Contents, Shelf, contents

from stompy_broker.cluster.log import store as store_module
from stompy_broker.cluster.log.changes import FrontMark
from stompy_broker.cluster.log.gathering import GATHER_SECONDS
from stompy_broker.cluster.log.log import Busy
from stompy_broker.cluster.log.store import PATIENCE_SECONDS
from stompy_broker.cluster.log.takeover import take_over
from stompy_broker.message import Message
from stompy_broker.store.base import StoredSubscription

AGAIN = Busy("the test says so", 0.0)


@pytest.fixture
def shop() -> MemoryShop:
    return MemoryShop()


@pytest.fixture
def shelf(shop: MemoryShop) -> Iterator[LoggedShelf]:
    shelf = LoggedShelf(shop)
    yield shelf
    shelf.close()


def fill(shelf: Shelf, *sequences: int, body: bytes = b"body") -> list[Message]:
    messages = [make_message(sequence, body) for sequence in sequences]
    for message in messages:
        shelf.store.append("/queue/q", message)
    shelf.sync()
    return messages


def kept(shelf: Shelf) -> list[int]:
    return [one.sequence for one in contents(shelf).messages]


def pass_time(shelf: Shelf, seconds: float = 5.0) -> None:
    """Let timers ring, and what they do be done."""
    for _ in range(10):
        shelf.turns.end()
        shelf.turns.time.advance(seconds / 10)
    shelf.turns.end()


# -- a log that is busy --------------------------------------------------------------------------


@pytest.mark.parametrize("stored", [True, False])
def test_what_is_in_doubt_is_stored_once(shelf: LoggedShelf, shop: MemoryShop, stored: bool):
    shop.log.outages = [(AGAIN, stored), (AGAIN, False), (AGAIN, stored)]
    before = len(shop.log.entries)
    done: list[int] = []
    shelf.store.append("/queue/q", make_message(1))
    shelf.store.sync(lambda: done.append(1))
    shelf.store.append("/queue/q", make_message(2))
    shelf.turns.end()
    shelf.turns.end()
    shelf.store.append("/queue/q", make_message(3))
    assert done == []
    pass_time(shelf)
    assert done == [1]
    assert len(shop.log.entries) == before + 2
    shelf.reopen()
    assert kept(shelf) == [1, 2, 3]


def test_a_log_that_is_busy_for_long_is_trouble_until_it_is_not(
    shelf: LoggedShelf, shop: MemoryShop, caplog: pytest.LogCaptureFixture
):
    shop.log.outages = [(Busy("no leader", PATIENCE_SECONDS), False)] * 2
    done: list[int] = []
    gone_on: list[int] = []
    shelf.store.append("/queue/q", make_message(1))
    shelf.store.sync(lambda: done.append(1))
    shelf.store.wait(lambda: gone_on.append(1))
    shelf.turns.end()
    shelf.turns.end()
    shelf.turns.time.advance(PATIENCE_SECONDS + 0.01)
    assert shelf.trouble == [True]
    assert "no leader" in shelf.store.trouble
    assert shelf.store.stats().unwritten == 1
    pass_time(shelf, 10.0)
    assert (done, gone_on, shelf.trouble, shelf.store.trouble) == ([1], [1], [True, False], "")
    assert "the log takes no record" in caplog.text
    assert "takes records again" in caplog.text


def test_who_tells_much_while_a_record_is_on_its_way_is_held_back(shelf: LoggedShelf):
    store = shelf.store
    store.append("/queue/q", make_message(1))
    store.sync(lambda: None)
    shelf.turns.end()
    before = store.gathered
    store.append("/queue/q", make_message(2, bytes(2_000_000)))
    assert store.end_of_read(before)
    gone_on: list[str] = []
    store.wait(lambda: gone_on.append("a"))
    store.wait(lambda: gone_on.append("b"))
    store.forget(lambda: None)
    shelf.turns.until(lambda: gone_on == ["a", "b"])
    assert not store.end_of_read(store.gathered)


def test_who_waits_goes_on_when_all_was_settled_meanwhile(shelf: LoggedShelf):
    """Then no record follows that could let anybody go on."""
    store = shelf.store
    store.append("/queue/q", make_message(1))
    store.sync(lambda: None)
    shelf.turns.end()
    large, gone_on = make_message(2, bytes(2_000_000)), list[str]()
    before = store.gathered
    store.append("/queue/q", large)
    assert store.end_of_read(before)
    store.wait(lambda: gone_on.append("a"))
    store.wait(lambda: gone_on.append("b"))
    store.remove(large)
    shelf.turns.until(lambda: gone_on == ["a", "b"])


def test_a_lone_sender_is_not_made_to_wait_for_the_end_of_the_turn(shelf: LoggedShelf):
    told: list[int] = []
    for sequence in (1, 2):
        before = shelf.store.gathered
        shelf.store.append("/queue/q", make_message(sequence))
        shelf.store.sync(lambda sequence=sequence: told.append(sequence))
        assert not shelf.store.end_of_read(before)
        assert (shelf.logged.stats().unwritten, told) == (1, list(range(1, sequence)))
        shelf.turns.until(lambda sequence=sequence: sequence in told)


def two_were_told(shelf: LoggedShelf, shop: MemoryShop) -> None:
    """Have two wait for a record that takes a second, and be told."""
    shop.log.outages = [(Busy("the test says so", 1.0), False)]
    told: list[int] = []
    for sequence in (1, 2):
        shelf.store.append("/queue/q", make_message(sequence))
        shelf.store.sync(lambda: told.append(1))
    shelf.turns.end()
    shelf.turns.end()
    shelf.turns.time.advance(1.0)
    shelf.turns.end()
    assert told == [1, 1]


def test_those_who_were_just_told_have_one_record_together(shelf: LoggedShelf, shop: MemoryShop):
    two_were_told(shelf, shop)
    before, told = len(shop.log.entries), list[int]()
    for sequence in (3, 4):
        assert len(shop.log.entries) == before
        gathered = shelf.store.gathered
        shelf.store.append("/queue/q", make_message(sequence))
        shelf.store.sync(lambda: told.append(1))
        assert not shelf.store.end_of_read(gathered)
        shelf.turns.end()
    shelf.turns.end()
    assert len(shop.log.entries) == before + 1
    assert told == [1, 1]


def test_who_does_not_come_again_is_waited_for_a_moment_only(shelf: LoggedShelf, shop: MemoryShop):
    two_were_told(shelf, shop)
    before, told = len(shop.log.entries), list[int]()
    shelf.store.append("/queue/q", make_message(3))
    shelf.store.sync(lambda: told.append(1))
    shelf.turns.end()
    assert len(shop.log.entries) == before
    shelf.turns.time.advance(GATHER_SECONDS)
    shelf.turns.end()
    assert len(shop.log.entries) == before + 1
    assert told == [1]


# -- somebody else owns it -----------------------------------------------------------------------


def test_who_was_deposed_writes_nothing_any_more_and_tells_nobody(
    shelf: LoggedShelf, shop: MemoryShop, caplog: pytest.LogCaptureFixture
):
    fill(shelf, 1)
    asyncio.run(take_over(shop.log, "other"))
    entries = dict(shop.log.entries)
    done: list[int] = []
    shelf.store.append("/queue/q", make_message(2))
    shelf.store.sync(lambda: done.append(2))
    pass_time(shelf)
    shelf.store.append("/queue/q", make_message(3))
    shelf.store.sync(lambda: done.append(3))
    shelf.logged.leave(lambda: done.append(4))
    pass_time(shelf)
    assert done == []
    assert shop.log.entries == entries
    assert shelf.fenced == ["somebody"]
    assert shelf.trouble == [True]
    assert "belongs to another broker" in shelf.store.trouble
    assert "tenure 1 has ended" in caplog.text
    shelf.crash()
    assert kept(shelf) == [1]


def test_who_was_deposed_can_still_read_bodies(shelf: LoggedShelf, shop: MemoryShop):
    (message,) = fill(shelf, 1)
    asyncio.run(take_over(shop.log, "other"))
    message.body = None
    shelf.load(message)
    assert message.body == b"body"


# -- how it ends ---------------------------------------------------------------------------------


def test_what_waits_after_an_orderly_end_was_never_delivered(shelf: LoggedShelf):
    fill(shelf, 1, 2)
    shelf.reopen()
    assert [one.message.redelivery for one in shelf.store.restore()] == [None, None]


def test_what_waits_after_a_crash_may_have_been_delivered_also_after_the_next_end(
    shelf: LoggedShelf,
):
    fill(shelf, 1, 2)
    shelf.crash()
    fill(shelf, 3)
    shelf.reopen()
    restored = [one.message.redelivery for one in shelf.store.restore()]
    assert [past is None for past in restored] == [False, False, True]


def test_numbers_go_on_where_they_were_although_nothing_is_left(shelf: LoggedShelf):
    for message in fill(shelf, 7, 99):
        shelf.store.remove(message)
    shelf.reopen()
    assert (kept(shelf), shelf.store.last_sequence) == ([], 99)


# -- bodies --------------------------------------------------------------------------------------


def test_a_body_over_many_parts():
    shelf = LoggedShelf(MemoryShop(part_bytes=1000))
    bodies = {n: bytes([n]) * (n * 700) for n in range(1, 9)}
    for sequence, body in bodies.items():
        shelf.store.append("/queue/q", make_message(sequence, body))
    shelf.reopen()
    assert {one.sequence: one.body for one in contents(shelf).messages} == bodies
    shelf.close()


@pytest.mark.parametrize("hurt", ["flip", "gone", "another"])
def test_a_body_that_is_not_what_was_written_is_told_and_the_others_come(
    shelf: LoggedShelf, shop: MemoryShop, hurt: str, caplog: pytest.LogCaptureFixture
):
    (bad,) = fill(shelf, 1)
    at = shop.log.last
    (good,) = fill(shelf, 2)
    if hurt == "gone":
        del shop.log.entries[at]
    elif hurt == "another":
        shop.log.entries[at] = shop.log.entries[at + 1]
    else:
        octets = shop.log.entries[at]
        shop.log.entries[at] = octets[:-1] + bytes([octets[-1] ^ 1])
    bad.body = good.body = None
    shelf.load(bad, good)
    assert (bad.body, good.body) == (None, b"body")
    assert [(one.sequence, one.destination) for one in shelf.damaged] == [(1, "/queue/q")]
    assert shelf.store.stats().damaged == 1
    assert "message 1 of /queue/q is damaged" in caplog.text


def test_a_body_that_cannot_be_read_now_is_asked_for_again(
    shelf: LoggedShelf, shop: MemoryShop, monkeypatch: pytest.MonkeyPatch
):
    (message,) = fill(shelf, 1)
    message.body = None
    get = shop.log.get
    fails = ["no leader"]

    def fail_once(places: Any, answer: Any, failed: Callable[[str], None]) -> None:
        if fails:
            failed(fails.pop())
        else:
            get(places, answer, failed)

    monkeypatch.setattr(shop.log, "get", fail_once)
    loaded: list[int] = []
    shelf.store.load([message], lambda: loaded.append(1))
    assert not loaded
    pass_time(shelf)
    assert (loaded, message.body) == ([1], b"body")


# -- the log does not grow for ever --------------------------------------------------------------


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log counts as long soon."""
    make_small(monkeypatch.setattr)


def make_small(setattr_: Callable[[Any, str, int], None], alive: int = 2) -> None:
    for name, value in {"_TRIM_RECORDS": 3, "_LONG_BYTES": 500 * alive, "_ALIVE": alive}.items():
        setattr_(store_module, name, value)


def test_what_is_settled_goes_from_the_log(shelf: LoggedShelf, shop: MemoryShop, small: None):
    for sequence in range(1, 100):
        (message,) = fill(shelf, sequence)
        shelf.store.remove(message)
        shelf.sync()
    assert len(shop.log.entries) < 10
    shelf.reopen()
    assert (kept(shelf), shelf.store.last_sequence) == ([], 99)


def test_an_old_message_does_not_hold_up_all_that_is_behind_it(
    shelf: LoggedShelf, shop: MemoryShop, small: None
):
    shelf.store.keep_queue("q", {"x-max-length": "5"})
    shelf.store.keep_subscription(StoredSubscription("ann", "news", "{}"))
    (old,) = fill(shelf, 1, body=b"old")
    shelf.store.mark_delivered(old, 3, WALL, 7)
    for sequence in range(2, 100):
        (message,) = fill(shelf, sequence, body=b"x" * 200)
        shelf.store.remove(message)
        shelf.sync()
        pass_time(shelf, 0.1)
    assert len(shop.log.entries) < 30
    assert min(shop.log.entries) > 50
    old.body = None
    shelf.load(old)
    assert old.body == b"old"
    shelf.crash()
    (entry,) = shelf.store.restore()
    assert (entry.message.deliveries, entry.due, entry.holder) == (3, WALL, 7)
    assert shelf.store.queues() == {"q": {"x-max-length": "5"}}
    assert [one.name for one in shelf.store.subscriptions()] == ["ann"]


@pytest.mark.parametrize("when", ["in flight", "before", "after"])
def test_what_is_removed_while_it_is_copied_does_not_come_back(
    shelf: LoggedShelf, shop: MemoryShop, when: str
):
    (old,) = fill(shelf, 1)
    fill(shelf, 2)
    assert shelf.logged.index.messages[1].record is shelf.logged.index.records[0]
    if when == "in flight":
        shop.log.outages = [(AGAIN, True)]
    if when != "after":
        shelf.store.remove(old)
    if when == "in flight":
        shelf.store.sync(lambda: None)
        shelf.turns.end()
        shelf.turns.end()
    shelf.logged._copy_oldest()
    shelf.turns.end()
    if when == "after":
        shelf.store.remove(old)
    pass_time(shelf)
    shelf.reopen()
    assert kept(shelf) == [2]


def test_who_reads_while_the_log_is_trimmed_misses_nothing(
    shelf: LoggedShelf, shop: MemoryShop, small: None
):
    """What was read before is deleted by its owner before the rest is read."""
    first = fill(shelf, 1)[0]
    entries = dict(shop.log.entries)
    for sequence in range(2, 20):
        (message,) = fill(shelf, sequence)
        if sequence < 19:
            shelf.store.remove(message)
    shelf.store.remove(first)
    shelf.sync()
    fill(shelf, 20, 21)
    assert min(shop.log.entries) > max(entries)
    shop.log.entries = entries | shop.log.entries
    shelf.crash()
    assert kept(shelf) == [19, 20, 21]


# -- any schedule --------------------------------------------------------------------------------


class LoggedMachine(RuleBasedStateMachine):
    """Whatever is told and whatever happens to the log: what comes back is the end of a turn.

    It is of no turn before the last one that was reported safe.
    """

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        make_small(self.patch.setattr, alive=1)  # messages are copied all the time
        self.shop = MemoryShop(part_bytes=700)
        self.shelf = LoggedShelf(self.shop)
        self.model = Shelf(None)
        self.alive: dict[int, Message] = {}
        self.sequence = 0
        self.turns: list[Contents] = [contents(self.model)]
        self.safe = 0
        self.told: list[int] = []

    def tell(self, action: Callable[[Shelf], None]) -> None:
        action(self.model)
        action(self.shelf)

    def pick(self, number: int) -> Message:
        return self.alive[sorted(self.alive)[number % len(self.alive)]]

    def end(self) -> int:
        """The end of a turn: number it, and keep what was told until then."""
        self.turns.append(contents(self.model))
        return len(self.turns) - 1

    @rule(queue=st.sampled_from("ab"), body=st.sampled_from([b"", b"x", b"y" * 900]))
    def append(self, queue: str, body: bytes) -> None:
        self.sequence += 1
        message = make_message(self.sequence, body + b"%d" % self.sequence)
        self.alive[self.sequence] = message
        self.tell(lambda shelf: shelf.store.append(f"/queue/{queue}", message))

    @precondition(lambda self: self.alive)
    @rule(number=st.integers(0, 99), deliveries=st.integers(1, 9), due=st.sampled_from([0, WALL]))
    def note(self, number: int, deliveries: int, due: int) -> None:
        message = self.pick(number)
        self.tell(lambda shelf: shelf.store.mark_delivered(message, deliveries, due))

    @precondition(lambda self: self.alive)
    @rule(number=st.integers(0, 99))
    def remove(self, number: int) -> None:
        message = self.pick(number)
        del self.alive[message.sequence]
        self.tell(lambda shelf: shelf.store.remove(message))

    @rule(name=st.sampled_from("xy"), value=st.one_of(st.none(), st.sampled_from("αβ")))
    def set_up(self, name: str, value: str | None) -> None:
        headers = None if value is None else {"x-overflow": value}
        self.tell(lambda shelf: shelf.store.keep_queue(name, headers))

    @rule(name=st.sampled_from("xy"))
    def keep(self, name: str) -> None:
        kept = StoredSubscription(name, "p", "{}")
        self.tell(lambda shelf: shelf.store.keep_subscription(kept))

    @rule(seconds=st.sampled_from([0.0, 0.1, 5.0]))
    def end_turn(self, seconds: float) -> None:
        self.end()
        self.shelf.turns.end()
        self.shelf.turns.time.advance(seconds)

    @rule()
    def ask(self) -> None:
        turn = self.end()

        def safe() -> None:
            self.safe = max(self.safe, turn)

        self.shelf.store.sync(safe)

    @rule(stored=st.lists(st.booleans(), max_size=3))
    def busy(self, stored: list[bool]) -> None:
        self.shop.log.outages = [(AGAIN, one) for one in stored]

    @rule()
    def trouble(self) -> None:
        """A few quiet turns: everything gets safe."""
        turn = self.end()
        self.ask()
        for _ in range(8):
            self.shelf.turns.end()
            self.shelf.turns.time.advance(0.1)
        assert self.safe >= turn

    @rule(other=st.booleans())
    def end_badly(self, other: bool) -> None:
        """The broker is killed, or another one takes over while it still writes."""
        self.crash(other)

    def crash(self, other: bool) -> None:
        self.end()
        self.shop.log.outages = []
        if other:
            asyncio.run(take_over(self.shop.log, "other"))
            self.shelf.store.append("/queue/a", make_message(10**9))
            self.ask()
            turn = len(self.turns) - 1
            for _ in range(4):
                self.shelf.turns.end()
                self.shelf.turns.time.advance(0.1)
            # What was stored before that may have been told only now.
            assert self.safe < turn
            assert len(self.shelf.fenced) == 1
        self.shelf.fenced = []
        self.shelf.crash()
        self.come_back()

    @rule()
    def reopen(self) -> None:
        turn = self.end()
        self.shop.log.outages = []
        for _ in range(2):  # what was busy is appended again
            self.shelf.turns.end()
            self.shelf.turns.time.advance(0.0)
        self.shelf.reopen()
        self.safe = turn
        self.come_back()

    def come_back(self) -> None:
        """See what is there, and go on with that."""
        found = contents(self.shelf)
        assert found in self.turns[self.safe :]
        self.model = Shelf(None)
        for one in found.messages:
            message = make_message(one.sequence, one.body or b"")
            self.model.store.append(one.destination, message)
            self.model.store.mark_delivered(message, one.deliveries, one.due)
        for subscription in found.subscriptions:
            self.model.store.keep_subscription(subscription)
        for name, headers in found.queues.items():
            self.model.store.keep_queue(name, headers)
        here = {one.sequence for one in found.messages}
        self.alive = {one: make_message(one, b"?") for one in here}
        self.turns, self.safe = [found], 0
        assert contents(self.model) == found

    def teardown(self) -> None:
        self.crash(False)
        self.shelf.close()
        self.patch.undo()


LoggedMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=40)
TestLoggedMachine = LoggedMachine.TestCase


# -- how far other brokers are --------------------------------------------------------------------


def test_how_far_a_front_is_goes_into_the_log_with_its_changes(shelf: LoggedShelf):
    shelf.store.append("/queue/q", make_message(1))
    shelf.logged.keep_front("ann/1", FrontMark(7, ((7, 0, 3),)))
    shelf.logged.keep_front("bob/1", FrontMark(2))
    shelf.sync()
    shelf.crash()
    assert shelf.logged.fronts() == {"ann/1": FrontMark(7, ((7, 0, 3),)), "bob/1": FrontMark(2)}
    shelf.logged.keep_front("ann/1", FrontMark(8))
    shelf.logged.keep_front("bob/1", None)
    shelf.crash()
    assert shelf.logged.fronts() == {"ann/1": FrontMark(7, ((7, 0, 3),)), "bob/1": FrontMark(2)}
    shelf.logged.keep_front("ann/1", FrontMark(8))
    shelf.logged.keep_front("bob/1", None)
    shelf.reopen()
    assert shelf.logged.fronts() == {"ann/1": FrontMark(8)}


def test_what_may_have_been_delivered_elsewhere_stays_doubtful(shelf: LoggedShelf):
    fill(shelf, 1, 2)
    shelf.logged.doubt(1)
    shelf.reopen()
    restored = {one.message.sequence: one.message for one in shelf.store.restore()}
    assert [restored[number].redelivery is None for number in (1, 2)] == [False, True]
