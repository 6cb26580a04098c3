"""A SEND that is to come later: where it waits until then, and how it is sent when it is due."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from stompy.errors import ErrorCode, ProtocolError
from stompy.protocol.header_cache import Head
from stompy_broker.destinations.names import (
    Destination,
    DestinationKind,
    is_address,
    schedules_of,
)
from stompy_broker.message import MessageHead
from stompy_broker.routing.answers import Done, Refused
from stompy_broker.routing.fired_heads import without_schedule
from stompy_broker.routing.firing import Firing
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.interface import Outcome, Unschedule
from stompy_broker.routing.router import Router
from stompy_broker.schedules.headers import SCHEDULE_HEADERS, read_schedule
from stompy_broker.schedules.schedule_spec import CatchUp, ScheduleSpec
from stompy_broker.session.receipts import Receipts
from stompy_broker.session.send_routes import Route, SendRoutes
from stompy_broker.session.spread_send import SpreadSend, publish_spread

_LASTING: Final = (DestinationKind.QUEUE, DestinationKind.TOPIC)


class ScheduledSend:
    """What a header block of SEND says of its time, and where its messages wait until then.

    Args:
        spec: when they are to come.
        route: where to.
        header: one of the headers that say so.

    Attributes:
        spec: when they are to come.
        waits_in: the queue in which they wait.
    """

    __slots__ = ("_bare", "_header", "_of", "_route", "spec", "waits_in")

    def __init__(self, spec: ScheduleSpec, route: Route, header: str) -> None:
        self.spec = spec
        self._route = route
        self._header = header
        self._of: MessageHead | None = None
        self._bare: MessageHead | None = None
        texts = [str(part.destination) for part in route.parts or (route,)]
        self.waits_in = Destination(
            DestinationKind.QUEUE, schedules_of(",".join(texts)), is_pattern=False
        )

    def turn(
        self, router: Router, destination: Destination, head: MessageHead
    ) -> tuple[Destination, MessageHead]:
        """Where a message goes now, and as what: where it waits as it is, or there at once.

        Args:
            router: where to.
            destination: where it is to come.
            head: its headers.

        Raises:
            ProtocolError: its destination takes nothing for later, or is no stream.
        """
        self.check(router)
        spec, now = self.spec, router.wall()
        if spec.recurs or spec.name or spec.cancel or spec.first_due(now) > now:
            for part in self._route.parts:
                if part.destination.stream:
                    # The name of the queue in which it waits does not say so.
                    router.registry.stream(part.destination)
            return self.waits_in, head
        if self._bare is None or self._of is not head:
            self._of, self._bare = head, without_schedule(head)
        return destination, self._bare

    def check(self, router: Router) -> None:
        """See that its destinations may be sent to for later.

        Raises:
            ProtocolError: the policy of one of them says no.
        """
        waiting = router.queues.get(self.waits_in.name)
        if waiting is not None and not self._route.parts:
            policies = [waiting.policy]
        else:
            parts = [part.destination for part in self._route.parts or (self._route,)]
            policies = [router.policies.find(part.kind, part.name) for part in parts]
        if any(policy.schedule == "deny" for policy in policies):
            raise ProtocolError(
                ErrorCode.NOT_SUPPORTED,
                f"{self._route.text[:200]!r} takes nothing for later (header {self._header!r}): "
                'schedule = "deny" in its [[policy]]',
            )


def cancel_schedule(
    router: Router, later: ScheduledSend, receipts: Receipts, receipt: str | None, head: Head
) -> None:
    """End the schedule of a name; the receipt says whether there was one.

    Args:
        router: where it waits.
        later: what the SEND says, with the name.
        receipts: of the client.
        receipt: that is wanted; None = none.
        head: the frame.

    Raises:
        ProtocolError: its destination takes nothing for later.
    """
    later.check(router)
    told = {"cancelled": "false"}
    done = receipts.if_refused(head)
    if receipt is not None:
        done = receipts.when_told(receipt, told, head)
    name, registry = later.waits_in.name, router.registry
    if not registry.has_queue(name):
        done()
        return
    queue = registry.queue(name, capped=False)

    def answered(outcome: Outcome) -> None:
        if isinstance(outcome, ProtocolError):
            done(outcome)
            return
        if outcome:
            told["cancelled"] = "true"
        queue.group.sync(done)

    queue.control(Unschedule(later.spec.name), answered)


def read_scheduled(headers: Mapping[str, str], route: Route) -> ScheduledSend | None:
    """Read what a SEND says of its time; None = nothing.

    Raises:
        ProtocolError: it makes no sense, or its destination ends with a connection.
    """
    spec = read_schedule(headers)
    if spec is None:
        return None
    header = next(name for name in headers if name in SCHEDULE_HEADERS)
    for part in route.parts or (route,):
        if part.commands or part.destination.kind not in _LASTING or is_address(part.destination):
            raise ProtocolError(
                ErrorCode.NOT_SUPPORTED,
                f"header {header!r}: nothing is sent to {part.text[:200]!r} for later, because it "
                "ends with a connection, or is the broker itself",
            )
    return ScheduledSend(spec, route, header)


class ScheduledSender(Firing):
    """Sends what is due, for the broker itself.

    Args:
        router: where to.
        routes: of all clients.
        zone: by whose clock a cron expression is meant that names no time zone.
        catch_up: what becomes of what fell due again and again while no broker was there.
    """

    def __init__(
        self,
        router: Router,
        routes: SendRoutes,
        zone: str = "UTC",
        catch_up: CatchUp = CatchUp.ONCE,
    ) -> None:
        super().__init__(zone, catch_up)
        self._router = router
        self._routes = routes

    def fire(
        self,
        origin: str,
        group: QueueGroup,
        head: MessageHead,
        body: bytes,
        refused: Refused,
        depart: Callable[[], Done],
    ) -> bool:
        """Publish a message that is due; see `Firing.fire`.

        Raises:
            ProtocolError: it is refused at once.
        """
        router = self._router
        route = self._routes.find(origin.encode())
        if route.distribution is not None:
            spread = SpreadSend(router, route.distribution, head, body)
            if router.groups.together is None:
                publish_spread(router, spread, _unless_safe(refused))
                return True
            publish_spread(router, spread, depart())
            return False
        if router.leave_together(group, route.destination):
            router.publish(route.destination, head, body, None, refused)
            return True
        done = depart()
        router.publish(route.destination, head, body, done, done)
        return False


def _unless_safe(refused: Refused) -> Done:
    def done(error: ProtocolError | None = None, /) -> None:
        if error is not None:
            refused(error)

    return done
