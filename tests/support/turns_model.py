"""One queue beside a slow and obviously right model of it, and random schedules for both.

The model does not say who gets what: often several may. It looks at every delivery when it is made,
and says whether it may be: not twice, not early, in order, not beside somebody who is at work on
the same group, to the consumer that goes first. Whenever the queue has come to rest it looks for a
message that somebody should have been given, and that waits. So whatever the queue does is held to
the rules, and nothing to the way that it found.

A schedule is a list of steps that mean something whatever came before them, so that steps can be
left out of one that fails: `smallest` finds the few that are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.support.house import WALL, Taker, browsed, figures
from tests.support.storage import Shelf

from stompy.errors import ProtocolError
from stompy_broker.destinations.names import Destination, DestinationKind, schedules_of
from stompy_broker.destinations.policy import Policy
from stompy_broker.message import Message, MessageHead
from stompy_broker.routing.interface import Configure, Queue, Remove, RestorableQueue, Withdraw
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.router import Router
from stompy_broker.routing.settings import QueueSettings
from stompy_broker.routing.terms import Terms
from stompy_broker.schedules.schedule_spec import CatchUp
from stompy_broker.session.scheduled_send import ScheduledSender
from stompy_broker.session.send_routes import SendRoutes

_TICK = 0.002
"""So long that work that is done in steps has its next turn."""

_HANDOVER_LOOK = 0.021
"""So long that a queue has looked whether somebody may take over."""

_MOMENT = 0.003
"""Seconds, about: times are told in milliseconds."""

_LOOK_SECONDS = 1.1
"""So long that a queue has looked for messages whose time is over."""

_SURE_SECONDS = 55.0
"""For so long an idle group is remembered for certain."""

_QUEUE = Destination(DestinationKind.QUEUE, "q", is_pattern=False)
_LATER = Destination(DestinationKind.QUEUE, schedules_of("/queue/q"), is_pattern=False)


class RuleError(AssertionError):
    """The queue did what it may not, or did not do what it has to."""


def hold(condition: object, what: str) -> None:
    """Have something hold.

    Raises:
        RuleError: it does not.
    """
    if not condition:
        raise RuleError(what)


def number_of(message: Message) -> int:
    """Which message it is; its body may be on disk."""
    return int(message.head.headers()["n"])


# -- what is sent, and who takes it ------------------------------------------------------------


@dataclass(eq=False)
class Sent:
    """A message as the model knows it.

    Attributes:
        number: when it came into the queue, by which its group and its priority are ordered.
        state: ``later``, ``waiting``, ``held``, or one of the ends: ``settled``, ``dead``,
            ``expired``, ``removed``.
        due: when it may be delivered, on the clock.
        deliveries: how often it came back.
        failures: how many of these deliveries have failed.
    """

    body: int
    kind: str
    priority: int
    group: str
    closes: bool
    expires: float
    number: int = 0
    state: str = "waiting"
    due: float = 0.0
    holder: Client | None = None
    message: Message | None = None
    deliveries: int = 0
    failures: int = 0

    @property
    def place(self) -> tuple[int, int]:
        """By what a queue orders them."""
        return -self.priority, self.number

    def __repr__(self) -> str:
        group = f" of {self.group}" if self.group else ""
        return f"<{self.body}{group} {self.state} {self.kind}{self.priority}>"


SELECTORS: dict[str, Callable[[Sent], bool]] = {
    "": lambda sent: True,
    "kind = 'a'": lambda sent: sent.kind == "a",
    "kind <> 'a'": lambda sent: sent.kind != "a",
    "JMSPriority >= 4": lambda sent: sent.priority >= 4,
}


class Client(Taker):
    """A consumer that tells the model of what it is given."""

    def __init__(self, model: Model, room: int, terms: Terms, *, auto: bool) -> None:
        super().__init__(room, auto=auto)
        self.model = model
        self.terms = terms
        self.has: list[Sent] = []
        self.here = True
        self.wants = True
        self.active = True

    @property
    def has_credit(self) -> bool:
        """Whether it stands in line."""
        return self.here and self.wants and self.room > 0

    def takes(self, sent: Sent) -> bool:
        """Whether a message is for it."""
        return SELECTORS[self.terms.selector](sent)

    def deliver(self, message: Message) -> bool:
        """Take a message."""
        try:
            self.model.delivered(self, message)
        except RuleError as error:  # a queue would take it for a fault of the consumer
            self.model.broken = self.model.broken or error
            self.model.take(self.model.find(message), self, message)
        more = super().deliver(message)
        self.wants = self.wants and more
        return more

    def activate(self, *, active: bool) -> None:
        """Remember whether it is active; who it is owns all groups anew."""
        self.active = active
        self.model.groups.clear()

    def give_back(self, only: Set[Message] | None = None) -> None:
        """Give back what it holds."""
        self.model.give_back(self, only)

    def holds(self) -> Iterable[Message]:
        """What it has."""
        return [sent.message for sent in self.has if sent.message is not None]

    def __repr__(self) -> str:
        return f"<{self.number} room:{self.room} {self.terms} has:{self.has}>"


# -- schedules ---------------------------------------------------------------------------------


class Shape(NamedTuple):
    """What a schedule is about.

    Attributes:
        stored: whether the queue is on disk, and may be started again.
        groups: how many values of a group there are; 0 = no message has one.
        in_flight: how many messages of a group may be unsettled; 0 = any number.
        selectors: whether consumers have any.
        priorities: whether messages and consumers have any.
        single: whether consumers ask to be the only one.
        most: deliveries that may fail; -1 = any number.
        memory: bytes in memory at which bodies leave it.
    """

    stored: bool = False
    groups: int = 0
    in_flight: int = 0
    selectors: bool = False
    priorities: bool = False
    single: bool = False
    most: int = -1
    memory: int = 1 << 30

    @property
    def policy(self) -> Policy:
        """Of the queue."""
        return Policy(
            match="/queue/q",
            max_deliveries=self.most,
            redelivery_delay=0,
            group_in_flight=self.in_flight,
            single_active_handover=2,
        )


Step = tuple[str, tuple[int, ...]]
"""What is done, and numbers that say to what."""


def shape_of(random: Random) -> Shape:
    """Any shape."""

    def maybe(chance: float) -> bool:
        return random.random() < chance

    groups = random.choice([0, 1, 2, 5]) if maybe(0.7) else 0
    return Shape(
        stored=maybe(0.12),
        groups=groups,
        in_flight=random.choice([0, 1, 2]) if groups else 0,
        selectors=maybe(0.4),
        priorities=maybe(0.4),
        single=maybe(0.2),
        most=random.choice([-1, -1, 1, 3]),
        memory=random.choice([1 << 30, 1 << 30, 2000]),
    )


_WEIGHTS = {
    "publish": 30,
    "several": 5,
    "later": 4,
    "attach": 9,
    "ack": 14,
    "nack": 8,
    "delay": 5,
    "dead": 2,
    "batch": 3,
    "detach": 4,
    "lose": 3,
    "leave": 2,
    "withdraw": 2,
    "resume": 5,
    "wait": 6,
    "long": 1,
    "remove": 1,
    "pause": 1,
    "restart": 2,
}


def schedule_of(random: Random, steps: int) -> list[Step]:
    """A random schedule."""
    kinds = random.choices(list(_WEIGHTS), list(_WEIGHTS.values()), k=steps)
    return [(kind, tuple([random.randrange(60) for _ in range(5)])) for kind in kinds]


# -- the model ---------------------------------------------------------------------------------


@dataclass(eq=False)
class _Group:
    owner: Client | None = None
    idle_since: float | None = None
    doubt: bool = False  # whether nobody can tell whose it is: it was idle for long


@dataclass
class Model:
    """A queue, and what holds for it.

    Attributes:
        shape: what it is about.
        shelf: where it keeps things.
        broken: the first delivery that may not be.
    """

    shape: Shape
    shelf: Shelf
    sent: list[Sent] = field(default_factory=list)
    clients: list[Client] = field(default_factory=list)
    groups: dict[str, _Group] = field(default_factory=dict)
    paused: bool = False
    restarts: int = 0
    broken: RuleError | None = None
    _numbers: int = 0

    def __post_init__(self) -> None:
        self._route()

    def _route(self) -> None:
        mark = self.shape.memory
        self.router: Router = self.shelf.route(self.shape.policy, memory_mark=mark)
        self.router.firing = ScheduledSender(
            self.router, SendRoutes(self.router.directions), "UTC", CatchUp.ONCE
        )

    @property
    def queue(self) -> RestorableQueue:
        """The queue, made anew should nobody have used it for long: then it is not paused."""
        self.paused = self.paused and "q" in self.router.queues
        queue: Queue = self.router.queue("q")
        assert isinstance(queue, RestorableQueue)
        return queue

    @property
    def now(self) -> float:
        """The time."""
        return self.shelf.turns.time.now

    def in_state(self, *states: str) -> list[Sent]:
        """Those messages, in the order in which they came."""
        return [sent for sent in self.sent if sent.state in states]

    # -- what may be ------------------------------------------------------------------------

    def is_over(self, sent: Sent) -> bool:
        """Whether the time of a message is over."""
        return 0 < sent.expires <= self.now - _MOMENT

    def may_be_over(self, sent: Sent) -> bool:
        """Whether it may have ended: at this very moment, say."""
        return 0 < sent.expires <= self.now + _MOMENT

    def of_group(self, sent: Sent, *states: str) -> list[Sent]:
        """Messages of the same group."""
        return [one for one in self.in_state(*states) if one.group == sent.group]

    def may_get(self, sent: Sent, client: Client) -> str:
        """Why a consumer may not be given a message that waits; empty = it may."""
        if sent.state != "waiting":
            return "it does not wait"
        if sent.due > self.now:
            return "it is not due"
        if self.is_over(sent):
            return "its time is over"
        if not client.has_credit:
            return "the consumer has no credit"
        if not client.takes(sent):
            return "the consumer does not take it"
        if self.asks_single() and not client.active:
            return "another consumer is the active one"
        return self._group_forbids(sent, client) if sent.group else ""

    def _group_forbids(self, sent: Sent, client: Client) -> str:
        earlier = [one for one in self.of_group(sent, "waiting") if not self.may_be_over(one)]
        if any(one.number < sent.number for one in earlier):
            return "an earlier one of its group waits"
        held = self.of_group(sent, "held")
        if any(one.holder is not client for one in held):
            return "somebody else is at work on its group"
        if self.shape.in_flight and len(held) >= self.shape.in_flight:
            return "as many of its group are unsettled as may be"
        owner = self.owner_of(sent)
        if owner is not None and owner is not client and owner.takes(sent):
            return "its group belongs to another consumer"
        return ""

    def owner_of(self, sent: Sent) -> Client | None:
        """Who gets the messages of a group, if that is certain."""
        group = self.groups.get(sent.group)
        if group is None or group.owner is None or not group.owner.here or group.doubt:
            return None
        since = group.idle_since
        if since is not None and self.now - since > _SURE_SECONDS:
            return None
        return group.owner

    def is_held_back(self, sent: Sent) -> bool:
        """Whether its group waits: for a message that is delayed, or until nothing is unsettled."""
        if not sent.group:
            return False
        moment = self.now - _MOMENT  # what is due just now may come, or may not yet
        delayed = [one for one in self.of_group(sent, "waiting") if one.due > moment]
        # What is over, or died in a crash, is found when it is looked at, or somebody takes it.
        ended = [one for one in self.of_group(sent, "expired", "dead") if one.due > self.now]
        group = self.groups.get(sent.group)
        if delayed or ended or (group is not None and group.doubt):
            return True
        # What is not for the owner goes when nothing else of the group is unsettled.
        held, owner = self.of_group(sent, "held"), self.owner_of(sent)
        strange = owner is None or not owner.takes(sent)
        return bool(held) and (strange or any(one.holder is not owner for one in held))

    def asks_single(self) -> bool:
        """Whether a consumer asks to be the only one."""
        return any(one.here and one.terms.single_active for one in self.clients)

    def deliverable(self) -> list[tuple[Sent, Client]]:
        """What should be with somebody, and is not."""
        if self.paused:
            return []
        found = []
        for sent in self.in_state("waiting"):
            if self.is_held_back(sent):
                continue
            found += [(sent, one) for one in self.clients if not self.may_get(sent, one)]
        return [pair for pair in found if not self._may_be_forgotten(*pair)]

    def _may_be_forgotten(self, sent: Sent, client: Client) -> bool:
        """Whether its group may still belong to another one: it was idle for long."""
        group = self.groups.get(sent.group)
        owner = None if group is None else group.owner
        return owner is not None and owner.here and owner is not client and owner.takes(sent)

    # -- what is ----------------------------------------------------------------------------

    def delivered(self, client: Client, message: Message) -> None:
        """Hold a delivery to the rules; called when it is made."""
        sent = self.find(message)
        hold(message.body == b"%d" % sent.body, f"{sent} has another body: {message.body!r}")
        if sent.state == "later":
            self.came(sent)
        why = self.may_get(sent, client)
        hold(not why, f"{sent} went to {client}: {why}")
        hold(not self.paused, f"{sent} went to {client}: the queue is paused")
        again = message.redelivery is not None
        hold(again or not sent.deliveries, f"{sent} came again, and does not say so")
        hold(not again or sent.deliveries or self.restarts, f"{sent} says that it came before")
        for other in self.clients:
            first = other.terms.priority > client.terms.priority
            first = first and not self._may_be_forgotten(sent, other)
            if first and not self.asks_single() and not self.may_get(sent, other):
                raise RuleError(f"{sent} went to {client}, and {other} goes first")
        for earlier in self.in_state("waiting"):
            if earlier.place >= sent.place or self.is_held_back(earlier):
                continue
            if 0 <= self.now - earlier.due < _MOMENT or self.may_be_over(earlier):
                continue  # at this very moment it may, or may not yet
            if earlier.group and any(map(self.may_be_over, self.of_group(earlier, "waiting"))):
                continue  # its group goes on when the one that has ended was looked for
            if not self.may_get(earlier, client) and not self._may_be_forgotten(earlier, client):
                raise RuleError(f"{sent} went to {client}, and {earlier} goes first")
        self.take(sent, client, message)

    def find(self, message: Message) -> Sent:
        """Which message it is."""
        return self.sent[number_of(message)]

    def take(self, sent: Sent, client: Client, message: Message) -> None:
        """Have a consumer have a message."""
        if sent.group:
            group = self.groups.setdefault(sent.group, _Group())
            owner, before = self.owner_of(sent), group.owner
            if owner is None and before is not None and before.here and before is not client:
                group.doubt = not before.takes(sent)
            else:
                group.doubt = False
            if owner is None or owner.takes(sent):
                group.owner = client
            group.idle_since = None
            if sent.closes:
                group.owner = None
        if client.auto:
            self._end(sent, "settled")
        else:
            sent.state, sent.holder, sent.message = "held", client, message
            client.has.append(sent)

    def _end(self, sent: Sent, state: str) -> None:
        sent.state, sent.message = state, None
        if state == "expired":
            sent.due = self.now + _LOOK_SECONDS  # it holds its group until it is found
        self._let_go(sent)

    def _let_go(self, sent: Sent) -> None:
        if sent.holder is not None:
            sent.holder.has.remove(sent)
            sent.holder = None
        self._note_idle(sent)

    def _note_idle(self, sent: Sent) -> None:
        group = self.groups.get(sent.group)
        if group is not None and not self.of_group(sent, "waiting", "held"):
            group.idle_since = self.now

    def _back(self, sent: Sent, due: float = 0.0) -> None:
        """Have a message wait again."""
        sent.deliveries += 1
        sent.state, sent.due = "waiting", due
        self._let_go(sent)

    def came(self, sent: Sent) -> None:
        """Have a message come into the queue."""
        self._numbers += 1
        sent.number, sent.state = self._numbers, "waiting"
        hold(sent.due <= self.now, f"{sent} comes before its time")
        group = self.groups.get(sent.group)
        if group is not None and group.idle_since is not None:
            certain = self.now - group.idle_since <= _SURE_SECONDS
            group.idle_since = None if certain else group.idle_since

    def give_back(self, client: Client, only: Set[Message] | None = None) -> None:
        """Have a consumer that stays give back what it holds."""
        back = [one for one in client.has if only is None or one.message in only]
        messages = [one.message for one in back if one.message is not None]
        for one in back:
            if self.is_over(one):
                self._end(one, "expired")
            else:
                self._back(one)
        client.room += len(back)
        self.queue.take_back(client, messages)

    # -- time -------------------------------------------------------------------------------

    def pass_time(self, seconds: float) -> None:
        """Let time pass, by instants at which something may be due."""
        turns = self.shelf.turns
        end = self.now + seconds
        while True:
            times = [one.due for one in self.in_state("later", "waiting")]
            times += [one.expires for one in self.in_state("waiting", "held")]
            # A time is told in milliseconds, so that what is due may come a moment later.
            times += [when + 2 * _TICK for when in times if when]
            step = min([when for when in [*times, end] if when > self.now], default=end)
            turns.time.now = step
            self._meanwhile()
            turns.time.clock.run()
            turns.end()
            self._await_store()
            if step >= end:
                return

    def _meanwhile(self) -> None:
        for sent in self.in_state("waiting"):
            if self.is_over(sent):
                self._end(sent, "expired")
        # Those that fall due together come in the order in which they are due, and were sent.
        for sent in sorted(self.in_state("later"), key=lambda one: (one.due, one.body)):
            if sent.due <= self.now:
                self.came(sent)

    def settle_down(self) -> None:
        """Come to rest: bodies are read, work in steps is done."""
        for _ in range(3):
            self.pass_time(_TICK)
            self._await_store()
        if self.asks_single():
            self.pass_time(_HANDOVER_LOOK)
            self._await_store()

    def _await_store(self) -> None:
        """Wait until the store has written and read what it was asked for."""
        if self.shape.stored:
            self.shelf.sync()
            self.shelf.turns.until(lambda: not self.shelf.store.busy)

    def check(self) -> None:
        """Hold a queue that has come to rest to the rules.

        Raises:
            RuleError: it does not keep to one.
        """
        self.settle_down()
        figures(self.queue)  # what came while nobody waited is looked at when somebody asks
        self.settle_down()
        self._raise_broken()
        told = figures(self.queue)
        found = [number_of(one) for one in browsed(self.queue)]
        wait = self.in_state("waiting")
        # What ended while nobody wanted it goes when somebody does, or a look finds it.
        over = {one.body for one in self.in_state("expired", "dead")}
        sure = [one for one in wait if not self.may_be_over(one)]
        missing = {one.body for one in sure} - set(found)
        hold(not missing, f"lost: {missing} of {wait}")
        more = set(found) - {one.body for one in wait} - over
        hold(not more, f"there are {more} that nobody knows of")
        hold(len(found) == len(set(found)), f"twice: {found}")
        held = self.in_state("held")
        hold(told.unacked == len(held), f"{told.unacked} unacked, and {held} are held")
        count = told.ready + told.delayed
        hold(len(sure) <= count <= len(wait) + len(over), f"{told}, and {wait} wait")
        should = self.deliverable()
        hold(not should, f"waits: {should[:1]}, of {self.clients}")

    # -- steps ------------------------------------------------------------------------------

    def do(self, step: Step) -> None:
        """Carry out a step."""
        kind, numbers = step
        getattr(self, f"do_{kind}")(*numbers)
        self._raise_broken()

    def _raise_broken(self) -> None:
        if self.broken is not None:
            raise self.broken

    def _head(self, sent: Sent) -> MessageHead:
        headers = {"destination": "/queue/q", "kind": sent.kind, "n": str(sent.body)}
        if sent.priority != 4:
            headers["priority"] = str(sent.priority)
        if sent.group:
            headers["JMSXGroupID"] = sent.group
        if sent.closes:
            headers["JMSXGroupSeq"] = "-1"
        if sent.expires:
            headers["expires"] = str(WALL + round(sent.expires * 1000))
        if sent.state == "later":
            headers["x-deliver-at"] = str(WALL + round(sent.due * 1000))
        return MessageHead.from_headers(headers)

    def _new(self, kind: int, priority: int, group: int, life: int) -> Sent:
        shape = self.shape
        urgent = (4, 4, 4, 4, 9, 0)[priority % 6] if shape.priorities else 4
        value, closes = "", False
        if shape.groups and group % 5:
            value, closes = f"g{group % shape.groups}", not group % 7
        lives = (0, 0, 0, 0, 0, 0, 0, 7)[life % 8]
        at = round(self.now * 1000) / 1000
        return Sent(len(self.sent), "ab"[kind % 2], urgent, value, closes, lives and at + lives)

    def _publish(self, sent: Sent) -> None:
        self.sent.append(sent)
        where = _QUEUE if sent.state != "later" else _LATER
        if sent.state != "later":
            self.came(sent)
        self.router.publish(where, self._head(sent), b"%d" % sent.body)

    def do_publish(self, kind: int, priority: int, group: int, life: int, *_: int) -> None:
        """A message comes."""
        self._publish(self._new(kind, priority, group, life))

    def do_several(self, kind: int, priority: int, group: int, life: int, count: int) -> None:
        """A transaction ends: several come in one turn."""
        for more in range(2 + count % 4):
            self._publish(self._new(kind + more, priority, group + more // 2, life))

    def do_later(self, kind: int, priority: int, group: int, _: int, seconds: int) -> None:
        """A message is sent that comes after a while."""
        sent = self._new(kind, priority, group, 0)
        sent.state, sent.due = "later", round(self.now * 1000) / 1000 + 1 + seconds % 9
        self._publish(sent)

    def do_attach(self, room: int, selector: int, priority: int, single: int, auto: int) -> None:
        """A consumer comes."""
        if len([one for one in self.clients if one.here]) >= 4:
            return
        shape = self.shape
        terms = Terms(
            list(SELECTORS)[selector % len(SELECTORS)] if shape.selectors else "",
            priority=priority % 3 - 1 if shape.priorities else 0,
            single_active=shape.single and bool(single % 3),
        )
        client = Client(self, 1 + room % 4, terms, auto=not auto % 6)
        self.clients.append(client)

        def attached(error: ProtocolError | None = None, /) -> None:
            hold(error is None, f"{client} may not take part: {error}")

        self.queue.attach(client, attached)
        self.queue.resume(client)

    def _one(self, which: int) -> Sent | None:
        held = self.in_state("held")
        return held[which % len(held)] if held else None

    def _settle(self, sent: Sent, rejection: Rejection | None) -> None:
        """Settle a delivery, and have its consumer go on."""
        client, message = sent.holder, sent.message
        assert client is not None
        assert message is not None
        self._will_be(sent, rejection)
        self.queue.settle(message, rejection)
        self._has_room(client, 1)

    def _will_be(self, sent: Sent, rejection: Rejection | None) -> None:
        if rejection is None:
            self._end(sent, "settled")
            return
        sent.failures += 1
        if not rejection.requeue or self.shape.policy.exhausted(sent.failures):
            self._end(sent, "dead")
        elif self.is_over(sent):
            self._end(sent, "expired")
        else:
            self._back(sent, self.now + rejection.delay if rejection.delay else 0.0)

    def _has_room(self, client: Client, count: int) -> None:
        client.room += count
        if client.here:
            client.wants = True
            self.queue.resume(client)

    def do_ack(self, which: int, *_: int) -> None:
        """A delivery is accepted."""
        if sent := self._one(which):
            self._settle(sent, None)

    def do_nack(self, which: int, *_: int) -> None:
        """A delivery is rejected, to come again at once."""
        if sent := self._one(which):
            self._settle(sent, Rejection(delay=0))

    def do_delay(self, which: int, seconds: int, *_: int) -> None:
        """A delivery is rejected, to come again after a while."""
        if sent := self._one(which):
            self._settle(sent, Rejection(delay=1 + seconds % 5))

    def do_dead(self, which: int, *_: int) -> None:
        """A delivery is rejected for good."""
        if sent := self._one(which):
            self._settle(sent, Rejection(requeue=False))

    def do_batch(self, which: int, how: int, *_: int) -> None:
        """All that a consumer has is settled together."""
        clients = [one for one in self.clients if one.has]
        if not clients:
            return
        client = clients[which % len(clients)]
        rejection = None if how % 2 else Rejection(delay=0)
        messages = list(client.holds())
        for sent in list(client.has):
            self._will_be(sent, rejection)
        self.queue.settle_many(messages, rejection, None, lambda: None)
        self._has_room(client, len(messages))

    def do_detach(self, which: int, *_: int, lost: bool = False, kept: int = 0) -> None:
        """A consumer goes; what it has comes back, but for the last few."""
        clients = [one for one in self.clients if one.here or one.has]
        if not clients:
            return
        client = clients[which % len(clients)]
        client.here = client.wants = False
        back = list(client.has)[: len(client.has) - kept]
        messages = [one.message for one in back if one.message is not None]
        for at, sent in enumerate(back):
            sent.failures += lost and not at
            if self.shape.policy.exhausted(sent.failures):
                self._end(sent, "dead")
            elif self.is_over(sent):
                self._end(sent, "expired")
            else:
                self._back(sent)
        self.queue.detach(client, messages, lost=lost)

    def do_lose(self, which: int, *_: int) -> None:
        """The connection of a consumer is lost."""
        self.do_detach(which, lost=True)

    def do_leave(self, which: int, kept: int, *_: int) -> None:
        """A consumer goes, and what a transaction has of it stays there."""
        self.do_detach(which, kept=1 + kept % 2)

    def do_withdraw(self, which: int, *_: int) -> None:
        """A consumer wants nothing for now."""
        clients = [one for one in self.clients if one.has_credit]
        if clients:
            client = clients[which % len(clients)]
            client.wants = False
            self.queue.control(Withdraw([client]))

    def do_resume(self, which: int, room: int, *_: int) -> None:
        """A consumer has room for more, or wants something again."""
        clients = [one for one in self.clients if one.here]
        if clients:
            client = clients[which % len(clients)]
            self._has_room(client, room % 3 if client.room else 1 + room % 3)

    def do_wait(self, seconds: int, *_: int) -> None:
        """Time passes."""
        self.pass_time(1 + seconds % 6)

    def do_long(self, *_: int) -> None:
        """So much time passes that idle groups are forgotten."""
        for seconds in (31,) * 5:
            self.pass_time(seconds)

    def do_remove(self, which: int, *_: int) -> None:
        """An operator takes a message out."""
        wait = self.in_state("waiting")
        if wait:
            sent = wait[which % len(wait)]
            found = next(m for m in browsed(self.queue) if number_of(m) == sent.body)
            self._end(sent, "removed")
            self.queue.control(Remove(frozenset((found.sequence,))))

    def do_pause(self, *_: int) -> None:
        """An operator pauses the queue, or lets it go on."""
        self.paused = not self.paused
        self.queue.control(Configure(QueueSettings(paused=self.paused)))

    def do_restart(self, *_: int) -> None:
        """The broker ends and starts again."""
        if not self.shape.stored:
            return
        self.settle_down()
        self.shelf.leave()
        now = self.now
        for client in self.clients:
            for number, sent in enumerate(sorted(client.has, key=lambda one: one.place)):
                # Whoever had it may have died of the first one.
                sent.failures += not number
                sent.deliveries += 1
                over = self.shape.policy.exhausted(sent.failures)
                sent.state, sent.due = ("dead", inf) if over else ("waiting", 0.0)
                sent.holder = sent.message = None
        self.clients.clear()
        self.groups.clear()
        self.restarts += 1
        self.shelf.crash()
        self.shelf.turns.time.now = now
        self._route()


def run(shape: Shape, steps: Iterable[Step], directory: Path | None) -> None:
    """Carry out a schedule, and hold the queue to the rules after each step.

    Raises:
        RuleError: it does not keep to one.
    """
    shelf = Shelf(directory if shape.stored else None)
    try:
        model = Model(shape, shelf)
        for step in steps:
            model.do(step)
            model.check()
        model.do_long()
        model.check()
    finally:
        shelf.close()


def smallest(fails: Callable[[list[Step]], bool], steps: list[Step]) -> list[Step]:
    """Leave out steps of a schedule that fails, as long as it does without them."""
    size = len(steps) // 2
    while size:
        at = 0
        while at < len(steps):
            fewer = steps[:at] + steps[at + size :]
            if fails(fewer):
                steps = fewer
            else:
                at += size
        size //= 2
    return steps
