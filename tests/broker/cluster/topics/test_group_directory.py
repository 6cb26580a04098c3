"""Durable subscriptions over several brokers, by chance: who has its receipt misses nothing.

Links break, also at one end before the other; owners change, in good order and without knowing it;
what is told arrives late. The rule of the game is that of the broker: within a silence both ends of
a link know that it is gone, and everybody knows who owns a group or that it cannot hear of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from random import Random

import pytest
from tests.support.exchanges import GROUPS, SILENCE, AwayStandIn, Brokers, Member, ready
from tests.support.house import make_head
from tests.support.links import LinkEnd

from stompy.errors import ProtocolError
from stompy_broker.destinations.names import parse_destination
from stompy_broker.routing.durable import DurableSubscription
from stompy_broker.routing.interface import Queue

TOPIC = parse_destination("/topic/a")


class DeadStore(AwayStandIn):
    """What a broker writes to that was deposed and does not know it: nothing is safe."""

    def sync(self, done: object) -> None:
        """Never answer."""


@dataclass
class Wanted:
    """A durable subscription that somebody asked for."""

    name: str
    receipt: int = -1
    leaving: int = 1 << 60
    gone: bool = False
    refused: list[ProtocolError] = field(default_factory=list)


@dataclass
class Sent:
    """A persistent message to the topic."""

    history: History
    body: bytes
    at: int
    done: int = 0

    def __call__(self, error: ProtocolError | None = None, /) -> None:
        assert error is None
        assert not self.done
        self.done = self.history.now


class History:
    """What happens by chance to some brokers, and when."""

    def __init__(self, brokers: Brokers, seed: int) -> None:
        self.brokers, self.random = brokers, Random(seed)
        self.now = 0
        self.wanted: list[Wanted] = []
        self.sent: list[Sent] = []
        self.half: dict[tuple[str, str], LinkEnd] = {}  # the end that does not know yet
        self.zombies: dict[int, Member] = {}

    # -- what happens ----------------------------------------------------------------------

    def step(self) -> None:
        self.now += 1
        chance, random, brokers = self.random.random(), self.random, self.brokers
        member = random.choice(list(brokers.members.values()))
        if chance < 0.3 and brokers.turn:
            brokers.turn.popleft()()
        elif chance < 0.55 and brokers.links:
            link = random.choice(list(brokers.links.values()))
            random.choice((link, link.other)).deliver()
        elif chance < 0.6:
            brokers.time.advance(random.random() * SILENCE / 3)
        elif chance < 0.66:
            self.touch_link(*random.sample(list(brokers.members), 2))
        elif chance < 0.69:
            self.change_owner(random.randrange(GROUPS), member)
        elif chance < 0.77:
            self.want(member)
        elif chance < 0.8:
            self.leave(member)
        else:
            self.publish(member)

    def soon_enough(self, act: object) -> None:
        """Do something within a silence."""
        assert callable(act)
        timer = self.brokers.time.clock.timer(act)
        timer.set(self.brokers.time.now + self.random.random() * SILENCE * 0.9)

    def touch_link(self, front: str, peer: str) -> None:
        link = self.brokers.links.get((front, peer))
        if link is None:
            self.finish(front, peer)
            self.brokers.link(front, peer)
        elif self.random.random() < 0.5:
            self.brokers.cut(front, peer)
        else:
            end = self.random.choice((link, link.other))
            del self.brokers.links[front, peer]
            end._over = True
            end._listener.lost(end, "one end sees it first")
            self.half[front, peer] = end.other
            self.soon_enough(partial(self.finish, front, peer))

    def finish(self, front: str, peer: str) -> None:
        """Have the other end of a link see that it is gone."""
        end = self.half.pop((front, peer), None)
        if end is not None:
            end._over = True
            end._listener.lost(end, "gone for a while")

    def change_owner(self, group: int, member: Member) -> None:
        brokers = self.brokers
        owner = brokers.owners.get(group)
        if owner is member or group in self.zombies:
            return
        if owner is not None:
            if self.random.random() < 0.5:
                brokers.depose(group)
            else:
                # Everything of it that is not safe by now never will be.
                owner.router.groups.every[group].store = DeadStore()
                self.zombies[group] = owner
                del brokers.owners[group]
                self.soon_enough(partial(self.bury, group))
        brokers.own(group, member.name, heard=False)
        for other in brokers.members.values():
            if other is not member and other is not self.zombies.get(group):
                self.soon_enough(partial(self.hear, other, group, brokers.tenure, member.name))

    def hear(self, member: Member, group: int, tenure: int, owner: str) -> None:
        """Have a broker hear who owns a group, unless that is old."""
        if tenure == self.brokers.tenure or self.brokers.owners.get(group) is not member:
            current = self.brokers.owners.get(group)
            if current is not None and current.name == owner and current is not member:
                member.exchange.owner_changed(group, owner)

    def bury(self, group: int) -> None:
        """Have a broker know that it owns a group no more, and who does."""
        zombie = self.zombies.pop(group, None)
        if zombie is None:
            return
        zombie.router.groups.every[group].adopt(AwayStandIn(), 1, 0)
        zombie.exchange.deposed(group)
        owner = self.brokers.owners.get(group)
        if owner is not None and owner is not zombie:
            zombie.exchange.owner_changed(group, owner.name)

    def want(self, member: Member) -> None:
        one = Wanted(f"d{len(self.wanted)}")
        self.wanted.append(one)

        def take(found: Queue | ProtocolError) -> None:
            if isinstance(found, ProtocolError):
                one.refused.append(found)
            else:
                member.router.registry.when_subscribed(found, receipt)

        def receipt(error: ProtocolError | None = None, /) -> None:
            assert error is None
            one.receipt = self.now

        member.router.registry.durable.subscribe(DurableSubscription(one.name, "a", True), take)

    def leave(self, member: Member) -> None:
        known = [one for one in self.wanted if one.name in member.router.registry.durable.by_name]
        if not known:
            return
        one = self.random.choice(known)
        one.leaving = min(one.leaving, self.now)
        member.router.registry.durable.delete(one.name)

    def publish(self, member: Member) -> None:
        one = Sent(self, f"m{len(self.sent)}".encode(), self.now)
        self.sent.append(one)
        member.router.publish(TOPIC, make_head("/topic/a"), one.body, one, one)

    # -- what must be ----------------------------------------------------------------------

    def heal(self) -> None:
        """Let everything come right."""
        brokers = self.brokers
        for pair in list(self.half):
            self.finish(*pair)
        for group in list(self.zombies):
            self.bury(group)
        brokers.link_all()
        for group in range(GROUPS):
            brokers.tell_owner(group)
        brokers.run()
        for _ in range(4):
            brokers.wait(SILENCE)

    def check(self) -> None:
        for one in self.wanted:
            if one.receipt < 0:
                continue
            reached = set(self.brokers.reached[f"durable.{one.name}"])
            missed = [
                sent.body
                for sent in self.sent
                if one.receipt < sent.at <= sent.done < one.leaving and sent.body not in reached
            ]
            assert missed == [], one


@pytest.mark.parametrize("seed", range(60))
def test_whoever_has_its_receipt_misses_nothing_that_is_persistent(seed: int) -> None:
    brokers = ready("ann", "bob", "cat", seed=seed)
    history = History(brokers, seed)
    for _ in range(400):
        history.step()
        history.check()
    history.heal()
    history.check()
    assert all(sent.done for sent in history.sent)
    # What was asked for at an owner that was deposed without knowing it may never have become.
    registries = [member.router.registry.durable.by_name for member in brokers.members.values()]
    assert registries[0] == registries[1] == registries[2]
    logged = {one.name for log in brokers.logs for one in log.subscriptions()}
    assert logged == set(registries[0])
    for one in history.wanted:
        if one.receipt >= 0 and one.leaving == 1 << 60:
            assert one.name in logged
    for member in brokers.members.values():
        assert member.exchange.directory.is_fresh
        assert len(member.router.topics.match("a")) == len(logged)
        assert member.router.registry.durable.refusing == 0
