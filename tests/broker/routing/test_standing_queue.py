"""Queues whose messages stay when they are read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.support.house import Taker, browsed, figures, raise_refusal
from tests.support.storage import Shelf, short_wal

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.names import Destination, DestinationKind
from stompy_broker.destinations.policy import Policy
from stompy_broker.message import Message, MessageHead
from stompy_broker.routing.consumer import NotNow
from stompy_broker.routing.interface import (
    Browse,
    Browsed,
    Close,
    Configure,
    Expire,
    Foresee,
    GiveUp,
    Outcome,
    Queue,
    Remove,
    Withdraw,
)
from stompy_broker.routing.message_state import MessageState
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.router import Router
from stompy_broker.routing.settings import QueueSettings
from stompy_broker.routing.terms import Terms

POLICY = Policy(match="/queue/q", non_destructive=True, redelivery_delay=0, max_deliveries=-1)
TABLE = POLICY.model_copy(update={"last_value_key": "symbol"})
QUEUE = Destination(DestinationKind.QUEUE, "q", is_pattern=False)

AGAIN = Rejection(requeue=True, failed=True)
NEVER = Rejection(requeue=False, failed=True, reason="no")


class House:
    """A broker's queue ``q`` on a store, and who reads it."""

    def __init__(
        self,
        policy: Policy = POLICY,
        directory: Path | None = None,
        *,
        memory_mark: int = 1 << 30,
    ) -> None:
        self.policy, self.mark = policy, memory_mark
        self.shelf = Shelf(directory)
        self.router: Router = self.shelf.route(policy, memory_mark=memory_mark)
        self.refused: list[ProtocolError] = []

    @property
    def queue(self) -> Queue:
        return self.router.queue("q")

    def send(self, *bodies: str, **headers: str) -> None:
        """Send messages, each of the key that its first letter is."""
        for body in bodies:
            told = {"destination": "/queue/q", "symbol": body[0], **headers}
            head = MessageHead.from_headers(told)
            self.router.publish(QUEUE, head, body.encode(), None, self.refused.append)

    def moment(self, seconds: float = 0.0) -> None:
        """Let the queue do what it does in a moment."""
        self.shelf.turns.end()
        self.shelf.turns.time.advance(seconds)
        self.shelf.turns.end()

    def reader(self, room: int = 1000, *, auto: bool = False, selector: str = "") -> Taker:
        taker = Taker(room, auto=auto, selector=selector)
        self.queue.attach(taker, raise_refusal)
        self.queue.resume(taker)
        self.moment()
        return taker

    def more(self, taker: Taker, room: int = 1000) -> None:
        taker.room = room
        self.queue.resume(taker)
        self.moment()

    def waiting(self) -> list[str]:
        return [text(message) for message in browsed(self.queue)]

    def order(self, order: Remove | GiveUp | Close | Configure | Withdraw | Expire) -> Outcome:
        answers: list[Outcome] = []
        self.queue.control(order, answers.append)
        (answer,) = answers
        return answer

    def restart(self) -> None:
        """Begin anew with what is on disk."""
        self.shelf.sync()
        self.shelf.reopen()
        self.router = self.shelf.route(self.policy, memory_mark=self.mark)
        self.moment()


def text(message: Message) -> str:
    assert message.body is not None
    return message.body.decode()


def bodies(taker: Taker) -> list[str]:
    return [text(message) for message in taker.taken]


