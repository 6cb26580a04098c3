"""What every durable store promises: one suite for the reference in memory and all the others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)
from tests.support.crashes import Crashes
from tests.support.house import WALL, make_head, make_message
from tests.support.logged import LoggedShelf, MemoryShop, NATSShop
from tests.support.storage import Contents, Shelf, contents, contents_of, short_wal

from stompy_broker.message import Message, MessageHead, stamp
from stompy_broker.store.base import StoredId, StoredSubscription

SUBSCRIPTION = StoredSubscription("ann.news", "news.>", '{"shared": false}')


@pytest.fixture(autouse=True, scope="module")
def quick() -> Iterator[None]:
    with short_wal():
        yield


SHELVES: dict[str, Callable[[Path], Shelf]] = {
    "memory": lambda top: Shelf(None),
    "sqlite": lambda top: Shelf(top / "data"),
    "log": lambda top: LoggedShelf(MemoryShop()),
    "log in parts": lambda top: LoggedShelf(MemoryShop(part_bytes=300_000)),
    "nats": lambda top: LoggedShelf(NATSShop()),
}


@pytest.fixture(params=SHELVES)
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelf]:
    shelf = SHELVES[request.param](tmp_path)
    yield shelf
    shelf.close()


def sequences(shelf: Shelf) -> list[int]:
    return [kept.sequence for kept in contents(shelf).messages]


def bodies(shelf: Shelf) -> dict[int, bytes | None]:
    return {kept.sequence: kept.body for kept in contents(shelf).messages}


# -- messages ------------------------------------------------------------------------------------


def test_a_message_comes_back_as_it_was(shelf: Shelf):
    message = make_message(7, b"hello\0world")
    message.expires = WALL + 5
    shelf.store.append("/queue/q", message)
    shelf.reopen()
    (kept,) = contents(shelf).messages
    assert kept.destination == "/queue/q"
    assert kept.sequence == 7
    assert kept.block == message.head.block
    assert kept.stamp == stamp(WALL)
    assert (kept.deliveries, kept.due, kept.expires) == (0, 0, WALL + 5)
    assert kept.size == message.size
    assert kept.body == b"hello\0world"


@pytest.mark.parametrize(
    "head",
    [
        make_head(priority="0"),
        make_head(priority="9"),
        make_head(**{"content-length": "4"}),
        make_head(timestamp="17"),
        make_head("/queue/Привет 🐇", name="größe"),
        make_head(odd="a:b\\c\r\nd"),
        make_head(latin="caf\udce9"),
        make_head(long="x" * 100_000),
        MessageHead.from_headers({"destination": "/queue/DLQ.q"}, message_id=b"an-older-id"),
    ],
    ids=lambda head: repr(head.block[:40]),
)
def test_every_kind_of_head_comes_back(shelf: Shelf, head: MessageHead):
    shelf.store.append("/queue/q", Message(1, head, b"body", stamp(WALL)))
    shelf.reopen()
    (kept,) = contents(shelf).messages
    assert kept.block == head.block
    assert kept.told == (head.sized, head.stamped, True, head.priority, head.message_id)


@pytest.mark.parametrize("body", [b"", b"\0", bytes(range(256)) * 40, b"x" * 3_000_000])
def test_every_kind_of_body_comes_back(shelf: Shelf, body: bytes):
    shelf.store.append("/queue/q", make_message(1, body))
    shelf.reopen()
    assert bodies(shelf) == {1: body}


@pytest.mark.parametrize(
    "name", ["/queue/a", "/queue/größe 🐇", "/queue/" + "x" * 5000, "/queue/'; --"]
)
def test_every_destination_comes_back(shelf: Shelf, name: str):
    shelf.store.append(name, make_message(1))
    shelf.reopen()
    assert [kept.destination for kept in contents(shelf).messages] == [name]


def test_messages_come_back_by_sequence_whatever_their_queue(shelf: Shelf):
    for sequence in (5, 1, 2**62, 3, 2):
        shelf.store.append(f"/queue/{sequence % 2}", make_message(sequence))
        shelf.sync()
    shelf.reopen()
    assert sequences(shelf) == [1, 2, 3, 5, 2**62]


def test_many_messages_in_one_turn(shelf: Shelf):
    for sequence in range(1, 1000):
        shelf.store.append(f"/queue/{sequence % 7}", make_message(sequence, b"%d" % sequence))
    for sequence in range(1, 1000, 2):
        shelf.store.mark_delivered(make_message(sequence), 3, WALL)
    shelf.sync()
    for sequence in range(1, 1000, 5):
        shelf.store.remove(make_message(sequence))
    shelf.sync()
    shelf.reopen()
    kept = contents(shelf).messages
    assert [k.sequence for k in kept] == [n for n in range(1, 1000) if n % 5 != 1]
    assert all(k.body == b"%d" % k.sequence for k in kept)
    assert all((k.deliveries, k.due) == ((3, WALL) if k.sequence % 2 else (0, 0)) for k in kept)


@pytest.mark.parametrize("between", [lambda shelf: None, Shelf.sync, Shelf.reopen])
def test_a_note_is_kept_and_the_last_one_counts(shelf: Shelf, between: Callable[[Shelf], None]):
    message = make_message(1)
    shelf.store.append("/queue/q", message)
    between(shelf)
    shelf.store.mark_delivered(message, 1)
    between(shelf)
    shelf.store.mark_delivered(message, 2, WALL + 1000)
    shelf.reopen()
    (kept,) = contents(shelf).messages
    assert (kept.deliveries, kept.due, kept.body) == (2, WALL + 1000, b"body")
    shelf.store.mark_delivered(message, 3)
    shelf.reopen()
    (kept,) = contents(shelf).messages
    assert (kept.deliveries, kept.due) == (3, 0)


def test_a_message_that_was_delivered_before_it_came_keeps_its_count(shelf: Shelf):
    message = make_message(1).restored(4, 0)
    shelf.store.append("/queue/q", message)
    shelf.reopen()
    assert contents(shelf).messages[0].deliveries == 4


@pytest.mark.parametrize("between", [lambda shelf: None, Shelf.sync, Shelf.reopen])
def test_what_is_removed_does_not_come_back(shelf: Shelf, between: Callable[[Shelf], None]):
    for sequence in (1, 2, 3):
        shelf.store.append("/queue/q", make_message(sequence))
    between(shelf)
    shelf.store.mark_delivered(make_message(2), 1)
    shelf.store.remove(make_message(2))
    shelf.reopen()
    assert sequences(shelf) == [1, 3]


@pytest.mark.parametrize("first", [lambda shelf: None, Shelf.sync, Shelf.reopen])
@pytest.mark.parametrize("then", [lambda shelf: None, Shelf.sync, Shelf.reopen])
def test_a_message_may_have_the_place_of_one_that_goes(
    shelf: Shelf, first: Callable[[Shelf], None], then: Callable[[Shelf], None]
):
    if isinstance(shelf, LoggedShelf):
        pytest.skip("a queue in a cluster gives no place to another message")
    old, new, last = (make_message(7, body) for body in (b"old", b"new", b"last"))
    shelf.store.append("/queue/q", old)
    shelf.store.append("/queue/q", make_message(8, b"other"))
    shelf.store.mark_delivered(old, 1)
    first(shelf)
    shelf.store.remove(old)
    shelf.store.pass_on(7)
    shelf.store.append("/queue/q", new)
    shelf.store.mark_delivered(new, 2)
    then(shelf)
    shelf.reopen()
    assert bodies(shelf) == {7: b"new", 8: b"other"}
    assert [kept.deliveries for kept in contents(shelf).messages] == [2, 0]
    shelf.store.remove(new)
    shelf.store.pass_on(7)
    shelf.store.append("/queue/q", last)
    shelf.store.remove(last)
    shelf.reopen()
    assert bodies(shelf) == {8: b"other"}


def test_removing_goes_on_after_restoring(shelf: Shelf):
    for sequence in range(1, 6):
        shelf.store.append("/queue/q", make_message(sequence))
    shelf.reopen()
    restored = [entry.message for entry in shelf.store.restore()]
    for message in restored[:3]:
        shelf.store.remove(message)
    shelf.store.append("/queue/q", make_message(9))
    shelf.reopen()
    assert sequences(shelf) == [4, 5, 9]


# -- bodies --------------------------------------------------------------------------------------


def test_bodies_are_not_restored_until_they_are_asked_for(shelf: Shelf):
    for sequence in range(1, 301):
        shelf.store.append("/queue/q", make_message(sequence, b"%d" % sequence))
    shelf.reopen()
    restored = [entry.message for entry in shelf.store.restore()]
    assert {message.body for message in restored} == {None}
    shelf.load(*restored[:150], *restored[200:])
    assert [message.body for message in restored[150:200]] == [None] * 50
    shelf.load(*restored[150:200])
    assert [message.body for message in restored] == [b"%d" % n for n in range(1, 301)]


def test_a_body_that_is_gone_stays_none(shelf: Shelf):
    shelf.store.append("/queue/q", make_message(1, b"here"))
    shelf.store.append("/queue/q", make_message(2, b"gone"))
    shelf.reopen()
    here, gone = (entry.message for entry in shelf.store.restore())
    shelf.store.remove(gone)
    shelf.sync()
    shelf.load(here, gone)
    assert (here.body, gone.body) == (b"here", None)


def test_loading_nothing_is_done_too(shelf: Shelf):
    shelf.load()


# -- queues and subscriptions --------------------------------------------------------------------


def test_the_set_up_of_queues_is_kept(shelf: Shelf):
    shelf.store.keep_queue("a", {"x-max-length": "1"})
    shelf.store.keep_queue("b", {"x-expires": "60000", "x-overflow": "größer"})
    shelf.reopen()
    shelf.store.keep_queue("a", {"x-max-length": "2"})
    shelf.store.keep_queue("b", None)
    shelf.store.keep_queue("never was", None)
    shelf.reopen()
    assert shelf.store.queues() == {"a": {"x-max-length": "2"}}


def test_a_queue_that_ended_and_began_again_in_one_turn(shelf: Shelf):
    shelf.store.append("/queue/q", make_message(1))
    shelf.sync()
    shelf.store.remove(make_message(1))
    shelf.store.keep_queue("q", None)
    shelf.store.append("/queue/q", make_message(2))
    shelf.sync()
    shelf.store.append("/queue/q", make_message(3))
    shelf.reopen()
    assert [(k.destination, k.sequence) for k in contents(shelf).messages] == [
        ("/queue/q", 2),
        ("/queue/q", 3),
    ]


def test_a_queue_that_ended_may_begin_again_later(shelf: Shelf):
    for sequence in (1, 2, 3):
        shelf.store.append("/queue/q", make_message(sequence))
        shelf.sync()
        shelf.store.remove(make_message(sequence))
        shelf.store.keep_queue("q", None)
        shelf.sync()
    shelf.store.append("/queue/q", make_message(4))
    shelf.reopen()
    assert [(k.destination, k.sequence) for k in contents(shelf).messages] == [("/queue/q", 4)]


def test_subscriptions_are_kept_changed_and_dropped(shelf: Shelf):
    shelf.store.keep_subscription(SUBSCRIPTION)
    shelf.store.keep_subscription(StoredSubscription("bob.größe", "#", "{}"))
    shelf.reopen()
    assert contents(shelf).subscriptions == (
        SUBSCRIPTION,
        StoredSubscription("bob.größe", "#", "{}"),
    )
    changed = replace(SUBSCRIPTION, pattern="weather", settings=json.dumps({"shared": True}))
    shelf.store.keep_subscription(changed)
    shelf.store.drop_subscription("bob.größe")
    shelf.reopen()
    assert shelf.store.subscriptions() == [changed]


# -- when things are safe ------------------------------------------------------------------------


def test_with_nothing_to_write_it_is_safe_at_once(shelf: Shelf):
    done: list[int] = []
    shelf.store.sync(lambda: done.append(1))
    assert done == [1]


def test_whoever_waits_is_told_in_order_and_once(shelf: Shelf):
    told: list[int] = []
    for number in range(50):
        if number % 3:
            shelf.store.append("/queue/q", make_message(number))
        shelf.store.sync(lambda number=number: told.append(number))
        if not number % 7:
            shelf.turns.end()
    shelf.turns.until(lambda: len(told) == 50)
    assert told == list(range(50))


def test_who_is_told_may_tell_the_store_more(shelf: Shelf):
    done: list[str] = []

    def more() -> None:
        shelf.store.append("/queue/q", make_message(2))
        shelf.store.sync(lambda: done.append("both"))

    shelf.store.append("/queue/q", make_message(1))
    shelf.store.sync(more)
    shelf.turns.until(lambda: done)
    shelf.reopen()
    assert sequences(shelf) == [1, 2]


def test_closing_makes_everything_safe(shelf: Shelf):
    shelf.store.append("/queue/q", make_message(1))
    shelf.store.keep_subscription(SUBSCRIPTION)
    shelf.reopen()
    kept = contents(shelf)
    assert [k.sequence for k in kept.messages] == [1]
    assert kept.subscriptions == (SUBSCRIPTION,)


# -- SQLite beside the reference -----------------------------------------------------------------


# -- duplicate ids -------------------------------------------------------------------------------


def stored_id(sequence: int, value: bytes = b"id", destination: str = "/queue/q") -> StoredId:
    return StoredId(destination, sequence, value, WALL + 1000, 0)


def test_duplicate_ids_come_back_by_sequence(shelf: Shelf):
    values = [b"a", b"\0\xff", "größe 🐇".encode(), b"x" * 256, b"'; --"]
    kept = [
        stored_id(sequence, value, f"/queue/{sequence % 2}")._replace(shown=sequence % 3)
        for sequence, value in zip((5, 1, 2**62, 3, 2), values, strict=True)
    ]
    for one in kept:
        shelf.store.keep_id(*one)
        shelf.sync()
    shelf.reopen()
    assert contents(shelf).ids == tuple(sorted(kept, key=lambda one: one.sequence))
    assert shelf.store.last_sequence >= 2**62


def test_an_id_is_kept_whatever_becomes_of_its_message(shelf: Shelf):
    message = make_message(1)
    shelf.store.append("/queue/q", message)
    shelf.store.keep_id(*stored_id(1))
    shelf.store.remove(message)
    shelf.store.keep_queue("q", None)
    shelf.sync()
    shelf.reopen()
    found = contents(shelf)
    assert (found.messages, found.ids) == ((), (stored_id(1),))


def test_ids_are_dropped_whether_they_were_written_or_not(shelf: Shelf):
    for sequence in range(1, 1000):
        shelf.store.keep_id(*stored_id(sequence))
    shelf.store.drop_ids([1, 2, 5000])
    shelf.sync()
    shelf.store.drop_ids(range(3, 500))
    shelf.store.keep_id(*stored_id(2000))
    shelf.sync()
    shelf.reopen()
    contents(shelf)
    shelf.store.drop_ids(range(500, 900))
    shelf.sync()
    shelf.reopen()
    assert [one.sequence for one in contents(shelf).ids] == [*range(900, 1000), 2000]


def test_who_waits_for_an_id_waits_until_it_is_safe(shelf: Shelf):
    told: list[str] = []
    shelf.store.keep_id(*stored_id(1))
    shelf.store.sync(lambda: told.append("safe"))
    shelf.turns.until(lambda: told)
    shelf.reopen()
    assert contents(shelf).ids == (stored_id(1),)


class StoreMachine(RuleBasedStateMachine):
    """Whatever is told, in whatever turns: SQLite holds what the reference holds.

    The files are copied each time they have changed, as a crash would leave them. A copy holds what
    the reference held at the end of some turn, and of none before the last one that was reported
    safe. So no turn is ever there in part.
    """

    def __init__(self) -> None:
        super().__init__()
        self.top = Path(mkdtemp(prefix="stompy-store-"))
        self.model = Shelf(None)
        self.shelf = Shelf(self.top / "data")
        self.alive: dict[int, Message] = {}
        self.ids: list[int] = []
        self.sequence = 0
        # What the reference held at the end of each turn, and the last one that is safe.
        self.turns = [contents(self.model)]
        self.safe = 0
        self.crashes = Crashes(self.shelf, self.top, lambda: (self.safe, len(self.turns)))

    def tell(self, action: Callable[[Shelf], None]) -> None:
        action(self.model)
        action(self.shelf)

    def pick(self, number: int) -> Message:
        return self.alive[sorted(self.alive)[number % len(self.alive)]]

    @rule(
        queue=st.sampled_from("abc"),
        count=st.sampled_from([1, 1, 2, 9, 150]),
        body=st.sampled_from([b"", b"x", b"y" * 5000]),
    )
    def append(self, queue: str, count: int, body: bytes) -> None:
        for _ in range(count):
            self.sequence += 1
            message = make_message(self.sequence, body + b"%d" % self.sequence)
            self.alive[self.sequence] = message
            self.tell(lambda shelf, m=message: shelf.store.append(f"/queue/{queue}", m))

    @precondition(lambda self: self.alive)
    @rule(number=st.integers(0, 999), deliveries=st.integers(1, 9), due=st.sampled_from([0, WALL]))
    def note(self, number: int, deliveries: int, due: int) -> None:
        message = self.pick(number)
        self.tell(lambda shelf: shelf.store.mark_delivered(message, deliveries, due))

    @precondition(lambda self: self.alive)
    @rule(number=st.integers(0, 999), count=st.sampled_from([1, 1, 3, 200]))
    def remove(self, number: int, count: int) -> None:
        for _ in range(min(count, len(self.alive))):
            message = self.pick(number)
            del self.alive[message.sequence]
            self.tell(lambda shelf, m=message: shelf.store.remove(m))

    @rule(name=st.sampled_from("xyz"), value=st.one_of(st.none(), st.text("αβ", max_size=3)))
    def set_up(self, name: str, value: str | None) -> None:
        headers = None if value is None else {"x-overflow": value}
        self.tell(lambda shelf: shelf.store.keep_queue(name, headers))

    @rule(name=st.sampled_from("xyz"), pattern=st.text("αβ", max_size=3))
    def keep(self, name: str, pattern: str) -> None:
        kept = StoredSubscription(name, pattern, "{}")
        self.tell(lambda shelf: shelf.store.keep_subscription(kept))

    @rule(number=st.integers(0, 9))
    def drop(self, number: int) -> None:
        names = sorted(kept.name for kept in self.model.store.subscriptions())
        if names:
            name = names[number % len(names)]
            self.tell(lambda shelf: shelf.store.drop_subscription(name))

    @rule(
        log=st.sampled_from("lm"),
        count=st.sampled_from([1, 1, 2, 150]),
        body=st.sampled_from([b"", b"z" * 3000]),
        value=st.sampled_from([None, "red"]),
    )
    def enter(self, log: str, count: int, body: bytes, value: str | None) -> None:
        for _ in range(count):
            self.sequence += 1
            message = make_message(self.sequence, body)
            self.tell(lambda shelf, m=message: shelf.store.logs.append(log, m, value, b"more"))

    @precondition(lambda self: self.alive)
    @rule(number=st.integers(0, 999))
    def enter_what_leaves(self, number: int) -> None:
        message = self.pick(number)
        del self.alive[message.sequence]
        self.tell(lambda shelf: shelf.store.logs.append("l", message))
        self.tell(lambda shelf: shelf.store.remove(message))

    @rule(log=st.sampled_from("lm"), part=st.sampled_from([0.0, 0.5, 1.0]))
    def cut(self, log: str, part: float) -> None:
        ends = self.model.store.logs.ends_of(log)
        first = ends.first + int((ends.next - ends.first) * part)
        self.tell(lambda shelf: shelf.store.logs.cut(log, first))

    @rule(
        log=st.sampled_from("lm"), name=st.sampled_from("xy"), place=st.none() | st.integers(0, 9)
    )
    def keep_reader(self, log: str, name: str, place: int | None) -> None:
        self.tell(lambda shelf: shelf.store.logs.keep_reader(log, name, place))

    @rule(queue=st.sampled_from("ab"), count=st.sampled_from([1, 1, 300]))
    def keep_id(self, queue: str, count: int) -> None:
        for _ in range(count):
            self.sequence += 1
            one = stored_id(self.sequence, b"%d" % self.sequence, f"/queue/{queue}")
            self.ids.append(self.sequence)
            self.tell(lambda shelf, one=one: shelf.store.keep_id(*one))

    @rule(count=st.sampled_from([1, 2, 200]))
    def drop_ids(self, count: int) -> None:
        gone, self.ids = self.ids[:count], self.ids[count:]
        self.tell(lambda shelf: shelf.store.drop_ids(gone))

    @rule(log=st.sampled_from("lm"))
    def drop_log(self, log: str) -> None:
        self.tell(lambda shelf: shelf.store.logs.drop(log))

    @rule(seconds=st.sampled_from([0.0, 1.0]))
    def end_turn(self, seconds: float) -> None:
        self.remember()
        self.shelf.turns.end()
        self.shelf.turns.time.advance(seconds)

    @rule()
    def ask(self) -> None:
        """Ask when what was told until now is safe; nobody waits for the answer."""
        turn = self.remember()

        def safe() -> None:
            self.safe = max(self.safe, turn)

        self.shelf.store.sync(safe)

    @rule()
    def sync(self) -> None:
        turn = self.remember()
        self.shelf.sync()
        self.safe = max(self.safe, turn)

    @rule()
    def reopen(self) -> None:
        self.remember()
        self.shelf.reopen()
        self.check(contents(self.shelf))
        self.crashes.tap()

    def remember(self) -> int:
        """The end of a turn: number it, and keep what the reference holds."""
        self.turns.append(contents(self.model))
        return len(self.turns) - 1

    def check(self, kept: Contents) -> None:
        assert kept == contents(self.model)

    @invariant()
    def nothing_is_wrong(self) -> None:
        assert not self.shelf.store.trouble

    def teardown(self) -> None:
        try:
            self.remember()
            self.shelf.close()
            self.check(contents_of(self.top / "data"))
            for crash in self.crashes.every:
                # At the end of a turn the writer may begin before the test has noted it.
                safe, told = crash.before[0], crash.after[1]
                assert contents_of(crash.copy) in self.turns[safe : told + 1], crash.copy
        finally:
            shutil.rmtree(self.top)


StoreMachine.TestCase.settings = settings(max_examples=20, stateful_step_count=30)
TestStoreMachine = StoreMachine.TestCase
