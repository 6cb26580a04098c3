"""Transactions over groups of several owners: all of it or nothing, whatever happens, and when.

Every transaction takes one piece of work from a queue of one group and puts one into queues of
others. Brokers, links and logs are moved by hand, so each step may be the last one of somebody.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from random import Random

import pytest
from tests.support.house import Taker, make_head, take_part
from tests.support.placed import Brokers, Member

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.cluster.log.log import Busy
from stompy_broker.destinations.names import parse_destination
from stompy_broker.destinations.policy import Policy
from stompy_broker.message import Message
from stompy_broker.routing.answers import Done, when_all
from stompy_broker.routing.interface import Queue
from stompy_broker.routing.rejection import Rejection
from stompy_broker.session.transaction_span import TransactionSpan

AGAIN = Busy("the test says so", 0.05)
STEPS = range(0, 60, 3)


class Worker(Taker):
    """A consumer that knows what it holds.

    Attributes:
        settled: what was settled, of all of them.
    """

    settled: list[Message]

    def holds(self) -> list[Message]:
        return [one for one in self.taken if not any(one is over for over in self.settled)]


class Transfer:
    """A transaction: an ACK in one group, a SEND into each of some.

    Args:
        town: where.
        member: the coordinator.
        message: what is acknowledged.
        to: the groups that are sent to.
    """

    def __init__(self, town: Town, member: Member, message: Message | None, to: list[int]) -> None:
        self.body = b"piece %d" % next(town.numbers)
        self.told: list[ProtocolError | None] = []
        self.town, self.member, self.to, self.message = town, member, to, message
        self.refused = ""
        self.code: ErrorCode | None = None
        router = member.router
        span = TransactionSpan("t", router)
        try:
            for group in to:
                span.add_send(parse_destination(f"/queue/out{group}"))
            if message is not None:
                span.add_settlement(router.queue("in0"))
            if span.begin_commit():
                self.tell(self.take)
            else:
                span.spread(self.tell, self.take)
        except ProtocolError as error:
            self.refused, self.code = str(error), error.error_code

    def take(self, error: ProtocolError | None = None, /) -> None:
        self.told.append(error)

    def tell(self, done: Done) -> None:
        router = self.member.router
        part_done = when_all(len(self.to) + (self.message is not None), done)
        for group in self.to:
            name = f"/queue/out{group}"
            router.publish(parse_destination(name), make_head(name), self.body, part_done)
        if self.message is not None:
            self.town.settled.append(self.message)
            router.queue("in0").settle(self.message, None, part_done)


class Town:
    """Ann owns group 0, bob group 1, cas group 2; dan owns nothing yet."""

    def __init__(self, seed: int = 1) -> None:
        self.brokers = Brokers(Policy(match="/queue/>", max_deliveries=-1), groups=3, seed=seed)
        self.numbers = itertools.count(1)
        self.owners = ["ann", "bob", "cas"]
        self.settled: list[Message] = []
        self.takers: list[tuple[Queue, Taker]] = []
        for name in ("ann", "bob", "cas", "dan"):
            self.brokers.join(name)
        for group, name in enumerate(self.owners):
            self.own(group, name)
        self.settle_down()

    def __getitem__(self, name: str) -> Member:
        return self.brokers.members[name]

    @property
    def alive(self) -> list[Member]:
        return [one for one in self.brokers.members.values() if one.alive]

    def own(self, group: int, name: str) -> None:
        self.owners[group] = name
        self[name].own(*(one.name for one in self.alive if one.name != name), group=group)
        for other in self.alive:
            if other.name != name:
                other.places.owner_changed(group, name)

    def look_after_fenced(self) -> None:
        for member in self.alive:
            for group in sorted(member.fenced_groups):
                member.fenced_groups.discard(group)
                member.places.deposed(group)
                if self.owners[group] == member.name:
                    self.own(group, member.name)  # it gave it up, because of another one
                else:
                    member.places.owner_changed(group, self.owners[group])

    def settle_down(self, seconds: float = 5.0) -> None:
        for _ in range(int(seconds / 0.25)):
            self.brokers.settle_down()
            self.brokers.advance(0.25)
            self.look_after_fenced()
        self.brokers.settle_down()

    def turns(self, count: int) -> None:
        for _ in range(count):
            if not self.brokers.turn():
                self.brokers.advance(0.01)

    def kill(self, name: str) -> None:
        self[name].die()
        for other in self.alive:
            other.places.forget(name)
        for group, owner in enumerate(self.owners):
            if owner == name:
                self.own(group, "dan")

    def found(self, name: str, queue: str) -> Counter[bytes | None]:
        """What a client of a broker is given, who then goes again."""
        taker, where = Taker(1000), self[name].router.queue(queue)
        take_part(where, taker)
        self.settle_down(1.0)
        where.detach(taker, taker.taken)
        self.settle_down(1.0)
        return Counter(message.body for message in taker.taken)

    def put(self, count: int) -> None:
        for number in range(count):
            self["ann"].router.publish(
                parse_destination("/queue/in0"), make_head("/queue/in0"), b"work %d" % number
            )
        self.settle_down(1.0)

    def hold(self, name: str, count: int) -> list[Message]:
        """Let a client of a broker have messages that it settles later."""
        taker, queue = Worker(count), self[name].router.queue("in0")
        taker.settled = self.settled
        take_part(queue, taker)
        self.settle_down(1.0)
        self.takers.append((queue, taker))
        return taker.taken

    def leave(self) -> None:
        """Let all these clients go; what they have they settle later, or have settled."""
        for queue, taker in self.takers:
            queue.detach(taker)
        self.settle_down(1.0)


def check(town: Town, transfers: list[Transfer], works: list[Message], by: str) -> None:
    """All of each transaction, or nothing; what is confirmed is in, what failed is not."""
    outs = [town.found(by, f"out{group}") for group in range(3)]
    for transfer in transfers:
        inside = {outs[group][transfer.body] for group in transfer.to}
        assert len(inside) == 1, f"{transfer.body!r} is torn: {outs}"
        (times,) = inside
        assert times <= 1, f"{transfer.body!r} is doubled"
        if transfer.told == [None]:
            assert times == 1, f"{transfer.body!r} is lost"
        elif transfer.told or transfer.refused:
            assert times == 0, f"{transfer.body!r} failed, and is in"
    left = town.found(by, "in0")
    for transfer in transfers:
        if transfer.message is None:
            continue
        done = outs[transfer.to[0]][transfer.body]
        waits = left[transfer.message.body]
        held = transfer.message in works
        assert done + waits == 1 or (held and not done), f"{transfer.message.body!r} {done} {waits}"


@pytest.mark.parametrize("name", ["ann", "bob", "dan"])
def test_a_transaction_over_three_owners_is_carried_out(name: str) -> None:
    town = Town()
    town.put(1)
    (work,) = town.hold(name, 1)
    transfer = Transfer(town, town[name], work, [1, 2])
    assert transfer.refused == ""
    town.settle_down(1.0)
    assert transfer.told == [None]
    for by in ("ann", "bob", "cas", "dan"):
        check(town, [transfer], [], by)
    for member in town.alive:
        assert member.router.memory.used >= 0
        assert member.router.loans.used == 0


def test_groups_of_one_other_owner_too() -> None:
    town = Town()
    town.own(2, "bob")
    town.settle_down()
    transfer = Transfer(town, town["dan"], None, [1, 2])
    town.settle_down(1.0)
    assert transfer.told == [None]
    check(town, [transfer], [], "ann")


@pytest.mark.parametrize("seed", range(20))
def test_owners_of_several_groups_and_others_do_not_wait_for_each_other(seed: int) -> None:
    town = Town(seed)
    town.own(1, "ann")
    town.settle_down()
    transfers = []
    for _ in range(30):
        for name, to in (("ann", [0, 1]), ("bob", [0, 1]), ("cas", [1, 2]), ("dan", [0, 2])):
            transfers.append(Transfer(town, town[name], None, to))
            for _ in range(town.brokers.random.randrange(12)):
                town.brokers.turn()
    town.brokers.settle_down()  # no time passes
    town.brokers.advance(0.05)
    town.brokers.settle_down()
    assert {tuple(transfer.told) for transfer in transfers} == {(None,)}
    check(town, transfers, [], "dan")


def test_whoever_takes_over_finds_all_of_it() -> None:
    town = Town()
    town.put(1)
    (work,) = town.hold("bob", 1)
    transfer = Transfer(town, town["bob"], work, [1, 2])
    town.settle_down(1.0)
    for group in range(3):
        town.own(group, "dan")
    town.settle_down()
    check(town, [transfer], [], "dan")


@pytest.mark.parametrize("front", ["ann", "bob", "cas", "dan"])
@pytest.mark.parametrize(("group", "giver"), [(0, "ann"), (1, "bob")])
def test_who_gives_a_group_up_in_good_order_tears_nothing(
    front: str, group: int, giver: str
) -> None:
    """Also what waits for a record of the group while the one before it is on its way."""
    for steps in range(0, 40, 2):
        town = Town(steps)
        town.put(4)
        works = town.hold(front, 4)
        other = f"/queue/other{group}"
        town[giver].router.publish(parse_destination(other), make_head(other), b"x")
        transfers = []
        for work in list(works):
            transfers.append(Transfer(town, town[front], work, [1, 2]))
            town.turns(steps % 7)
        town.turns(steps)
        left: list[bool] = []
        town[giver].places.leave(group, lambda left=left: left.append(True))  # type: ignore[misc]
        for member in town.alive:
            if member.name != giver:
                member.places.owner_changed(group, "")
        while not left:
            town.turns(1)
        town.own(group, "dan")
        town.settle_down()
        assert all(transfer.told or transfer.refused for transfer in transfers)
        town.leave()
        check(town, transfers, works, "ann")
        for member in town.alive:
            assert member.router.memory.used >= 0
            assert member.router.loans.used == 0


def test_a_nack_in_it_is_carried_out_after_it() -> None:
    town = Town()
    town.put(1)
    (work,) = town.hold("bob", 1)
    router = town["bob"].router
    span = TransactionSpan("t", router)
    span.add_send(parse_destination("/queue/out2"))
    span.add_settlement(router.queue("in0"))
    assert not span.begin_commit()
    told: list[ProtocolError | None] = []

    def tell(done: Done) -> None:
        part_done = when_all(2, done)
        router.publish(
            parse_destination("/queue/out2"), make_head("/queue/out2"), b"piece", part_done
        )
        town.settled.append(work)
        router.queue("in0").settle(work, Rejection(delay=0.0), part_done)

    span.spread(tell, lambda error=None, /: told.append(error))
    town.settle_down(1.0)
    assert told == [None]
    town.leave()
    assert town.found("ann", "in0") == {b"work 0": 1}


def test_who_cannot_be_reached_has_it_refused_at_once() -> None:
    town = Town()
    for end in town.brokers.links_of(town["cas"]):
        end.cut()
    transfer = Transfer(town, town["ann"], None, [1, 2])
    assert "cannot be reached" in transfer.refused
    # Clients take that for something that passes, and go on.
    assert transfer.code is ErrorCode.STORE_UNAVAILABLE


def test_a_transaction_that_fails_says_so_and_gives_back_what_it_took() -> None:
    town = Town()
    town.put(1)
    (work,) = town.hold("bob", 1)
    town.brokers.logs[1].outages = [(AGAIN, False)] * 1000
    transfer = Transfer(town, town["bob"], work, [1, 2])
    town.turns(8)
    town.kill("cas")
    town.brokers.logs[1].outages.clear()
    town.settle_down()
    (error,) = transfer.told
    assert error is not None
    assert error.code == ErrorCode.STORE_UNAVAILABLE
    town.leave()
    check(town, [transfer], [], "dan")
    assert town.found("dan", "in0") == {b"work 0": 1}


HURTS: dict[str, Callable[[Town], None]] = {
    "the first owner dies": lambda town: town.kill("ann"),
    "the second owner dies": lambda town: town.kill("bob"),
    "the third owner dies": lambda town: town.kill("cas"),
    "the first is taken over": lambda town: town.own(0, "dan"),
    "the second is taken over": lambda town: town.own(1, "dan"),
    "the third is taken over": lambda town: town.own(2, "dan"),
}


@pytest.mark.parametrize("hurt", HURTS)
@pytest.mark.parametrize("coordinator", ["ann", "bob", "cas"])
def test_all_or_nothing_whoever_dies_at_whichever_step(coordinator: str, hurt: str) -> None:
    for steps in STEPS:
        town = Town(seed=steps)
        town.put(2)
        works = town.hold(coordinator, 2)
        transfers = [
            Transfer(town, town[coordinator], works[0], [1, 2]),
            Transfer(town, town["bob"], None, [0, 1, 2]),
            Transfer(town, town[coordinator], works[1], [1, 2]),
        ]
        town.turns(steps)
        HURTS[hurt](town)
        town.settle_down()
        check(town, transfers, works, "dan")


class Story:
    """Many transactions, and what happens to brokers, links and the log, left to chance."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.town = Town(seed)
        self.transfers: list[Transfer] = []
        self.works: list[tuple[Member, Message]] = []
        town = self.town
        town.put(40)
        for name in ("ann", "bob", "cas"):
            self.works += [(town[name], work) for work in town.hold(name, 12)]

    def step(self) -> None:
        acts = {
            self.transact: 20,
            self.turns: 60,
            self.take_over: 1,
            self.cut: 1,
            self.relink: 3,
            self.outage: 2,
            self.kill: 0.5,
            self.pass_time: 4,
        }
        self.random.choices(list(acts), list(acts.values()))[0]()
        self.town.look_after_fenced()

    def transact(self) -> None:
        town, work = self.town, None
        member = self.random.choice(town.alive)
        if self.works and self.random.random() < 0.6:
            member, work = self.works.pop()
        if not member.alive:
            return
        to = self.random.sample(range(3), self.random.randrange(1, 4))
        self.transfers.append(Transfer(town, member, work, to))

    def turns(self) -> None:
        self.town.turns(self.random.randrange(1, 15))

    def take_over(self) -> None:
        group = self.random.randrange(3)
        member = self.random.choice(self.town.alive)
        if self.town.owners[group] != member.name and group not in member.fenced_groups:
            self.town.own(group, member.name)

    def kill(self) -> None:
        town, alive = self.town, self.town.alive
        if len(alive) > 2:
            gone = self.random.choice(alive)
            gone.die()
            self.works = [work for work in self.works if work[0] is not gone]
            for other in town.alive:
                other.places.forget(gone.name)
            for group, owner in enumerate(town.owners):
                if owner == gone.name:
                    town.own(group, self.random.choice(town.alive).name)

    def cut(self) -> None:
        links = [end for end in self.town.brokers.links if not end._over]
        if links:
            self.random.choice(links).cut()

    def relink(self) -> None:
        brokers = self.town.brokers
        for front, peer in itertools.permutations(self.town.alive, 2):
            if not any(
                (end.other.peer, end.peer) == (front.name, peer.name)
                for end in brokers.links_of(front)
            ):
                brokers.link(front, peer)

    def outage(self) -> None:
        log = self.random.choice(self.town.brokers.logs)
        stored = self.random.random() < 0.5
        log.outages += [(AGAIN, stored)] * self.random.randrange(1, 60)

    def pass_time(self) -> None:
        self.town.brokers.advance(self.random.choice([0.01, 0.1, 0.7, 2.0]))

    def end(self) -> None:
        for log in self.town.brokers.logs:
            log.outages.clear()
        self.relink()
        self.town.settle_down(10.0)


@pytest.mark.parametrize("seed", range(60))
def test_all_or_nothing_in_any_order_of_things(seed: int) -> None:
    story = Story(seed)
    for _ in range(150):
        story.step()
    story.end()
    town = story.town
    by = town.alive[-1].name
    outs = [town.found(by, f"out{group}") for group in range(3)]
    town.leave()
    left = town.found(by, "in0")
    carried_out = 0
    for transfer in story.transfers:
        inside = {outs[group][transfer.body] for group in transfer.to}
        assert inside in ({0}, {1}), f"{transfer.body!r} is torn or doubled: {inside}"
        carried_out += inside == {1}
        if transfer.message is not None and not transfer.refused:
            waits = left[transfer.message.body]
            assert waits == (inside == {0}), f"{transfer.message.body!r} waits {waits} times"
        # Nobody is told by an owner who is none any more: its clients are sent away.
        if transfer.told == [None]:
            assert inside == {1}, f"{transfer.body!r} is lost"
        elif transfer.told or transfer.refused:
            assert inside == {0}, f"{transfer.body!r} failed, and is in"
    assert carried_out > 0
    for member in town.alive:
        assert not member.spans._running
        assert not member.spans._participant._shares
