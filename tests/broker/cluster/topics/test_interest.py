"""Subscriptions to topics over several brokers, by chance: who has its receipt misses nothing.

What counts is a link that was there when the receipt was given and is there to the end: whatever
is published over it after that arrives, once and in order.
"""

from __future__ import annotations

from random import Random

import pytest
from tests.support.exchanges import Brokers, Member, ready
from tests.support.house import Taker, make_head, take_part
from tests.support.links import LinkEnd

from stompy_broker.destinations.names import parse_destination
from stompy_broker.routing.interface import Queue

TOPICS = ("a.b", "a.c", "b")
PATTERNS = ("a.b", "a.*", ">", "b")


class Subscriber:
    """One subscription, and what it has to get."""

    def __init__(self, member: Member, pattern: str) -> None:
        self.member, self.pattern = member, pattern
        self.taker = Taker(10_000, auto=True)
        self.since: dict[str, LinkEnd] | None = None  # links at the time of its receipt
        self.due: dict[str, list[tuple[LinkEnd | None, bytes]]] = {}
        self.left = False
        self.queue: Queue = member.router.registry.subscribe_topic(pattern)
        take_part(self.queue, self.taker)
        member.router.registry.when_subscribed(self.queue, self._receipt)

    def _receipt(self) -> None:
        self.since = {
            front: link
            for (front, peer), link in self.member.brokers.links.items()
            if peer == self.member.name
        }

    def leave(self) -> None:
        self.left = True
        self.member.router.registry.unsubscribe_topic(self.queue)

    @property
    def matches(self) -> tuple[str, ...]:
        return {"a.b": ("a.b",), "a.*": ("a.b", "a.c"), ">": TOPICS, "b": ("b",)}[self.pattern]


class Traffic:
    """What happens by chance to some brokers."""

    def __init__(self, brokers: Brokers, seed: int) -> None:
        self.brokers, self.random = brokers, Random(seed)
        self.subscribers: list[Subscriber] = []
        self.count = 0

    def step(self) -> None:
        chance, random, brokers = self.random.random(), self.random, self.brokers
        if chance < 0.25 and brokers.turn:
            brokers.turn.popleft()()
        elif chance < 0.5 and brokers.links:
            link = random.choice(list(brokers.links.values()))
            random.choice((link, link.other)).deliver()
        elif chance < 0.55:
            pair = random.choice([(one, two) for one in brokers.members for two in brokers.members])
            if pair in brokers.links:
                brokers.cut(*pair)
            elif pair[0] != pair[1]:
                brokers.link(*pair)
        elif chance < 0.68:
            member = random.choice(list(brokers.members.values()))
            self.subscribers.append(Subscriber(member, random.choice(PATTERNS)))
        elif chance < 0.74 and self.subscribers:
            one = random.choice(self.subscribers)
            if not one.left:
                one.leave()
        else:
            self.publish()

    def publish(self) -> None:
        front = self.random.choice(list(self.brokers.members.values()))
        topic = self.random.choice(TOPICS)
        self.count += 1
        body = f"{front.name} {self.count}".encode()
        for one in self.subscribers:
            if one.since is None or one.left or topic not in one.matches:
                continue
            link = self.brokers.links.get((front.name, one.member.name))
            if front is one.member or (link is not None and one.since.get(front.name) is link):
                one.due.setdefault(front.name, []).append((link, body))
        text = f"/topic/{topic}"
        head = make_head(text, persistent="false")
        front.router.publish(parse_destination(text), head, body)

    def check(self) -> None:
        links = list(self.brokers.links.values())
        for one in self.subscribers:
            got = [message.body or b"" for message in one.taker.taken]
            assert len(set(got)) == len(got), "something came twice"
            for front, due in one.due.items():
                of_front = [body for body in got if body.startswith(front.encode() + b" ")]
                assert of_front == sorted(of_front, key=lambda body: int(body.split()[1]))
                if one.left:
                    continue
                missing = [
                    body
                    for link, body in due
                    if (link is None or link in links) and body not in of_front
                ]
                assert missing == []


@pytest.mark.parametrize("seed", range(40))
def test_whoever_has_its_receipt_misses_nothing(seed: int) -> None:
    brokers = ready("ann", "bob", "cat", seed=seed)
    traffic = Traffic(brokers, seed)
    for _ in range(400):
        traffic.step()
    brokers.run()
    traffic.check()
    brokers.link_all()
    brokers.run()
    assert all(one.since is not None for one in traffic.subscribers)
    # In the end everybody knows what everybody wants, and nothing else.
    for _ in range(30):
        traffic.publish()
    brokers.run()
    traffic.check()
    for one in traffic.subscribers:
        if not one.left:
            one.leave()
    brokers.run()
    for member in brokers.members.values():
        assert not any(member.router.topics.match(topic) for topic in TOPICS)
