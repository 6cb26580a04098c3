"""The command that says where a message would go, and why. It changes nothing.

Consumers and subscriptions are told of by their rows, of all brokers of a cluster. What a queue or
backlog would make of the message comes from the rules that it goes by: it is not asked to take one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from stompy.admin.explanation import Recipient, RouteExplanation
from stompy.admin.rows import Role
from stompy.errors import ProtocolError
from stompy_broker.admin.commands.base import Argument, Call, Command, CommandContext, Result, bad
from stompy_broker.admin.commands.content import read_headers
from stompy_broker.admin.commands.recipients import Recipients
from stompy_broker.admin.tasks import Steps
from stompy_broker.dedup_headers import DEBOUNCE, QUEUED, DuplicateId, read_duplicate_id
from stompy_broker.destinations.names import (
    RESERVED,
    Destination,
    DestinationKind,
    parts_of,
    sendable,
)
from stompy_broker.message import Message, MessageHead, stamp
from stompy_broker.security.access import Action
from stompy_broker.security.auth import ANONYMOUS, Principal
from stompy_broker.session.greeting import why_producers_wait
from stompy_broker.session.requests import asks_for_answer, milliseconds_in
from stompy_broker.session.unusual_sends import check_unusual

_LARGEST = 1 << 40


class ExplainCommands:
    """The command that says where a message would go, and why.

    Args:
        context: what it has to do with.
    """

    def __init__(self, context: CommandContext) -> None:
        self._context = context

    def table(self) -> list[Command]:
        """Give the rows of these commands."""
        return [
            Command(
                "route.explain",
                Role.MONITOR,
                "Say where a message would go, who would get it and who not, and why. Nothing is "
                "sent.",
                self._explain,
                (
                    Argument("destination", "text", "of the SEND", required=True),
                    Argument("headers", "object", "of the SEND"),
                    Argument("body_bytes", "number", "size of the body", default=0, most=_LARGEST),
                    Argument("user", "text", "who would send it; you, if left out"),
                ),
            )
        ]

    def _explain(self, call: Call) -> Steps[Result]:
        return (yield from self.explain(call)).to_json()

    def explain(self, call: Call) -> Steps[RouteExplanation]:
        """Say where a message would go.

        Raises:
            CommandError: no SEND may go there.
        """
        args = call.args
        headers, sender = read_headers(args["headers"]), self._sender(call)
        try:
            resolve = self._context.router.directions.resolve
            parts = [(part, resolve(sendable(part))) for part in parts_of(args["destination"])]
        except ProtocolError as error:
            raise bad(error.Message) from None
        found: list[RouteExplanation] = []
        for text, destination in parts:
            reserved = destination.name.startswith(RESERVED) and not destination.of_exchange
            if destination.kind not in _EXPLAINED or reserved:
                raise bad(f"{text[:200]!r} is no queue or topic that everybody may send to")
            found += [(yield from self._part(call, text, destination, headers, sender))]
        answer = found[0] if len(found) == 1 else _together(args["destination"], found)
        return _as_request(answer, headers)

    def _sender(self, call: Call) -> Principal:
        own, name = call.principal or Principal(ANONYMOUS), call.args["user"]
        # Of another user nothing is known but the name; rules go by it where names are proved.
        return own if name in (None, own.name) else Principal(name, proved=own.proved)

    def _quota_used_up(self, sender: Principal) -> str:
        """Say which quota the user has used up, if it has to wait for that, or is refused."""
        quotas = self._context.quotas()
        return "" if quotas is None else quotas.used_up(sender)

    def _part(
        self,
        call: Call,
        text: str,
        destination: Destination,
        headers: dict[str, str],
        sender: Principal,
    ) -> Steps[RouteExplanation]:
        """Explain one destination of those that a SEND names."""
        context = self._context
        decision = context.access.decide(sender, Action.SEND, destination)
        answer = RouteExplanation(
            destination=str(destination),
            user=sender.name,
            allowed=decision.allowed,
            acl=context.access.describe(decision),
            waits=why_producers_wait(context.router) or self._quota_used_up(sender),
        )
        try:
            # As a SEND would be read.
            head = MessageHead.from_client({**headers, "destination": text})
            context.router.caps.check_headers(head.block)
            foreign = context.foreign_headers()
            is_stream = context.router.registry.means_stream(destination, headers)
            refusal = (
                None
                if foreign is None
                else foreign.refusal("SEND", headers, destination, is_stream=is_stream)
            )
            if refusal is not None:
                raise refusal
            self._check_queue(destination, headers, head)
            once = read_duplicate_id(headers)
        except ProtocolError as error:
            return replace(answer, refused=error.Message)
        message = Message(0, head, None, stamp(context.router.wall()))
        message.size += call.args["body_bytes"]
        refused = "" if decision.allowed else f"not allowed by {answer.acl}"
        waits, some = answer.waits, self._ways(call, destination, message)
        for place, copy in self._places(destination, message):
            recipients = Recipients(context, call, copy)
            some += self._named(destination, place, (yield from recipients.of(place)))
            refused = refused or recipients.refused
            waits = waits or recipients.waits
        refused = refused or self._creation(sender, destination)
        duplicate = "" if once is None or refused else self._duplicate(destination, once)
        if refused or duplicate:
            some = [replace(one, gets=False, next=()) for one in some]
        told = replace(answer, recipients=tuple(some), refused=refused, waits=waits)
        return replace(told, duplicate=duplicate)

    def _duplicate(self, destination: Destination, once: DuplicateId) -> str:
        """Say what a message would be a duplicate of, as far as this broker knows."""
        router = self._context.router
        ids = router.duplicates.find(f"{destination.kind.value}{destination.name}")
        if ids is None or once.mode == DEBOUNCE:
            return ""
        if once.mode == QUEUED:
            earlier = ids.queued.get(once.value, 0)
        else:
            earlier = ids.find(once.value, router.wall())
        return str(ids.shown.get(earlier, earlier)) if earlier else ""

    def _check_queue(
        self, destination: Destination, headers: Mapping[str, str], head: MessageHead
    ) -> None:
        """Check what a queue has to be, and what its messages may say.

        Raises:
            ProtocolError: it is something else.
        """
        router = self._context.router
        if destination.kind is DestinationKind.QUEUE:
            queue = router.queues.get(destination.name)
            if queue is not None:
                router.registry.arguments.check_type(queue, destination.setting_up(headers))
        if head.traits.unusual:
            check_unusual(head.traits, headers, [destination], router)

    def _places(
        self, destination: Destination, message: Message
    ) -> list[tuple[Destination, Message]]:
        """Where a message goes that is sent to a destination, and as what."""
        distribution = self._context.router.directions.distribution(destination)
        if distribution is None:
            return [(destination, message)]
        places = []
        for place, head in distribution.parts(message):
            copy = Message(message.sequence, head, None, message.stamp)
            copy.size = message.size - len(message.head.block) + len(head.block)
            places.append((place, copy))
        return places

    def _ways(self, call: Call, destination: Destination, message: Message) -> list[Recipient]:
        """Say which routes take a message from its destination."""
        routes = self._context.router.directions.routes
        found = []
        for number in routes.at(destination):
            route = routes[number]
            why = Recipients(self._context, call, message).selected(route.selector)
            one = Recipient(
                kind="route", name=f"route.{number}", gets=not why, why=(str(route), *why)
            )
            found.append(one)
        return found

    def _named(
        self, destination: Destination, place: Destination, some: list[Recipient]
    ) -> list[Recipient]:
        """Say of queues of a virtual topic, and of exchanges, that they are."""
        names = self._context.router.directions.virtual_queues.names
        is_copy = place.kind is DestinationKind.QUEUE and place != destination
        if is_copy and names.topics_of(place.name) is not None:
            return [replace(one, kind="virtual") for one in some]
        if not place.of_exchange:
            return some
        return [
            replace(one, kind="exchange", name=str(place)) if one.kind == "topic" else one
            for one in some
        ]

    def _creation(self, sender: Principal, destination: Destination) -> str:
        """Say why a queue that is not there yet may not be made."""
        context = self._context
        if destination.kind is not DestinationKind.QUEUE or context.router.registry.has_queue(
            destination.name
        ):
            return ""
        decision = context.access.decide(sender, Action.CREATE, destination)
        if decision.allowed:
            return ""
        by = context.access.describe(decision)
        return f"there is no such queue, and {sender.name} may not make one: {by}"


def _as_request(answer: RouteExplanation, headers: Mapping[str, str]) -> RouteExplanation:
    """Say what the broker would answer, if it is a request that it answers."""
    if answer.refused or not asks_for_answer(headers):
        return answer
    try:
        milliseconds = milliseconds_in(headers)
    except ProtocolError as error:
        gone = tuple([replace(one, gets=False, next=()) for one in answer.recipients])
        return replace(answer, refused=error.Message, recipients=gone)
    if any(map(_listens, answer.recipients)):
        words = f"answered with reply-status:timeout after {milliseconds} ms, unless somebody does"
        return replace(answer, request=words)
    gone = tuple([replace(one, gets=False, next=()) for one in answer.recipients])
    words = "answered at once with reply-status:no-consumers; it goes nowhere"
    return replace(answer, request=words, recipients=gone)


def _listens(one: Recipient) -> bool:
    """Whether somebody takes part there who would take it, with or without credit."""
    if one.kind == "subscription":
        return one.gets
    takers = [each for each in one.consumers if not "".join(each.why).startswith("selector: ")]
    return bool(takers)


_EXPLAINED = (DestinationKind.QUEUE, DestinationKind.TOPIC)


def _together(text: str, found: list[RouteExplanation]) -> RouteExplanation:
    """One SEND to several destinations: all of them, or none."""
    refusals = [f"{one.destination}: {one.refused}" for one in found if one.refused]
    recipients: list[Recipient] = [recipient for one in found for recipient in one.recipients]
    if refusals:
        recipients = [replace(one, gets=False, next=()) for one in recipients]
    return RouteExplanation(
        destination=text,
        user=found[0].user,
        allowed=all(one.allowed for one in found),
        acl="; ".join(dict.fromkeys(f"{one.destination}: {one.acl}" for one in found)),
        refused="; ".join(refusals),
        waits=next((one.waits for one in found if one.waits), ""),
        duplicate=", ".join([one.duplicate for one in found if one.duplicate]),
        recipients=tuple(recipients),
    )
