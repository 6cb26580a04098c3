"""A queue that another broker owns (**hot path**): its verbs become part of a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from stompy.errors import ProtocolError
from stompy_broker.cluster.remote.front import Front
from stompy_broker.cluster.remote.verbs import (
    AdmitVerb,
    Answer,
    BrowseVerb,
    ControlVerb,
    SameFigures,
    StatsVerb,
)
from stompy_broker.message import Message
from stompy_broker.routing.answers import Done, Refused, nobody_asks
from stompy_broker.routing.consumer import Consumer
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.interface import (
    Browse,
    Browsed,
    Expire,
    OfGroups,
    Order,
    Outcome,
    PublishOnce,
    Queue,
    QueueFigures,
    QueueIdentity,
    ShareMemory,
    Withdraw,
)
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.sequences import Sequences
from stompy_broker.routing.settings import NO_SETTINGS

_NOTHING = Browsed([], 0, more=False)


class RemoteQueue(Queue):
    """A queue that another broker owns, or nobody just now.

    Args:
        identity: what is known of it without asking.
        group: which it belongs to.
        front: tells the owner.
    """

    def __init__(self, identity: QueueIdentity, group: QueueGroup, front: Front) -> None:
        self._identity = identity
        self._group = group
        self._front = front
        self._full = Watermark(0)
        self._figures: QueueFigures | None = None
        self._name = identity.name
        self._is_stored = identity.policy.persistent
        front.queues[identity.name] = self

    @property
    def name(self) -> str:
        """Of the queue, without prefix."""
        return self._name

    @property
    def group(self) -> QueueGroup:
        """What it has in common with other queues."""
        return self._group

    @property
    def sequences(self) -> Sequences:
        """Numbers that nobody sees: the owner gives them."""
        return self._group.sequences

    @property
    def unshared(self) -> bool:
        """Whether its messages must be its own."""
        return not self.private or bool(self.policy.message_ttl)

    @property
    def is_stored(self) -> bool:
        """Whether persistent messages in it survive."""
        return self._is_stored

    @property
    def watermark(self) -> Watermark | None:
        """What makes senders wait: the owner, or that much is not safe yet."""
        return self._full if self._full.full else self._front.watermark

    @property
    def delivered(self) -> int:
        """Nobody counts that here."""
        return 0

    def make_wait(self, used: int, high: int) -> None:
        """Have who sends wait, as the owner says; 0 = there is room."""
        full = self._full
        full.used, full.high = used, high or full.high
        if used:
            full.went_over()
        elif full.full:
            full.went_under()

    # -- the verbs --------------------------------------------------------------------------

    def publish(
        self, message: Message, done: Done | None = None, refused: Refused | None = None
    ) -> None:
        """Tell the owner; what is refused is told later."""
        full = self._full
        if full.full:
            full.used += message.size
        self._front.publish(self._name, self._is_stored, message, done, refused)

    def admit(self, count: int, before: int, done: Done) -> None:
        """Ask the owner, and pass the answer on."""
        self._front.ask(AdmitVerb(self.name, count, before), partial(_pass_on, done))

    def attach(self, consumer: Consumer, done: Done | None = None) -> None:
        """Ask the owner to let a consumer take part."""
        self._front.consumers.attach(self, consumer, done)

    def detach(
        self,
        consumer: Consumer,
        unsettled: Iterable[Message] = (),
        *,
        lost: bool = False,
        done: Done | None = None,
    ) -> None:
        """Tell the owner that a consumer has gone, and what comes back."""
        self._front.consumers.detach(self, consumer, unsettled, lost=lost, done=done)

    def resume(self, consumer: Consumer) -> None:
        """Go on: a consumer has room again."""
        self._front.consumers.resume(consumer)

    def settle(
        self, message: Message, rejection: Rejection | None = None, done: Done | None = None
    ) -> None:
        """Tell the owner how a delivery has ended."""
        self._front.settle(self, (message,), rejection, done)

    def settle_many(
        self,
        messages: Iterable[Message],
        rejection: Rejection | None,
        done: Done | None,
        then: Callable[[], None],
    ) -> None:
        """Tell the owner how many deliveries have ended, and go on."""
        some = messages if isinstance(messages, list) else list(messages)
        if some:
            self._front.settle(self, some, rejection, done)
        then()

    def stats(
        self, done: Callable[[QueueFigures], None], known: QueueFigures | None = None
    ) -> None:
        """Ask the owner; while there is none, give what was known last."""
        if self._front.visiting is None:
            figures = self._figures or _no_figures(self._front.now())
            done(known if known == figures and known is not None else figures)
            return
        same = known is not None and known is self._figures
        self._front.ask(StatsVerb(self.name, same), partial(self._counted, done, known))

    def _counted(
        self, done: Callable[[QueueFigures], None], known: QueueFigures | None, answer: Answer
    ) -> None:
        if isinstance(answer, QueueFigures):
            self._figures = answer
            done(answer)
        elif isinstance(answer, SameFigures) and known is not None:
            done(known)
        else:
            done(self._figures or _no_figures(self._front.now()))

    def browse(self, wanted: Browse, done: Callable[[Browsed], None]) -> None:
        """Ask the owner, and pass the answer on."""
        if wanted.groups:
            done(_NOTHING)  # those that are asked about them are asked at the owner
            return

        def take(answer: Answer) -> None:
            done(answer if isinstance(answer, Browsed) else _NOTHING)

        self._front.ask(BrowseVerb(self.name, wanted), take)

    def control(self, order: Order, done: Callable[[Outcome], None] | None = None) -> None:
        """Have the owner carry out an order."""
        if isinstance(order, PublishOnce):
            full = self._full
            if full.full:
                full.used += order.message.size
            taken = partial(_give, done or nobody_asks)
            self._front.publish_once(self._name, self._is_stored, order, taken)
            return
        if isinstance(order, ShareMemory | OfGroups):
            (done or nobody_asks)(0)  # what it sends on it does not keep
            return
        if isinstance(order, Withdraw):
            self._front.consumers.withdraw(order.consumers)
            return
        if isinstance(order, Expire):
            self._front.expire(self, order.message)
            return
        self._front.ask(ControlVerb(self.name, order), partial(_give, done or nobody_asks))

    def __repr__(self) -> str:
        """Its name."""
        return f"<RemoteQueue {self.destination}>"


def _pass_on(done: Done, answer: Answer) -> None:
    if isinstance(answer, ProtocolError):
        done(answer)
    else:
        done()


def _give(done: Callable[[Outcome], None], answer: Answer) -> None:
    done(answer if isinstance(answer, int | ProtocolError) else 0)


def _no_figures(now: float) -> QueueFigures:
    """Those of a queue of which nothing is known."""
    zeros = [0] * (len(QueueFigures._fields) - 1)
    nothing = QueueFigures(NO_SETTINGS, *zeros)  # type: ignore[arg-type]
    return nothing._replace(
        in_use=True, full=False, lines=(), idle_since=now, oldest_at=None, newest_at=None
    )
