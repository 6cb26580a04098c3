"""Commands about the messages that wait in a queue.

Looking changes nothing. Moving is one change in the store for each batch: a message is in the one
queue or in the other, whenever the broker may end. Between two batches other work goes on, and
what was consumed meanwhile is not moved.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

from stompy.admin.command import Request
from stompy.admin.rows import Role
from stompy.errors import ProtocolError
from stompy_broker.admin.asking import agreed, ask, order
from stompy_broker.admin.commands.base import (
    Addressee,
    Argument,
    Call,
    Command,
    CommandContext,
    Result,
    at_owner,
    bad,
    conflict,
    not_found,
)
from stompy_broker.admin.commands.groups import MOST_GROUPS, Groups, counted
from stompy_broker.admin.commands.queues import QUEUE, UP_TO
from stompy_broker.admin.commands.selection import (
    ALIASES,
    as_json,
    last_of,
    read_header,
    select,
)
from stompy_broker.admin.tasks import Steps
from stompy_broker.destinations.names import Destination, DestinationKind, sendable
from stompy_broker.message import Message, MessageHead
from stompy_broker.routing.interface import (
    Browse,
    Browsed,
    Move,
    Order,
    Queue,
    Remove,
    Transfer,
)
from stompy_broker.routing.selection import first_bytes
from stompy_broker.security.access import Action
from stompy_broker.session.subscription import AckSubscription

MOST_MOVED = 100_000
MOST_SHOWN = 1000
MOST_SENT = 1000
BATCH_MESSAGES, BATCH_BYTES = 500, 8 * 1024 * 1024
SHOWN_BYTES = 16 * 1024 * 1024
"""An answer with messages is not larger than about this."""

_IDS = Argument("ids", "list", "message-ids; all if left out")
_HEADERS = Argument(
    "headers",
    "object",
    f"headers and their values, null = not there; short names: {', '.join(ALIASES)}",
)
_LIMIT = Argument("limit", "number", "messages at most", default=MOST_MOVED, most=MOST_MOVED)
_PICKING = (QUEUE, _IDS, _HEADERS, UP_TO, _LIMIT)
_TO = Argument("to", "text", "where to: a queue or topic", required=True, names="destination")
_MOST_BYTES = Argument("max_bytes", "number", "of a body", default=4096, most=SHOWN_BYTES)

_BROWSE = (Action.BROWSE,)

_OF_A_DEATH = frozenset(
    (
        "x-last-death-queue",
        "x-last-death-reason",
        "x-death-count",
        "x-death-time",
        "x-death-info",
        "original-destination",
        "original-subscription",
        "original-ttl",
        "original-expires",
        "original-expiration",
    )
)
"""Headers that a message loses when it is tried again."""

_LONGEST_COUNT = 9

Target = Callable[[Message], Destination]


def _of_peek(args: Mapping[str, Any]) -> Addressee:
    """Say where messages are looked at; those with consumers are wherever these are connected."""
    return Addressee.HERE if args["state"] == "unacked" else Addressee.OWNER


class MessageCommands:
    """Commands about the messages that wait in a queue.

    Args:
        context: what they have to do with.
    """

    def __init__(self, context: CommandContext) -> None:
        self._context = context
        self._groups = Groups()

    def table(self) -> list[Command]:
        """Give the rows of these commands."""
        return [*self._that_look(), *self._that_change()]

    def _that_look(self) -> list[Command]:
        operator = Role.OPERATOR
        peeking = (
            QUEUE,
            _IDS,
            _HEADERS,
            Argument("offset", "number", "messages to leave out", default=0),
            Argument("limit", "number", "messages at most", default=20, most=MOST_SHOWN),
            Argument("state", "text", "", words=("waiting", "unacked"), default="waiting"),
            Argument("body", "text", "how much", words=("none", "head", "full"), default="head"),
            _MOST_BYTES,
        )
        return [
            Command(
                "message.peek",
                operator,
                "Look at messages, in order; nothing about them changes.",
                self._peek,
                peeking,
                needs=_BROWSE,
                place=_of_peek,
            ),
            Command(
                "message.get",
                operator,
                "Look at one message.",
                self._get,
                (
                    QUEUE,
                    Argument("id", "text", "its message-id", required=True),
                    replace(_MOST_BYTES, default=SHOWN_BYTES // 2),
                ),
                needs=_BROWSE,
                place=at_owner,
            ),
            Command(
                "message.count",
                Role.MONITOR,
                "Count the messages that wait, all or by headers.",
                self._count,
                (
                    QUEUE,
                    _HEADERS,
                    Argument("group_by", "text or list", "header names; short names hold"),
                ),
                needs=_BROWSE,
                place=at_owner,
            ),
        ]

    def _that_change(self) -> list[Command]:
        operator = Role.OPERATOR
        return [
            Command(
                "message.move",
                operator,
                "Move messages to another destination.",
                self._move,
                (*_PICKING, _TO),
                changes=True,
                place=at_owner,
                # It hands messages to another destination, where others may read them.
                needs=(Action.RECEIVE,),
            ),
            Command(
                "message.copy",
                operator,
                "Send copies of messages to another destination.",
                self._copy,
                (*_PICKING, _TO),
                changes=True,
                place=at_owner,
                needs=_BROWSE,
            ),
            Command(
                "message.retry",
                operator,
                "Send dead letters back to where they came from.",
                self._retry,
                _PICKING,
                changes=True,
                place=at_owner,
            ),
            Command(
                "message.delete",
                operator,
                "Destroy messages. One of ids, headers, limit has to be given.",
                self._delete,
                (QUEUE, _IDS, _HEADERS, UP_TO, replace(_LIMIT, default=None)),
                changes=True,
                place=at_owner,
            ),
            Command(
                "message.send",
                Role.ADMIN,
                "Send messages.",
                self._send,
                (
                    Argument(
                        "destination",
                        "text",
                        "a queue or topic",
                        required=True,
                        names="destination",
                    ),
                    Argument("headers", "object", "of the message"),
                    Argument("body", "text", "of the message", default=""),
                    Argument("encoding", "text", "of body", words=("utf8", "base64")),
                    Argument("count", "number", "how many", default=1, least=1, most=MOST_SENT),
                ),
                changes=True,
            ),
        ]

    # -- looking ----------------------------------------------------------------------------

    def _peek(self, call: Call) -> Steps[Result]:
        args, queue = call.args, self._context.queue(call.args["queue"])
        offset, limit = args["offset"], args["limit"]
        selection = select(args["ids"], args["headers"])
        size = 0 if args["body"] == "none" else SHOWN_BYTES
        if args["state"] == "unacked" and self._context.peers is not None and not call.relayed:
            return (yield from self._peek_everywhere(call))
        if args["state"] == "unacked":
            is_meant = selection.test()
            found = [held for held in self._held(queue) if is_meant(held[0])]
            some = found[offset : offset + limit]
            if size:
                some = some[: first_bytes([message for message, _ in some], size)]
            more = offset + len(some) < len(found)
        else:
            look = Browse(selection, offset, limit, size)
            browsed = yield from ask(partial(queue.browse, look))
            some, more = _with_states(browsed), browsed.more
        told = yield from ask(queue.stats)
        most = {"none": None, "head": args["max_bytes"], "full": SHOWN_BYTES}[args["body"]]
        return {
            "queue": queue.name,
            "offset": offset,
            "ready": told.ready,
            "delayed": told.delayed,
            "unacked": told.unacked,
            "more": more,
            "messages": [as_json(message, state, most) for message, state in some],
        }

    def _peek_everywhere(self, call: Call) -> Steps[Result]:
        """Look at what the clients of all brokers hold of a queue, oldest first."""
        offset, limit = call.args["offset"], call.args["limit"]
        args = {**call.request.args, "offset": 0, "limit": min(offset + limit, MOST_SHOWN)}
        request = Request(call.request.cmd, args)
        own = replace(call, args={**call.args, **args}, relayed=True)
        results = list((yield from self._context.ask_peers(call, request)).values())
        if not results or self._name(call) in self._context.router.queues:
            results.insert(0, (yield from self._peek(own)))
        found: list[dict[str, Any]] = []
        for result in results:
            found += cast(list[dict[str, Any]], result["messages"])
        found.sort(key=lambda message: int(message["message_id"]))
        some = found[offset : offset + limit]
        more = len(found) > offset + len(some) or any(result["more"] for result in results)
        return {**results[0], "offset": offset, "more": more, "messages": some}

    def _name(self, call: Call) -> str:
        name: str = call.args["queue"].removeprefix("/queue/")
        return name

    def _held(self, queue: Queue) -> list[tuple[Message, str]]:
        """Find the messages that are with consumers, and with whom. They have their bodies."""
        held = [
            (message, f"unacked by {session.key}")
            for session in self._context.sessions.values()
            for subscription in session.subscriptions.values()
            if subscription.queue is queue and isinstance(subscription, AckSubscription)
            for message in (*subscription.claimed.values(), *subscription.unacked.values())
        ]
        return sorted(held, key=lambda entry: entry[0].sequence)

    def _get(self, call: Call) -> Steps[Result]:
        queue, wanted = self._context.queue(call.args["queue"]), call.args["id"]
        look = Browse(select([wanted]), most=1, bodies=SHOWN_BYTES)
        found = _with_states((yield from ask(partial(queue.browse, look))))
        if not found:
            found = [held for held in self._held(queue) if held[0].message_id == wanted]
        if not found:
            raise not_found(f"there is no message {wanted[:60]!r} in {queue.name}")
        message, state = found[0]
        return as_json(message, state, call.args["max_bytes"])

    def _count(self, call: Call) -> Steps[Result]:
        args, queue = call.args, self._context.queue(call.args["queue"])
        names = args["group_by"] or []
        names = [names] if isinstance(names, str) else [str(name) for name in names]
        readers = [read_header(name) for name in names]
        if args["headers"]:
            count = yield from counted(queue, readers, select(headers=args["headers"]))
        else:
            count = yield from self._groups.count(queue, tuple(names), readers)
        largest = sorted(count.groups.items(), key=lambda item: -item[1].count)
        rows = [
            {**dict(zip(names, values, strict=True)), **group.to_json()}
            for values, group in largest[:MOST_GROUPS]
        ]
        told = yield from ask(queue.stats)
        return {
            "queue": queue.name,
            "count": count.matched,
            "up_to": str(count.last),
            "unacked": told.unacked,
            "groups": rows if names else [],
            "groups_total": len(count.groups) if names else 0,
        }

    # -- moving -----------------------------------------------------------------------------

    def _move(self, call: Call) -> Steps[Result]:
        target = self._target(call)
        return self._take(call, "moved", lambda message: target)

    def _copy(self, call: Call) -> Steps[Result]:
        target = self._target(call)
        return self._take(call, "copied", lambda message: target, stays=True)

    def _retry(self, call: Call) -> Steps[Result]:
        queue = self._context.queue(call.args["queue"])
        if not queue.final:
            raise conflict(f"{queue.name} is no dead-letter queue; use message.move")
        return self._take(call, "retried", _origin)

    def _delete(self, call: Call) -> Steps[Result]:
        args = call.args
        chosen = (args["ids"], args["headers"] or None, args["up_to"], args["limit"])
        if not any(choice is not None for choice in chosen):
            raise bad("message.delete needs 'ids', 'headers' or 'limit'; queue.purge destroys all")
        return self._take(call, "deleted", None)

    def _target(self, call: Call) -> Destination:
        destination = sendable(call.args["to"])
        allowed = (DestinationKind.QUEUE, DestinationKind.TOPIC)
        if destination.kind not in allowed or destination.name.startswith("$"):
            raise bad("'to' must be a /queue/ or /topic/")
        queue = self._context.queue(call.args["queue"])
        if str(destination) == queue.destination:
            raise bad(f"the messages are in {destination} already")
        return destination

    def _take(
        self, call: Call, done: str, target: Target | None, *, stays: bool = False
    ) -> Steps[Result]:
        """Take messages out of a queue, batch by batch, and send them on.

        Args:
            call: what is wanted.
            done: the word for it.
            target: where each goes; None = nowhere.
            stays: whether it stays in its queue as well.
        """
        args, queue = call.args, self._context.queue(call.args["queue"])
        limit = MOST_MOVED if args["limit"] is None else args["limit"]
        selection = select(args["ids"], args["headers"], args["up_to"])
        picked = (yield from ask(partial(queue.browse, Browse(selection, most=limit)))).messages
        # Whatever is wrong with one is found before any is moved.
        targets = set() if target is None else {target(message) for message in picked}
        for message in picked if target is _origin else ():
            self._backlog(message)
        permissions = self._context.permissions(call)
        for destination in targets:
            permissions.check_send(str(destination))
        most = 1 if any(map(self._may_refuse, targets)) else BATCH_MESSAGES
        call.expect(len(picked))
        result: Result = {"queue": queue.name, "matched": len(picked)}
        if call.dry_run:
            return {**result, "up_to": last_of(picked)}
        taken = 0
        while picked and self._context.router.queues.get(queue.name) is queue:
            size = min(first_bytes(picked[:most], BATCH_BYTES), most)
            batch, picked = picked[:size], picked[size:]
            try:
                taken += yield from order(queue, self._order(batch, target, stays))
            except ProtocolError as error:
                raise conflict(f"{taken} {done}, then: {error.Message}") from None
            yield self._context.router.groups.sync
        return {**result, done: taken}

    def _may_refuse(self, target: Destination) -> bool:
        """Whether a target has to be asked before each message."""
        router = self._context.router
        if target.kind is not DestinationKind.QUEUE:
            return True  # a backlog of a durable subscription may refuse
        queue = router.queues.get(target.name)
        policy = router.policies.find(target.kind, target.name) if queue is None else queue.policy
        limited = policy.max_length or policy.max_length_bytes
        return policy.overflow == "reject-publish" and bool(limited)

    def _order(self, batch: Sequence[Message], target: Target | None, stays: bool) -> Order:
        """Say what the queue is to do with some messages, in one change of the store."""
        if target is None:
            return Remove(frozenset(message.sequence for message in batch))
        transfers = []
        for message in batch:
            destination = target(message)
            head = _head(message, destination, is_copy=stays, revives=target is _origin)
            if target is _origin:
                destination = self._backlog(message) or destination
            before = 0 if stays else _deliveries(message, revived=target is _origin)
            transfers.append(Transfer(message.sequence, destination, head, before))
        return Move(transfers, copies=stays)

    def _backlog(self, message: Message) -> Destination | None:
        """Find where a dead letter goes that one durable subscription gave up: to that one only.

        Raises:
            CommandError: there is no such subscription any more.
        """
        name = _read_subscription(message)
        if not name:
            return None
        known = self._context.router.registry.durable.by_name.get(name)
        if known is None:
            raise conflict(
                f"message {message.message_id} belongs to the durable subscription {name!r}, which "
                "is gone; message.move sends it elsewhere, also to all subscribers of its topic"
            )
        return Destination(DestinationKind.QUEUE, known.queue, is_pattern=False)

    # -- sending ----------------------------------------------------------------------------

    def _send(self, call: Call) -> Steps[Result]:
        args = call.args
        destination = sendable(args["destination"])
        allowed = (DestinationKind.QUEUE, DestinationKind.TOPIC)
        if destination.kind not in allowed or destination.name.startswith("$"):
            raise bad("'destination' must be a /queue/ or /topic/")
        try:
            body = b64decode(args["body"], validate=True) if args["encoding"] == "base64" else None
        except binascii.Error as error:
            raise bad(f"'body' is not base64: {error}") from None
        given: dict[str, Any] = args["headers"] or {}
        headers = {str(name): str(value) for name, value in given.items()}
        if any("\0" in text for pair in headers.items() for text in pair):
            raise bad("a header cannot hold a NUL")
        headers.pop("content-length", None)
        permissions = self._context.permissions(call)
        permissions.check_send(str(destination))
        if "reply-to" in headers:
            permissions.check_reply_to(headers["reply-to"])
        head = MessageHead.from_client({"destination": str(destination), **headers})
        router = self._context.router
        router.caps.check_headers(head.block)
        yield from agreed(partial(router.admit, destination, head))
        call.expect(args["count"])
        if not call.dry_run:
            router.note_time()
            body = args["body"].encode("utf-8", "surrogatepass") if body is None else body
            for _ in range(args["count"]):
                router.publish(destination, head, body)
        return {"sent": 0 if call.dry_run else args["count"], "destination": str(destination)}


def _with_states(browsed: Browsed) -> list[tuple[Message, str]]:
    """Say of each message where it is."""
    ready = len(browsed.messages) - browsed.delayed
    return [
        (message, "ready" if number < ready else "delayed")
        for number, message in enumerate(browsed.messages)
    ]


_read_origin = read_header("origin")


def _origin(message: Message) -> Destination:
    """Find where a dead letter came from.

    Raises:
        CommandError: it does not say.
    """
    origin = _read_origin(message)
    if not origin:
        raise conflict(f"message {message.message_id} does not say where it came from")
    return sendable(origin)


_read_subscription = read_header("original-subscription")
_read_deaths = read_header("x-death-count")


def _deliveries(message: Message, *, revived: bool) -> int:
    """How often a message was delivered, also before it became the dead letter that is revived."""
    deaths = (_read_deaths(message) or "") if revived else ""
    known = deaths.isascii() and deaths.isdigit() and len(deaths) <= _LONGEST_COUNT
    return message.deliveries + (int(deaths) if known else 0)


def _head(
    message: Message, destination: Destination, *, is_copy: bool, revives: bool
) -> MessageHead:
    """The head of a message at its new place. A copy is another message, with its own id."""
    headers = message.head.headers()
    if revives:
        headers = {name: value for name, value in headers.items() if name not in _OF_A_DEATH}
    headers["destination"] = str(destination)
    headers.pop("x-death-path", None)  # somebody wants it where it goes now
    if message.expires:
        for name in ("ttl", "expiration"):
            headers.pop(name, None)
        headers["expires"] = str(message.expires)
    message_id = None if is_copy else message.message_id.encode()
    return MessageHead.from_headers(headers, message_id=message_id)