@pytest.fixture(params=["memory", "sqlite"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    with short_wal():
        house = House(directory=tmp_path if request.param == "sqlite" else None)
        yield house
        house.shelf.close()


def read_from_disk(house: House, taker: Taker, count: int) -> None:
    """Wait until a reader has so many messages, whose bodies may be on disk."""
    house.shelf.turns.until(lambda: len(taker.taken) >= count)


# -- reading --------------------------------------------------------------------------------------


def test_everybody_reads_everything(house: House) -> None:
    house.send("a", "b")
    first = house.reader()
    house.send("c")
    house.moment()
    second = house.reader(auto=True)
    assert bodies(first) == bodies(second) == ["a", "b", "c"]
    for message in first.taken:
        house.queue.settle(message)
    told = figures(house.queue)
    assert (told.ready, told.unacked, told.acked, told.delivered) == (3, 0, 3, 6)
    assert (told.readers, told.consumers, told.published) == (2, 2, 3)
    assert house.queue.delivered == 6
    house.send("d")
    house.moment()
    assert bodies(first)[-1] == bodies(second)[-1] == "d"


def test_after_a_restart_all_of_it_is_there(house: House) -> None:
    house.send("a", "b", "c")
    for message in house.reader().taken:
        house.queue.settle(message)
    house.restart()
    assert figures(house.queue).ready == 3
    reader = house.reader()
    read_from_disk(house, reader, 3)
    assert bodies(reader) == ["a", "b", "c"]
    assert [message.redelivery for message in reader.taken] == [None] * 3
    house.send("d")
    house.moment()
    assert bodies(reader) == ["a", "b", "c", "d"]


def test_each_reads_at_its_own_pace() -> None:
    house = House()
    house.send("a", "b", "c")
    slow, quick = house.reader(1), house.reader()
    assert (bodies(slow), bodies(quick)) == (["a"], ["a", "b", "c"])
    house.more(slow, 1)
    assert bodies(slow) == ["a", "b"]
    late = house.reader(2)
    assert bodies(late) == ["a", "b"]


def test_an_order_is_that_in_which_they_came() -> None:
    house = House()
    house.send("a", priority="1")
    house.send("b", "c", priority="9")
    house.send("d")
    reader = house.reader()
    assert bodies(reader) == ["a", "b", "c", "d"]
    assert [one.head.headers().get("priority") for one in reader.taken] == ["1", "9", "9", None]


def test_a_selector_chooses_for_its_reader() -> None:
    house = House()
    house.send("a", "b", kind="x")
    house.send("c", kind="y")
    some, all_of_them = house.reader(selector="kind = 'y'"), house.reader()
    assert bodies(some) == ["c"]
    assert bodies(all_of_them) == ["a", "b", "c"]
    house.send("d", kind="y")
    house.moment()
    assert bodies(some) == ["c", "d"]


def test_who_has_gone_begins_again() -> None:
    house = House()
    house.send("a", "b")
    reader = house.reader()
    house.queue.settle(reader.taken[0])
    house.queue.detach(reader, reader.taken[1:], lost=True)
    told = figures(house.queue)
    assert (told.ready, told.unacked, told.readers, told.acked, told.delivered) == (2, 0, 0, 1, 2)
    assert bodies(house.reader()) == ["a", "b"]


def test_what_a_transaction_settles_later() -> None:
    house = House()
    house.send("a", "b")
    reader = house.reader()
    house.queue.detach(reader)
    assert figures(house.queue).readers == 1
    done: list[str] = []
    house.queue.settle_many(list(reader.taken), None, None, lambda: done.append("all"))
    assert done == ["all"]
    told = figures(house.queue)
    assert (told.readers, told.unacked, told.acked) == (0, 0, 2)


def test_a_consumer_that_wants_nothing_now() -> None:
    class Busy(Taker):
        def deliver(self, message: Message) -> bool:
            raise NotNow

    house = House()
    busy = Busy(1)
    house.queue.attach(busy, raise_refusal)
    house.queue.resume(busy)
    house.send("a")
    house.moment()
    assert not busy.waiting
    assert figures(house.queue).delivered == 0


def test_there_is_no_active_one() -> None:
    house = House()
    taker = Taker(1)
    taker.terms = Terms(single_active=True)
    with pytest.raises(ProtocolError) as caught:
        house.queue.attach(taker, raise_refusal)
    assert caught.value.code == ErrorCode.NOT_SUPPORTED
    house.queue.attach(taker)
    assert [error.code for error in taker.failures] == [ErrorCode.NOT_SUPPORTED]


# -- what is refused ------------------------------------------------------------------------------


def test_what_is_refused_comes_again_to_who_refused_it() -> None:
    house = House()
    house.send("a", "b")
    first, second = house.reader(2), house.reader()
    house.queue.settle(first.taken[0], AGAIN)
    house.more(first)
    assert bodies(first) == ["a", "b", "a"]
    assert first.taken[-1].failures == 1
    assert bodies(second) == ["a", "b"]
    told = figures(house.queue)
    assert (told.nacked, told.redelivered, told.ready) == (1, 1, 2)


def test_a_dead_letter_is_a_copy() -> None:
    house = House()
    house.send("a", "b")
    first, second = house.reader(), house.reader()
    safe: list[str] = []
    house.queue.settle(first.taken[0], NEVER, lambda error=None: safe.append("a"))
    house.moment()
    assert safe == ["a"]
    (letter,) = browsed(house.router.queue("DLQ.q"))
    assert text(letter) == "a"
    assert letter.head.headers()["x-last-death-queue"] == "q"
    assert house.waiting() == ["a", "b"]
    assert bodies(second) == bodies(house.reader()) == ["a", "b"]
    assert figures(house.queue).dead_lettered == 1


# -- how they leave -------------------------------------------------------------------------------


def test_a_table_of_what_holds_now(tmp_path: Path) -> None:
    for directory in (None, tmp_path):
        house = House(TABLE, directory)
        house.send("a1", "b1", "a2", "c1")
        reader = house.reader()
        assert bodies(reader) == ["b1", "a2", "c1"]
        house.send("b2", "b3", "a3")
        house.moment()
        assert bodies(reader)[3:] == ["b3", "a3"]
        told = figures(house.queue)
        assert (told.ready, told.replaced, told.keys, told.unacked) == (3, 4, 3, 5)
        for message in reader.taken:
            house.queue.settle(message)
        house.restart()
        late = house.reader()
        read_from_disk(house, late, 3)
        assert bodies(late) == ["c1", "b3", "a3"]
        assert figures(house.queue).keys == 3
        house.shelf.close()


def test_what_was_replaced_does_not_come_again() -> None:
    house = House(TABLE)
    house.send("a1")
    now, later = house.reader(1), house.reader(1)
    house.queue.settle(later.taken[0], Rejection(requeue=True, failed=True, delay=30.0))
    house.send("a2")
    house.queue.settle(now.taken[0], AGAIN)
    house.more(now)
    house.more(later)
    house.moment(31.0)
    assert bodies(now) == bodies(later) == ["a1", "a2"]
    for reader in (now, later):
        house.queue.settle(reader.taken[-1])
    assert figures(house.queue).unacked == 0


def test_they_end_when_their_time_is_over(house: House) -> None:
    house.send("a", ttl="1000")
    house.send("b")
    reader = house.reader(1)
    house.moment(3.0)
    told = figures(house.queue)
    assert (told.ready, told.expired) == (1, 1)
    house.queue.settle(reader.taken[0], AGAIN)
    house.more(reader)
    assert bodies(reader) == ["a", "b"]


def test_a_ring_of_them() -> None:
    ring = POLICY.model_dump() | {"ring_size": 2}
    house = House(Policy.model_validate(ring))
    house.send("a", "b")
    slow = house.reader(1)
    house.send("c", "d")
    house.more(slow)
    assert bodies(slow) == ["a", "c", "d"]
    assert (figures(house.queue).ready, figures(house.queue).dropped) == (2, 2)


def test_a_full_one_may_refuse() -> None:
    full = POLICY.model_dump() | {"max_length": 1, "overflow": "reject-publish"}
    house = House(Policy.model_validate(full))
    house.send("a", "b")
    assert [error.code for error in house.refused] == [ErrorCode.QUEUE_FULL]
    answers: list[ProtocolError | None] = []
    house.queue.admit(1, 0, lambda error=None: answers.append(error))
    assert answers[0] is not None
    assert house.waiting() == ["a"]


def test_an_operator_takes_them_away(house: House) -> None:
    house.send("a", "b", "c")
    one, two, _ = (message.sequence for message in browsed(house.queue))
    reader = house.reader(1)
    assert house.order(Remove(frozenset((one,)))) == 1
    assert house.order(GiveUp(frozenset((two,)), "rejected")) == 1
    house.more(reader)
    assert bodies(reader) == ["a", "c"]
    told = figures(house.queue)
    assert (told.ready, told.removed, told.dead_lettered) == (1, 1, 1)
    house.restart()
    assert figures(house.queue).ready == 1


def test_orders(house: House) -> None:
    house.send("a")
    foreseen: list[Outcome] = []
    (message,) = browsed(house.queue)
    house.queue.control(Foresee(message), foreseen.append)
    reader = house.reader(1)
    house.queue.control(Foresee(message), foreseen.append)
    assert foreseen == [0, reader.number]
    assert house.order(Configure(QueueSettings(paused=True))) == 0
    house.send("b")
    house.more(reader)
    assert bodies(reader) == ["a"]
    house.order(Configure(QueueSettings(intake_paused=True)))
    assert bodies(reader) == ["a", "b"]
    assert figures(house.queue).full
    house.order(Configure(QueueSettings()))
    assert not figures(house.queue).full
    assert house.order(Withdraw((reader,))) == 1
    assert not reader.waiting
    assert isinstance(house.order(Close(unused=0.0)), ProtocolError)
    house.queue.detach(reader, reader.taken)
    queue = house.queue
    assert house.order(Close()) == 2
    assert figures(queue).ready == 0


def test_what_is_shown() -> None:
    house = House()
    house.send("a", "b")
    house.reader(1)

    def states(*wanted: MessageState) -> list[MessageState]:
        found: list[Browsed] = []
        house.queue.browse(Browse(states=frozenset(wanted)), found.append)
        return list(found[0].states)

    assert states(MessageState.READY, MessageState.UNACKED) == [MessageState.READY] * 2
    found: list[Browsed] = []
    house.queue.browse(Browse(groups=True), found.append)
    assert found[0].groups == ()
    known = figures(house.queue)
    again: list[object] = []
    house.queue.stats(again.append, known)
    assert again[0] is known


def test_a_policy_that_changes() -> None:
    house = House()
    house.send("a1", "a2")
    house.router.policies.renew([Policy(match="/queue/q", last_value_key="symbol")])
    list(house.router.registry.renew_policies())
    house.send("a3", "a4")
    assert house.queue.policy.non_destructive
    assert house.waiting() == ["a1", "a2", "a4"]


# -- bodies on disk -------------------------------------------------------------------------------


def test_bodies_that_left_memory_are_read_again(tmp_path: Path) -> None:
    with short_wal():
        house = House(directory=tmp_path, memory_mark=40_000)
        for number in range(60):
            house.send("k" * 1000 + str(number))
        house.shelf.sync()
        house.moment()
        assert any(message.body is None for message in browsed(house.queue))
        first, second = house.reader(auto=True), house.reader()
        read_from_disk(house, first, 60)
        read_from_disk(house, second, 60)
        assert bodies(first) == bodies(second)
        assert [body.lstrip("k") for body in bodies(first)] == [str(one) for one in range(60)]
        for message in second.taken:
            house.queue.settle(message)
        assert house.order(Close()) == 60
        house.shelf.sync()
        house.moment()
        assert house.router.memory.used == 0
        house.shelf.close()


# -- a model --------------------------------------------------------------------------------------


class TableModel(RuleBasedStateMachine):
    """Each reader's last word of each key is what holds, and it never goes back."""

    def __init__(self) -> None:
        super().__init__()
        self.now: dict[str, int] = {}
        self.sent = 0
        self.readers: list[Taker] = []
        self.seen: dict[Taker, dict[str, int]] = {}
        self.held: dict[Taker, list[Message]] = {}

    @initialize()
    def begin(self) -> None:
        self.house = House(TABLE)

    @rule(key=st.sampled_from("ABC"))
    def send(self, key: str) -> None:
        self.sent += 1
        self.now[key] = self.sent
        self.house.send(f"{key}{self.sent}")

    @rule(key=st.sampled_from("ABC"))
    def remove(self, key: str) -> None:
        found = [one for one in browsed(self.house.queue) if text(one)[0] == key]
        assert len(found) == (key in self.now)
        if found:
            del self.now[key]
            self.house.order(Remove(frozenset((found[0].sequence,))))

    @rule()
    def come(self) -> None:
        if len(self.readers) < 3:
            reader = self.house.reader()
            self.readers.append(reader)
            self.seen[reader], self.held[reader] = {}, []

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        if self.readers:
            self.take()
            reader = data.draw(st.sampled_from(self.readers))
            self.readers.remove(reader)
            self.house.queue.detach(reader, self.held.pop(reader))

    @rule(data=st.data(), again=st.booleans())
    def settle(self, data: st.DataObject, again: bool) -> None:
        self.take()
        readers = [one for one in self.readers if self.held[one]]
        if readers:
            reader = data.draw(st.sampled_from(readers))
            message = data.draw(st.sampled_from(self.held[reader]))
            self.held[reader].remove(message)
            key, number = text(message)[0], int(text(message)[1:])
            if again and self.now.get(key) == number:
                del self.seen[reader][key]  # until it comes again
            self.house.queue.settle(message, AGAIN if again else None)

    def take(self) -> None:
        self.house.moment()
        for reader in self.readers:
            for message in reader.taken:
                key, number = text(message)[0], int(text(message)[1:])
                assert self.seen[reader].get(key, 0) <= number
                self.seen[reader][key] = number
                self.held[reader].append(message)
            reader.taken.clear()

    @invariant()
    def is_as_the_model_says(self) -> None:
        if not hasattr(self, "house"):
            return
        self.take()
        told = figures(self.house.queue)
        assert told.ready == told.keys == len(self.now)
        assert told.unacked == sum(map(len, self.held.values()))
        for reader in self.readers:
            for key, number in self.now.items():
                assert self.seen[reader][key] == number


TestTable = TableModel.TestCase
TestTable.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
