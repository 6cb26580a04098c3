"""Parts of a broker without I/O and with a time that the test turns."""

from __future__ import annotations

from itertools import count

from stompy.errors import ProtocolError
from stompy_broker.destinations.policy import Policies, Policy
from stompy_broker.message import Message, MessageHead, stamp
from stompy_broker.routing.consumer import Consumer
from stompy_broker.routing.directions import Directions
from stompy_broker.routing.durable import DurableSubscription
from stompy_broker.routing.interface import Browse, Browsed, Queue, QueueFigures
from stompy_broker.routing.router import Router
from stompy_broker.routing.terms import PLAIN, Terms
from stompy_broker.routing.virtual_queues import VirtualQueues
from stompy_broker.store.interface import MessageStore
from stompy_broker.store.memory import MemoryStore
from stompy_broker.timers import Clock

WALL = 1_700_000_000_000


class Time:
    """A clock's time, turned by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.clock = Clock(lambda: self.now, lambda when: None)

    def advance(self, seconds: float) -> None:
        """Let time pass, and ring what became due."""
        self.now += seconds
        self.clock.run()


class Taker(Consumer):
    """A consumer that takes as many messages as it has room for."""

    _numbers = count(1)

    def __init__(self, room: int, *, auto: bool = False, selector: str = "") -> None:
        self.number = next(self._numbers)
        self.auto = auto
        self.waiting = False
        self.prefetch = 0 if auto else room
        self.terms = Terms(selector) if selector else PLAIN
        self.room = room
        self.taken: list[Message] = []
        self.failures: list[ProtocolError] = []

    def deliver(self, message: Message) -> bool:
        """Take a message."""
        assert self.room > 0, "delivered without room"
        self.room -= 1
        self.taken.append(message)
        return self.room > 0

    def fail(self, reason: ProtocolError) -> None:
        """Remember that the queue gave up."""
        self.failures.append(reason)


def make_router(
    time: Time,
    *policies: Policy,
    memory_mark: int = 1 << 30,
    disk_mark: int = 0,
    idle: float = 300.0,
    store: MessageStore | None = None,
) -> Router:
    """A router, in memory unless a store is given."""
    return Router(
        time.clock,
        lambda: WALL + int(time.now * 1000),
        [store or MemoryStore()],
        Policies(policies),
        memory_mark=memory_mark,
        disk_mark=disk_mark,
        idle_queue_seconds=idle,
    )


def make_directions(*queues: str) -> Directions:
    """Directions of a broker without configuration, which has these queues."""
    known = VirtualQueues(queues.__contains__)
    for queue in queues:
        known.appeared(queue)
    return Directions(known)


def make_head(destination: str = "/queue/q", **headers: str) -> MessageHead:
    """The head of a SEND to a destination."""
    return MessageHead.from_headers({"destination": destination, **headers})


def make_message(sequence: int, body: bytes = b"body", **headers: str) -> Message:
    """A message that was just received."""
    return Message(sequence, make_head(**headers), body, stamp(WALL))


def figures(queue: Queue) -> QueueFigures:
    """The figures of a queue that answers at once."""
    found: list[QueueFigures] = []
    queue.stats(found.append)
    return found[0]


def browsed(queue: Queue) -> list[Message]:
    """What waits in a queue that answers at once, next one first, and then what is delayed."""
    found: list[Browsed] = []
    queue.browse(Browse(), found.append)
    return found[0].messages


def take_part(queue: Queue, taker: Consumer) -> None:
    """Let a consumer take part, and take messages.

    Raises:
        ProtocolError: the queue refuses it.
    """
    queue.attach(taker, raise_refusal)
    queue.resume(taker)


def raise_refusal(error: ProtocolError | None = None, /) -> None:
    """Take the answer of a queue that answers at once, and raise it if it refuses."""
    if error is not None:
        raise error


def backlog_of(router: Router, wanted: DurableSubscription) -> Queue:
    """The backlog of a durable subscription, made if need be, of queues that answer at once.

    Raises:
        ProtocolError: there cannot be one.
    """
    found: list[Queue | ProtocolError] = []
    router.registry.durable.subscribe(wanted, found.append)
    (backlog,) = found
    if isinstance(backlog, ProtocolError):
        raise backlog
    return backlog
