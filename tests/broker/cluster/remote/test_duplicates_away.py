"""Duplicate ids of a queue that another broker owns, or owned, or will own."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from tests.support.house import WALL, make_head
from tests.support.placed import GROUP, Brokers, Member

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.dedup_headers import DuplicateId
from stompy_broker.destinations.names import parse_destination
from stompy_broker.destinations.policy import Policy
from stompy_broker.message import MessageHead
from stompy_broker.routing.interface import Outcome
from stompy_broker.routing.unique_publication import publish_once

QUEUE = parse_destination("/queue/q")


class Sent:
    """One SEND, and what came of it."""

    def __init__(
        self, member: Member, value: bytes, ttl: int = 0, head: MessageHead | None = None
    ) -> None:
        self.told: list[str] = []
        self.of: list[int] = []
        self.error: ProtocolError | None = None
        publish_once(
            member.router,
            QUEUE,
            head or make_head(str(QUEUE), value=value.decode()),
            value,
            DuplicateId(value, ttl),
            self._done,
            self._done,
            self._answer,
        )

    def _done(self, error: ProtocolError | None = None, /) -> None:
        self.error = error
        self.told.append("done" if error is None else "refused")

    def _answer(self, outcome: Outcome) -> None:
        assert not self.told, "the answer came after it was done"
        assert isinstance(outcome, int)
        if outcome:
            self.of.append(outcome)

    @property
    def dropped(self) -> bool:
        return bool(self.of)


def own(cluster: Brokers, name: str) -> Member:
    """Have a broker own the group, and all others know."""
    owner = cluster.members[name]
    others = [one for one in cluster.members.values() if one.alive and one is not owner]
    for gone in [one for one in cluster.members.values() if not one.alive]:
        for one in (owner, *others):
            one.places.forget(gone.name)
    owner.own(*(one.name for one in others))
    for one in others:
        one.places.owner_changed(GROUP, name)
    return owner


def bodies(owner: Member) -> list[bytes]:
    """What waits in the queue of its owner."""
    local = owner.group.queues["q"].local
    assert local is not None
    waiting = [*local._ready]  # type: ignore[attr-defined]
    told = [(message.head.headers().get("value"), message.body) for message in waiting]
    return [body or b"" if value is None else value.encode() for value, body in told]


def test_the_owner_knows_it_whoever_sends() -> None:
    cluster = Brokers()
    ann, bob, cas = cluster.join("ann"), cluster.join("bob"), cluster.join("cas")
    own(cluster, "ann")
    cluster.settle_down()
    first = Sent(bob, b"a")
    cluster.settle_down()
    others = [Sent(member, b"a") for member in (ann, bob, cas)]
    fresh = Sent(cas, b"b")
    cluster.settle_down()
    assert first.told == fresh.told == ["done"]
    assert not first.dropped
    assert not fresh.dropped
    assert [one.told for one in others] == [["done"]] * 3
    assert {number for one in others for number in one.of} == {others[0].of[0]}
    assert bodies(ann) == [b"a", b"b"]


def test_the_next_owner_knows_it_and_for_how_long() -> None:
    cluster = Brokers(Policy(match="/queue/q", dedup_ttl=60.0))
    ann, bob, cas = cluster.join("ann"), cluster.join("bob"), cluster.join("cas")
    own(cluster, "ann")
    cluster.settle_down()
    sent = [Sent(bob, b"a"), Sent(ann, b"b"), Sent(cas, b"c", 5000)]
    cluster.settle_down()
    assert ann.router.duplicates.kept == 3
    ann.die()
    own(cluster, "cas")
    cluster.settle_down()
    assert cas.router.duplicates.kept == 3
    again = [Sent(bob, b"a"), Sent(cas, b"b"), Sent(bob, b"c")]
    cluster.settle_down()
    assert [one.told for one in (*sent, *again)] == [["done"]] * 6
    assert [one.dropped for one in again] == [True] * 3
    cluster.advance(10)
    after = [Sent(bob, b"a"), Sent(cas, b"c")]
    cluster.settle_down()
    assert [one.dropped for one in after] == [True, False]
    cluster.advance(60)
    late = Sent(bob, b"b")
    cluster.settle_down()
    assert not late.dropped
    assert sorted(bodies(cas)) == [b"a", b"b", b"b", b"c", b"c"]


def test_a_broker_forgets_what_it_owns_no_longer() -> None:
    cluster = Brokers()
    ann, bob = cluster.join("ann"), cluster.join("bob")
    own(cluster, "ann")
    cluster.settle_down()
    Sent(bob, b"a")
    cluster.settle_down()
    left: list[bool] = []
    ann.places.leave(GROUP, lambda: left.append(True))
    cluster.settle_down()
    assert left
    assert ann.router.duplicates.kept == 0
    own(cluster, "bob")
    again, fresh = Sent(ann, b"a"), Sent(ann, b"b")
    cluster.settle_down()
    assert (again.dropped, fresh.dropped) == (True, False)
    assert bob.router.duplicates.kept == 2


def test_while_nobody_owns_it_they_wait_and_one_is_taken() -> None:
    cluster = Brokers()
    ann, bob, cas = cluster.join("ann"), cluster.join("bob"), cluster.join("cas")
    sent = [Sent(member, b"a") for member in (ann, bob, cas, bob)]
    cluster.settle_down()
    assert [one.told for one in sent] == [[]] * 4
    own(cluster, "bob")
    cluster.settle_down()
    assert [one.told for one in sent] == [["done"]] * 4
    assert sum(one.dropped for one in sent) == 3
    assert bodies(bob) == [b"a"]


def test_what_is_refused_leaves_no_id() -> None:
    policy = Policy(match="/queue/q", max_length=1, overflow="reject-publish")
    cluster = Brokers(policy)
    ann, bob = cluster.join("ann"), cluster.join("bob")
    own(cluster, "ann")
    cluster.settle_down()
    taken, refused, dropped = Sent(bob, b"a"), Sent(bob, b"b"), Sent(bob, b"a")
    cluster.settle_down()
    assert (taken.told, refused.told, dropped.told) == (["done"], ["refused"], ["done"])
    assert refused.error is not None
    assert refused.error.error_code is ErrorCode.QUEUE_FULL
    assert dropped.dropped
    assert ann.router.duplicates.kept == 1


def test_what_ends_or_is_not_persistent_is_known_as_well() -> None:
    cluster = Brokers()
    ann, bob = cluster.join("ann"), cluster.join("bob")
    own(cluster, "ann")
    cluster.settle_down()
    heads = {
        b"a": make_head(str(QUEUE), persistent="false"),
        b"b": make_head(str(QUEUE), expires=str(WALL - 5)),
        b"c": make_head(str(QUEUE), ttl="100000"),
        b"d": make_head(str(QUEUE), **{"x-group-id": "g"}),
    }
    for expected in (False, True):
        sent = [Sent(bob, value, head=head) for value, head in heads.items()]
        cluster.settle_down()
        assert [one.dropped for one in sent] == [expected] * 4
    assert bodies(ann) == [b"a", b"c", b"d"]


@pytest.mark.parametrize("seed", range(40))
def test_each_is_there_once_whichever_broker_dies(seed: int) -> None:
    """Who is not told sends again, to any broker that lives; owners die in between."""
    random, cluster = Random(seed), Brokers(seed=seed)
    members = {name: cluster.join(name) for name in ("ann", "bob", "cas", "dan")}
    owner = own(cluster, "ann")
    open_: dict[bytes, list[Sent]] = {b"%d" % number: [] for number in range(20)}
    done: set[bytes] = set()
    deaths = 0
    for _ in range(2000):
        if not open_:
            break
        living = [member for member in members.values() if member.alive]
        for value in random.sample(sorted(open_), min(4, len(open_))):
            open_[value].append(Sent(random.choice(living), value))
        for _ in range(random.randrange(12)):
            cluster.turn()
        if deaths < 2 and random.random() < 0.15:
            deaths += 1
            owner.die()
            living.remove(owner)
            owner = own(cluster, random.choice(living).name)
        for value, sent in list(open_.items()):
            if any(one.told for one in sent):
                done.add(value)
                del open_[value]
    assert not open_
    cluster.settle_down()
    assert Counter(bodies(owner)) == Counter(done)
