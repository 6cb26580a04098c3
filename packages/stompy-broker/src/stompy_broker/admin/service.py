"""The staffed desk: clients come and go, observe, and give commands."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from stompy.admin.rows import Event
from stompy_broker.admin.commands.base import Command, Commands, Rooms
from stompy_broker.admin.commands.clients import CLOSED_KEPT, ClientCommands, Frame
from stompy_broker.admin.commands.messages import MessageCommands
from stompy_broker.admin.commands.queues import QueueCommands
from stompy_broker.admin.publisher import Publisher
from stompy_broker.admin.snapshots.broker import Census, Tally
from stompy_broker.admin.streams import Identity, Writer
from stompy_broker.session.context import Answer, BrokerContext, Client, Desk
from stompy_broker.session.session import Session
from stompy_broker.session.subscription import Subscription
from stompy_broker.session.sys_subscription import Observation, Wanted

Soon = Callable[[Callable[[], None]], object]


class StaffedDesk(Desk):
    """Keeps the register of who is there, and knows whom to ask.

    Args:
        identity: who the broker is.
        context: where clients come in.
        census: knows everything.
        register: who is logged in, by key; kept here.
        tally: what is counted here.
        soon: calls a function at the next turn of the event loop.
        cpu: gives the processor time of this thread, in seconds.
    """

    def __init__(
        self,
        identity: Identity,
        context: BrokerContext,
        census: Census,
        register: dict[str, Session],
        tally: Tally,
        soon: Soon,
        cpu: Callable[[], float],
    ) -> None:
        clock, events = context.clock, context.router.events
        writer = Writer(identity, lambda: census.up_ms)
        self._events = events
        self._wall = context.router.wall
        self._tally = tally
        self._sessions = register
        self._publisher = Publisher(census, events, writer, clock, soon, cpu)
        self._closed: deque[dict[str, object]] = deque(maxlen=CLOSED_KEPT)
        rooms = Rooms(context.router, register, census, events, clock, context.access)
        frame = Frame(context, identity, self._publisher, writer, self._closed, lambda: self._table)
        self._table = command_table(rooms, frame)
        self._commands = Commands(self._table, rooms, soon, cpu)

    def close(self) -> None:
        """Make no more snapshots."""
        self._publisher.close()

    # -- who comes and goes -------------------------------------------------------------------

    def arrived(self, guest: Client) -> None:
        """A client has logged in."""
        assert isinstance(guest, Session)
        self._sessions[guest.key] = guest
        self._tally.connections += 1
        self._tell("connection.opened", guest, detail=_about(guest))

    def turned_away(self, guest: Client, login: str, reason: str) -> None:
        """A client could not log in."""
        self._tally.auth_failures += 1
        event = Event(
            type="auth.failed",
            severity="warn",
            user=login[:200],
            reason=reason,
            detail={"peer": guest.peer.address},
        )
        self._events.refuse(event)

    def denied(self, guest: Client, destination: str, reason: str) -> None:
        """A client may not do what it wanted with a destination."""
        event = Event(
            type="auth.denied",
            severity="warn",
            connection=guest.key,
            user=_user(guest),
            destination=destination[:200],
            reason=reason,
        )
        self._events.refuse(event)

    def left(self, guest: Client, why: str) -> None:
        """A client that had logged in is gone."""
        assert isinstance(guest, Session)
        self._sessions.pop(guest.key, None)
        self._tally.leave(guest)
        self._commands.leave(guest)
        self._tell("connection.closed", guest, reason=why, detail=_about(guest))
        kept: dict[str, object] = {"id": guest.key, "user": _user(guest), "reason": why}
        self._closed.append({**kept, **_about(guest), "at": self._wall()})

    def blocked(self, guest: Client, blocked: bool) -> None:
        """A client has to wait before it may send more, or may go on."""
        if blocked:
            self._tell("connection.blocked", guest, severity="warn")
        else:
            self._tell("connection.unblocked", guest)

    def subscribed(self, guest: Client, subscription: Subscription) -> None:
        """A client has a new subscription."""
        self._tell_subscription("subscription.created", guest, subscription)

    def unsubscribed(self, guest: Client, subscription: Subscription) -> None:
        """A subscription of a client ends."""
        self._tell_subscription("subscription.closed", guest, subscription)

    def transacted(self, guest: Client, action: str, transaction_id: str) -> None:
        """A client began, committed or aborted a transaction."""
        if "transaction" in self._events.detailed:
            self._tell(f"transaction.{action}", guest, detail={"transaction": transaction_id})

    def _tell_subscription(self, what: str, guest: Client, subscription: Subscription) -> None:
        self._tell(
            what,
            guest,
            destination=subscription.queue.destination,
            subscription=f"s-{subscription.number}",
        )

    def _tell(
        self,
        what: str,
        guest: Client,
        *,
        severity: str = "info",
        destination: str = "",
        subscription: str = "",
        reason: str = "",
        detail: dict[str, object] | None = None,
    ) -> None:
        event = Event(
            type=what,
            severity=severity,
            connection=guest.key,
            user=_user(guest),
            destination=destination,
            subscription=subscription,
            reason=reason,
            detail=detail,
        )
        self._events.tell(event)

    # -- what is wanted -----------------------------------------------------------------------

    def observe(
        self, observation: Observation, streams: Sequence[Wanted], events: str | None
    ) -> None:
        """Begin to offer these streams, and the events that match a pattern."""
        self._publisher.observe(observation, streams, events)

    def forget(self, observation: Observation) -> None:
        """Offer it nothing more."""
        self._publisher.forget(observation)
        self._tally.watched_msgs += observation.written
        self._tally.watched_bytes += observation.octets
        self._tally.watched_dropped += observation.dropped

    def command(self, guest: Client, body: bytes, answer: Answer | None, problem: str) -> None:
        """Carry out a command."""
        self._tally.commands += 1
        self._commands.execute(guest, body, answer, problem)


def command_table(rooms: Rooms, frame: Frame) -> list[Command]:
    """All commands there are."""
    return [
        *ClientCommands(rooms, frame).table(),
        *QueueCommands(rooms).table(),
        *MessageCommands(rooms).table(),
    ]


def _user(guest: Client) -> str:
    return guest.principal.name if guest.principal is not None else ""


def _about(guest: Client) -> dict[str, object]:
    return {
        "peer": guest.peer.address,
        "client_id": guest.client_id or "",
        "listener": guest.peer.listener,
    }
